"""Element-wise operators that no matrix product takes with it, and quantisation of a value for the matrix unit."""

from dataclasses import dataclass
from functools import lru_cache
from math import ceil

from lanewise.config import MachineConfig
from lanewise.mapping.kernels.builder import STRIP, Register, VectorKernel
from lanewise.mapping.kernels.candidate import Shared
from lanewise.mapping.kernels.epilogue import Operand, Step, emit_steps, format_bits, store_outputs
from lanewise.mapping.kernels.strips import best_kernel, load, store, table_bytes
from lanewise.sim.program import Address, Node, Program, Rotate, repeat

CHUNK_ELEMENTS = 4096
"""Elements that one DMA transfer brings."""


@dataclass(frozen=True, kw_only=True)
class Strip(Shared):
    """``steps`` on a strip of ``@in.0``, stored as ``outputs``."""

    steps: tuple[Step, ...]
    outputs: tuple[str, ...]
    inverse_step: float

    @property
    def vectors(self) -> list[int]:
        """Steps whose operand is read from memory."""
        return [i for i, step in enumerate(self.steps) if step.operand in ("tensor", "channel")]

    def __call__(self, kernel: VectorKernel, _: list[Register], /) -> None:
        """Emit its code."""
        value = kernel.load("@in.0")
        operands: dict[int, Operand] = {i: f"@operand{i}.0" for i in self.vectors}
        result = emit_steps(kernel, value, self.steps, operands)
        places = {form: f"@{form}.0" for form in self.outputs}
        store_outputs(kernel, result, self.outputs, places, self.inverse_step)
        kernel.release(result)


@lru_cache(maxsize=1024)
def kernel_of(strip: Strip, elements: int, config: MachineConfig) -> VectorKernel:
    return best_kernel(config, elements, strip)


@dataclass(frozen=True, kw_only=True)
class ElementwiseWork:
    """``steps`` on ``elements`` FP16 elements in memory, in their order; the results go back to memory.

    Tensors: ``in``, ``operand0`` for step 0 and so on, and a result for each of ``outputs``, of its name. A channel operand holds
    ``min(elements, CHUNK_ELEMENTS)`` elements, repeated by the host as far as it must be, for every chunk takes the same.
    """

    elements: int
    steps: tuple[Step, ...] = ()
    outputs: tuple[str, ...] = ("fp16",)
    inverse_step: float = 1.0
    """Of the quantised output: what a value is multiplied by before it is rounded."""
    channels: int = 0
    """Elements after which channel operands come again; 0: there are none."""

    @property
    def macs(self) -> int:
        """None: the array is not used."""
        return 0

    @property
    def chunk_elements(self) -> int:
        """Of a chunk: whole rounds of the channels, where one fits."""
        return min(self.elements, CHUNK_ELEMENTS - CHUNK_ELEMENTS % min(self.channels or 1, CHUNK_ELEMENTS))

    def program(self, config: MachineConfig) -> Program:
        """Chunks through double buffers: load, strips, store."""
        if not self.elements:
            return Program(body=())
        chunk = self.chunk_elements
        strip = Strip(steps=self.steps, outputs=self.outputs, inverse_step=self.inverse_step)
        vectors, kernel = strip.vectors, kernel_of(strip, chunk, config)
        buffers = ["@in", *(f"@operand{i}" for i in vectors if self.steps[i].operand == "tensor")]
        outputs = [f"@{form}" for form in self.outputs]
        body: list[Node] = list(kernel.setup)
        body += [
            load(f"@operand{i}.0", 1, 2 * chunk, external=Address(f"operand{i}"))
            for i in vectors
            if self.steps[i].operand == "channel"
        ]
        bits = {form: format_bits(form, config.matrix.operand_bits) for form in self.outputs}
        whole = self.elements // chunk
        for count, elements, before in ((whole, chunk, 0), (1, self.elements % chunk, whole * chunk)):
            if not count or not elements:
                continue

            def outside(name: str, width: int, before: int = before) -> Address:
                return Address(name.removeprefix("@"), before * width // 8).along("chunk", chunk * width // 8)

            inner: list[Node] = [
                load(f"{name}.0", 1, 2 * elements, external=outside(name, 16)) for name in buffers
            ]
            inner += repeat(kernel.strips(elements), *kernel.code, index=STRIP)
            for form, name in zip(self.outputs, outputs):
                size = ceil(elements * bits[form] / 8)
                inner.append(store(f"{name}.0", 1, size, external=outside(name, bits[form])))
            inner += [Rotate(names=(f"{name}.0", f"{name}.1")) for name in (*buffers, *outputs)]
            body += repeat(count, *inner, index="chunk")
        names = [f"{name}.{copy}" for name in (*buffers, *outputs) for copy in "01"]
        names += [f"@operand{i}.0" for i in vectors if self.steps[i].operand == "channel"]
        size = 2 * kernel.strips(chunk) * kernel.ways * kernel.vl  # the last strip may reach beyond the chunk
        return Program(body=tuple(body), buffers_bytes=dict.fromkeys(names, size) | table_bytes(body))
