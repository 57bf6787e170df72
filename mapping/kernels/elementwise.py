"""Element-wise operators that no matrix product takes with it, and quantisation of a value for the matrix unit."""

from dataclasses import dataclass
from math import ceil

from lanewise.config import MachineConfig
from lanewise.mapping.kernels.builder import Register, VectorKernel
from lanewise.mapping.kernels.epilogue import Step, emit_steps, format_bits, store_outputs
from lanewise.mapping.kernels.strips import best_kernel, load, store, table_bytes
from lanewise.sim.program import Node, Program, Rotate, repeat

CHUNK_ELEMENTS = 4096
"""Elements that one DMA transfer brings."""


@dataclass(frozen=True, kw_only=True)
class ElementwiseWork:
    """``steps`` on ``elements`` FP16 elements in memory, in their order; the results go back to memory."""

    elements: int
    steps: tuple[Step, ...] = ()
    outputs: tuple[str, ...] = ("fp16",)

    @property
    def macs(self) -> int:
        """None: the array is not used."""
        return 0

    def program(self, config: MachineConfig) -> Program:
        """Chunks through double buffers: load, strips, store."""
        if not self.elements:
            return Program(body=())
        chunk = min(CHUNK_ELEMENTS, self.elements)
        vectors = [i for i, step in enumerate(self.steps) if step.operand in ("tensor", "channel")]
        kernel = best_kernel(config, chunk, lambda kernel, _: self._strip(kernel, vectors))
        buffers = ["@in", *(f"@operand{i}" for i in vectors if self.steps[i].operand == "tensor")]
        outputs = [f"@{form}" for form in self.outputs]
        body: list[Node] = list(kernel.setup)
        body += [load(f"@operand{i}.0", 1, 2 * chunk) for i in vectors if self.steps[i].operand == "channel"]
        for count, elements in ((self.elements // chunk, chunk), (1, self.elements % chunk)):
            if not count or not elements:
                continue
            inner: list[Node] = [load(f"{name}.0", 1, 2 * elements) for name in buffers]
            inner += repeat(kernel.strips(elements), *kernel.code)
            for form, name in zip(self.outputs, outputs):
                inner.append(
                    store(f"{name}.0", 1, ceil(elements * format_bits(form, config.matrix.operand_bits) / 8))
                )
            inner += [Rotate(names=(f"{name}.0", f"{name}.1")) for name in (*buffers, *outputs)]
            body += repeat(count, *inner)
        names = [*buffers, *outputs, *(f"@operand{i}" for i in vectors)]
        return Program(
            body=tuple(body),
            buffers_bytes={f"{name}.{copy}": 2 * chunk for name in names for copy in "01"}
            | table_bytes(body),
        )

    def _strip(self, kernel: VectorKernel, vectors: list[int]) -> None:
        value = kernel.load("@in.0")
        operands: dict[int, Register | str] = {i: f"@operand{i}.0" for i in vectors}
        result = emit_steps(kernel, value, self.steps, operands)
        store_outputs(kernel, result, self.outputs, {form: f"@{form}.0" for form in self.outputs})
        kernel.release(result)
