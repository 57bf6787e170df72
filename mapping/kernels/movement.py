"""Operators that only move data: copies, concatenation, padding, embedding look-ups, transposition."""

from dataclasses import dataclass
from math import ceil

from lanewise.config import MachineConfig
from lanewise.mapping.kernels.builder import VectorKernel
from lanewise.mapping.kernels.epilogue import format_bits
from lanewise.mapping.kernels.strips import best_kernel, load, store
from lanewise.sim.program import Node, Program, Rotate, repeat

CHUNK_BYTES = 16384


@dataclass(frozen=True, kw_only=True)
class MovementWork:
    """``runs`` contiguous runs of ``run_elements`` from memory through the scratchpad to ``store_runs`` runs of memory.

    With ``transposed`` the vector unit reads each chunk with a stride, one FP16 element a clock and lane.
    """

    runs: int
    run_elements: int
    form: str = "fp16"
    """Format of the elements: ``fp16`` or ``quantised``."""
    store_runs: int = 1
    transposed: bool = False
    indexed: bool = False
    """Whether the runs lie where a list of numbers says."""

    @property
    def macs(self) -> int:
        """None: the array is not used."""
        return 0

    def program(self, config: MachineConfig) -> Program:
        """Chunks through double buffers."""
        bits = format_bits(self.form, config.matrix.operand_bits)
        total = self.runs * ceil(self.run_elements * bits / 8)
        chunks = max(1, ceil(total / CHUNK_BYTES))
        size = ceil(total / chunks)
        runs = max(1, ceil(self.runs / chunks))
        store_runs = max(1, ceil(self.store_runs / chunks))
        body: list[Node] = [load("@in.0", runs, ceil(size / runs), indexed=self.indexed)]
        source = "@in.0"
        if self.transposed:
            elements = ceil(8 * size / bits)
            kernel = best_kernel(config, elements, _transpose)
            body += repeat(kernel.strips(elements), *kernel.code)
            source = "@out.0"
        body.append(store(source, store_runs, ceil(size / store_runs)))
        body += [Rotate(names=(f"{name}.0", f"{name}.1")) for name in ("@in", "@out")]
        return Program(
            body=repeat(chunks, *body), buffers_bytes={f"@{n}.{c}": size for n in ("in", "out") for c in "01"}
        )


@dataclass(frozen=True, kw_only=True)
class FillWork:
    """Zeros to ``elements`` FP16 elements of memory, where sums begin."""

    elements: int

    @property
    def macs(self) -> int:
        """None: the array is not used."""
        return 0

    def program(self, _: MachineConfig) -> Program:
        """A chunk of zeros, stored as often as needed."""
        chunk = CHUNK_BYTES // 2
        body: list[Node] = []
        for count, elements in ((self.elements // chunk, chunk), (1, self.elements % chunk)):
            if count and elements:
                body += repeat(count, store("@zeros", 1, 2 * elements))
        return Program(body=tuple(body), buffers_bytes={"@zeros": CHUNK_BYTES})


def _transpose(kernel: VectorKernel, _: object) -> None:
    value = kernel.load("@in.0", stride_bytes=2)
    kernel.store("@out.0", value)
    kernel.release(value)
