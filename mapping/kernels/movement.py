"""Operators that only move data: copies of nested runs, look-ups of rows, fills."""

from dataclasses import dataclass
from math import ceil

from lanewise.config import MachineConfig
from lanewise.mapping.kernels.builder import STRIP, VectorKernel
from lanewise.mapping.kernels.copies import CHUNK_BYTES, FILL, FILL_BUFFER, RING, Chunks, Copy, chunk_bytes
from lanewise.mapping.kernels.epilogue import format_bits
from lanewise.mapping.kernels.place import split
from lanewise.mapping.kernels.strips import load, store
from lanewise.sim.program import Address, Node, Program, Rotate, repeat

_ZEROS_BYTES = 16384


@dataclass(frozen=True, kw_only=True)
class MovementWork:
    """Copies of elements of one format into the tensor ``out``, each from a tensor of its own name; those to be filled from :data:`FILL`."""

    copies: tuple[Copy, ...]
    form: str = "fp16"
    """Format of the elements: ``fp16`` or ``quantised``."""

    @property
    def macs(self) -> int:
        """None: the array is not used."""
        return 0

    def program(self, config: MachineConfig) -> Program:
        """Chunks through the ring.

        Raises:
            ValueError: INT4 runs are no whole bytes.
        """
        bits = format_bits(self.form, config.matrix.operand_bits)
        body: list[Node] = []
        filled = largest = 0
        for given in self.copies:
            merged = given.merged().scaled(bits)
            size = chunk_bytes(merged.elements)
            for copy in merged.pieces(size):
                chunks = Chunks(copy, size, config.dma)
                body += chunks.nodes()
                if copy.source == FILL:
                    filled = max(filled, chunks.largest_bytes)
                else:
                    largest = max(largest, chunks.largest_bytes)
        if filled:
            body.insert(0, load(FILL_BUFFER, 1, filled, external=Address(FILL)))
        sizes = dict.fromkeys(RING, largest) if largest else {}
        return Program(body=tuple(body), buffers_bytes=sizes | ({FILL_BUFFER: filled} if filled else {}))


@dataclass(frozen=True, kw_only=True)
class LookUpWork:
    """``rows`` rows of ``width`` elements of the tensor ``in``, by the 32-bit numbers in ``indices``, one after the other to ``out``.

    Each begins with a byte.
    """

    rows: int
    width: int
    form: str = "fp16"
    """Format of the elements: ``fp16`` or ``quantised``."""

    @property
    def macs(self) -> int:
        """None: the array is not used."""
        return 0

    def program(self, config: MachineConfig) -> Program:
        """Chunks of whole rows; a row that no buffer holds in pieces."""
        row = ceil(self.width * format_bits(self.form, config.matrix.operand_bits) / 8)
        size = min(row, CHUNK_BYTES)
        together = max(1, min(CHUNK_BYTES // row, ceil(self.rows / len(RING))))
        body: list[Node] = []
        for pieces, part, inside in split(row, size, "piece"):
            for chunks, rows, place in split(self.rows, together, "chunk"):
                out = (place.times(row) + inside).address("out")
                indices = place.times(4).address("indices")
                chunk = (
                    load(RING[0], rows, part, external=inside.address("in"), distance_bytes=row, indices=indices),
                    store(RING[0], *((1, rows * row) if part == row else (rows, part)), external=out, distance_bytes=row),
                    Rotate(names=RING),
                )  # fmt: skip
                body += repeat(chunks, *repeat(pieces, *chunk, index="piece"), index="chunk")
        return Program(body=tuple(body), buffers_bytes=dict.fromkeys(RING, size * together))


@dataclass(frozen=True, kw_only=True)
class FillWork:
    """Zeros to ``elements`` FP16 elements of memory, where sums begin."""

    elements: int

    @property
    def macs(self) -> int:
        """None: the array is not used."""
        return 0

    def program(self, config: MachineConfig) -> Program:
        """A chunk of zeros, made once and stored as often as needed. Its tensor is ``out``."""
        chunk = min(_ZEROS_BYTES // 2, self.elements)
        if not chunk:
            return Program(body=())
        kernel = VectorKernel(config=config, vl=min(chunk, 8 * config.vector.vlen_bits // 16))
        kernel.store("@zeros", kernel.splat(0.0))
        strips = kernel.strips(chunk)
        body: list[Node] = [*kernel.setup, *repeat(strips, *kernel.code, index=STRIP)]
        whole, rest = divmod(self.elements, chunk)
        target = Address("out").along("chunk", 2 * chunk)
        body += repeat(whole, store("@zeros", 1, 2 * chunk, external=target), index="chunk")
        if rest:
            body.append(store("@zeros", 1, 2 * rest, external=Address("out", 2 * whole * chunk)))
        return Program(body=tuple(body), buffers_bytes={"@zeros": 2 * strips * kernel.vl})
