"""Rows that are longer than a chunk, or lie in pieces: every pass over a row streams it from external memory through double buffers.

What is shifted is not kept but read and shifted again. A chunk is whole rounds of strips, so that all is added up in the order in which a row in the
scratchpad is, and so bit by bit what :mod:`lanewise.models.rows` says of long rows.
"""

from collections.abc import Callable, Iterable, Mapping
from math import ceil, lcm
from typing import TYPE_CHECKING

from lanewise.config import MachineConfig
from lanewise.mapping.kernels.builder import STRIP
from lanewise.mapping.kernels.epilogue import format_bits
from lanewise.mapping.kernels.long_row import ROW, LongRow
from lanewise.mapping.kernels.place import Place, split
from lanewise.mapping.kernels.strips import load, store, table_bytes
from lanewise.sim.program import Address, Instruction, Node, Program, Rotate, flatten_once, repeat

if TYPE_CHECKING:
    from lanewise.mapping.kernels.rows import RowsWork

CHUNK_BYTES = 16384
"""FP16 elements that one transfer brings, in bytes, if a chunk may be so short."""
GROUP, CHUNK = "group", "chunk"
"""Indices of the loops over the groups of an image, and over the chunks of a row."""


class StreamedRow(LongRow):
    """Emits a row chunk by chunk.

    Raises:
        ValueError: The scratchpad does not hold two chunks of everything.
    """

    kept = False

    def __init__(self, work: "RowsWork", config: MachineConfig) -> None:
        super().__init__(work, config)
        self.run = work.channels // work.groups if work.groups > 1 else 0
        """Elements that lie side by side in memory, if the row lies in pieces."""
        operands = [f"@operand{i}.0" for i, step in enumerate(work.steps) if step.operand == "tensor"]
        self.bits = dict.fromkeys(["@in.0", *operands], 16)
        """Of an element of each buffer that chunks go through."""
        self.weights = [f"{name}.0" for name in work.weights]
        self.bits |= dict.fromkeys(self.weights, 16)
        self.results = [f"@{form}.0" for form in work.outputs]
        for form, name in zip(work.outputs, self.results):
            self.bits[name] = format_bits(form, config.matrix.operand_bits)
        round_elements = self.together * self.strip_elements
        periods = [self.run or 1, *([work.channels // work.groups] if work.channels and self.weights else [])]
        self.chunk, self.periodic = self.longest(lcm(round_elements, *periods)), len(periods) > 1
        """Elements of a chunk, and whether all chunks have the same weights."""
        if not self.chunk and not self.run:
            self.chunk, self.periodic = self.longest(round_elements), False
        if not self.chunk and self.fits(work.length):
            self.chunk, self.periodic = work.length, False
        if not self.chunk:
            raise ValueError(
                f"scratchpad.size_kib must hold two chunks of {len(self.bits)} rows of {work.length} elements, not "
                f"{config.scratchpad.size_kib}"
            )

    def longest(self, unit: int) -> int:
        """Elements of the longest chunk that is a multiple of ``unit``, or the row; 0: there is none."""
        units = max(1, CHUNK_BYTES // 2 // unit)
        while units and not self.fits(units * unit):
            units //= 2
        return min(units * unit, self.work.length)

    def fits(self, elements: int) -> bool:
        """Whether the scratchpad holds two chunks of so many elements of everything, with results in every format, so that these do not decide on how
        the weights lie."""
        scratchpad = self.config.scratchpad
        forms = {
            f"@{form}.0": format_bits(form, self.config.matrix.operand_bits) for form in ("fp16", "quantised")
        }
        sizes = self.sizes(elements, forms | self.bits)
        banks = 2 * sum(ceil(size / scratchpad.bank_bytes) for size in sizes.values())
        tables = self.config.flex_sfu.banks if self.config.flex_sfu.enabled else 0
        return banks + tables <= scratchpad.banks

    def sizes(self, elements: int, element_bits: Mapping[str, int]) -> dict[str, int]:
        """Bytes of each buffer for so many elements; the last strip may reach beyond them."""
        room = ceil(elements / self.strip_elements) * self.strip_elements
        single = self.work.result_length == 1
        return {
            name: bits // 8 if single and name in self.results else ceil(room * bits / 8)
            for name, bits in element_bits.items()
        }

    def place(self, buffer: str, bits: int, elements: int) -> Address:  # noqa: ARG002
        """Where the strip at hand lies in its chunk."""
        if elements == 1 and self.work.result_length == 1 and buffer != "@in.0":
            return Address(buffer)
        if buffer in self.work.weights:
            buffer = f"{buffer}.0"
        size = self.strip_elements * self.bits[buffer] // 8
        return Address(buffer, self.strip * size).along(STRIP, self.together * size)

    def sweep(self, body: Callable[[int], None]) -> None:
        """Run ``body`` on every strip of the row, a chunk at a time."""
        self.flush()
        for count, elements, first in split(self.work.length, self.chunk, CHUNK):
            code = self.strips(body, elements)
            read = {name for i in flatten_once(code) for name in i.reads if name in self.bits}
            written = {name for i in flatten_once(code) for name in i.writes if name in self.bits}
            kept = self.whole | (set(self.weights) if self.periodic else set())
            loaded = [name for name in self.bits if name in read - kept]
            loads = [self.transfer(load, name, elements, first) for name in loaded]
            stores = [self.transfer(store, name, elements, first) for name in self.bits if name in written]
            turned = [name for name in self.bits if name in {*loaded, *written}]
            self.nodes += repeat(count, *loads, *code, *stores, *_rotated(turned), index=CHUNK)

    @property
    def whole(self) -> set[str]:
        """What is loaded once a row."""
        return {"@in.0"} if self.chunk >= self.work.length else set()

    def transfer(
        self, move: Callable[..., Instruction], name: str, elements: int, first: Place
    ) -> Instruction:
        """A chunk of so many elements of a row from the element ``first`` on, from or to external memory."""
        work, bits, tensor = self.work, self.bits[name], name[1:-2]
        size = ceil(elements * bits / 8)
        if name in self.weights:
            period = min(self.chunk, work.length) if self.periodic else work.length
            place = first.times(2).along(GROUP, 2 * period)
            return move(name, 1, size, external=place.address(tensor))
        if not self.run or (name in self.results and work.result_length == 1):
            length = work.result_length if name in self.results else work.length
            row = ceil(length * bits / 8)
            place = first.times(bits, 8).along(ROW, row * work.groups).along(GROUP, row)
            return move(name, 1, size, external=place.address(tensor))
        step = Place(self.run).times(bits, 8).first
        place = first.times(work.groups).times(bits, 8).along(ROW, work.length * work.groups * bits // 8)
        return move(
            name, elements // self.run, step, external=place.along(GROUP, step).address(tensor), distance_bytes=step * work.groups
        )  # fmt: skip

    def program(self) -> Program:
        """All rows, group by group of an image."""
        work = self.work
        single = self.results if work.result_length == 1 else []
        before = [self.transfer(load, name, self.chunk, Place()) for name in self.once()]
        code = self.emit()
        behind = [self.transfer(store, name, 1, Place()) for name in single]
        row = (*before, *code, *behind, *_rotated([*self.once(), *single]))
        rows = repeat(work.rows // work.groups, *repeat(work.groups, *row, index=GROUP), index=ROW)
        body = (*self.kernel.setup, *rows)
        used = {name for i in flatten_once(body) for name in (*i.reads, *i.writes)}
        sizes = {
            f"{name[:-1]}{copy}": size for name, size in self.sizes(self.chunk, self.bits).items() if name in used for copy in "01"
        }  # fmt: skip
        return Program(body=body, buffers_bytes=sizes | table_bytes(body))

    def once(self) -> list[str]:
        """What is loaded before a row's passes."""
        periodic = self.weights if self.periodic else []
        return [*(name for name in self.bits if name in self.whole), *periodic]


def _rotated(names: Iterable[str]) -> list[Node]:
    return [Rotate(names=(name, f"{name[:-1]}1")) for name in names]
