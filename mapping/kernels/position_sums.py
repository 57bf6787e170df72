"""A maximum, a sum or an average of many positions: its taps come in chunks, the sums stay in registers."""

from math import ceil
from typing import TYPE_CHECKING

from lanewise.config import MachineConfig
from lanewise.mapping.kernels.builder import Register, VectorKernel
from lanewise.mapping.kernels.epilogue import format_bits
from lanewise.mapping.kernels.schedule import schedule
from lanewise.mapping.kernels.strips import load, store, table_bytes
from lanewise.mapping.kernels.window_code import COMBINE
from lanewise.mapping.kernels.window_kinds import fills_table
from lanewise.models.windows import BLOCK
from lanewise.sim.program import Address, Instruction, Node, Program, Rotate, repeat

if TYPE_CHECKING:
    from lanewise.mapping.kernels.windows import WindowsWork

CHUNK_BYTES = 32768
"""Bytes of the taps that one transfer brings, but no more than"""
BUDGET_SHARE = 6
"""this part of the scratchpad."""

IMAGE, STRIP, CHUNK, BLOCKS, TAP = "image", "strip", "chunk", "block", "tap"


class PositionSums:
    """Emits the Program of a work whose every image has one result.

    A sum adds blocks of :data:`~lanewise.models.windows.BLOCK` taps in FP16, and the blocks' sums in FP32: a long FP16 sum would not grow any more.
    """

    def __init__(self, work: "WindowsWork", config: MachineConfig) -> None:
        self.work, self.config = work, config
        budget = min(CHUNK_BYTES, config.scratchpad.bytes // BUDGET_SHARE)
        self.budget = budget
        self.longest = min(work.channels, 8 * config.vector.vlen_bits // 32, budget // (2 * BLOCK) // 2 * 2)
        self.tensors = [f"@operand{i}" for i, s in enumerate(work.steps) if s.operand == "tensor"]
        self.channels = [f"@operand{i}" for i, s in enumerate(work.steps) if s.operand == "channel"]
        self.outputs = [f"@{form}" for form in work.outputs]

    @property
    def chunk(self) -> int:
        """Taps that one transfer brings, in whole blocks."""
        return max(BLOCK, min(self.work.taps, self.budget // (2 * self.longest)) // BLOCK * BLOCK)

    def program(self) -> Program:
        """Strips of channels of every image, as wide as the registers allow for what follows the sums.

        Raises:
            ValueError: Not even strips of two channels leave registers for it.
        """
        while True:
            try:
                return self._program()
            except ValueError:
                if self.longest <= 2:
                    raise
                self.longest = max(2, self.longest // 4 * 2)

    def _program(self) -> Program:
        work = self.work
        whole, rest = divmod(work.channels, self.longest)
        strips: list[Node] = []
        tables: dict[Instruction, None] = {}
        for count, vl, first in ((whole, self.longest, 0), (1, rest, whole * self.longest)):
            if count and vl:
                nodes, filled = self._strip(vl, first)
                tables |= dict.fromkeys(filled)
                strips += repeat(count, *nodes, index=STRIP)
        constants = [
            load(f"{name}.0", 1, 2 * work.channels, external=Address(name[1:])) for name in self.channels
        ]
        body: tuple[Node, ...] = (*tables, *constants, *repeat(work.images, *strips, index=IMAGE))
        sizes = {f"@in.{copy}": 2 * min(self.chunk, work.taps) * self.longest for copy in "01"}
        sizes |= {f"{n}.{copy}": 2 * self.longest for n in (*self.tensors, *self.outputs) for copy in "01"}
        sizes |= {f"{name}.0": 2 * work.channels for name in self.channels}
        return Program(body=body, buffers_bytes=sizes | table_bytes(body))

    def _bytes(self, name: str, elements: int) -> int:
        return ceil(elements * format_bits(name.removeprefix("@"), self.config.matrix.operand_bits) / 8)

    def _strip(self, vl: int, first: int) -> tuple[list[Node], list[Instruction]]:
        """A strip of ``vl`` channels, and what fills Flex-SFU's tables for it."""
        work, channels = self.work, self.work.channels
        kernel = VectorKernel(config=self.config, vl=vl, places=lambda name, *_: self._place(name, first))
        largest = work.function == "max"
        total = kernel.emit(
            "vfmv.v.f", sew_bits=16 if largest else 32, constant=float("-inf") if largest else 0.0
        )
        nodes: list[Node] = self._flush(kernel)
        whole, rest = divmod(work.taps, self.chunk)

        def chunk(taps: int, before: int) -> list[Node]:
            source = Address("in", 2 * (before * channels + first)).along(IMAGE, 2 * work.taps * channels)
            source = source.along(STRIP, 2 * self.longest).along(CHUNK, 2 * self.chunk * channels)
            runs = (1, taps * vl) if vl == channels else (taps, vl)
            made: list[Node] = [
                load("@in.0", runs[0], 2 * runs[1], external=source, distance_bytes=2 * channels)
            ]
            blocks, left = divmod(taps, BLOCK)
            made += repeat(blocks, *self._block(kernel, total, vl, BLOCK, 0), index=BLOCKS)
            made += self._block(kernel, total, vl, left, blocks * BLOCK) if left else []
            return [*made, Rotate(names=("@in.0", "@in.1"))]

        nodes += repeat(whole, *chunk(self.chunk, 0), index=CHUNK) if whole else ()
        nodes += chunk(rest, whole * self.chunk) if rest else ()
        for name in self.tensors:
            nodes.append(load(f"{name}.0", 1, 2 * vl, external=self._outside(name, first)))
        if not largest:
            if work.function == "average":
                kernel.emit(
                    "vfmul.vf", total, into=total, sew_bits=32, constant=1 / (work.divisor or work.taps)
                )
            narrow = kernel.emit("vfncvt.f.f.w", total, sew_bits=32, result_bits=16)
            kernel.release(total)
            total = narrow
        work.ending.emit(kernel, total)
        nodes += self._flush(kernel)
        for name in self.outputs:
            nodes.append(store(f"{name}.0", 1, self._bytes(name, vl), external=self._outside(name, first)))
        nodes += [Rotate(names=(f"{name}.0", f"{name}.1")) for name in (*self.tensors, *self.outputs)]
        constants = [i for i in kernel.setup if not fills_table(i)]
        return [*constants, *nodes], [i for i in kernel.setup if fills_table(i)]

    def _block(self, kernel: VectorKernel, total: Register, vl: int, taps: int, before: int) -> list[Node]:
        """A block of taps: its sum in FP16 is added to the total; or the maximum so far."""
        largest = self.work.function == "max"
        values: list[Register] = []
        own: Register | None = total if largest else None
        for tap in range(taps):
            place = Address("@in.0", 2 * (before + tap) * vl).along(BLOCKS, 2 * BLOCK * vl)
            value = kernel.load(place)
            if own is None:
                own = value
                continue
            kernel.emit(COMBINE[self.work.function], own, value, into=own)
            values.append(value)
            if len(values) > 1:  # the next load goes into a register of its own
                kernel.release(values.pop(0))
        kernel.release(*values)
        if not largest:
            assert own is not None
            kernel.emit("vfwadd.wv", total, own, into=total, sew_bits=16, result_bits=32)
            kernel.release(own)
        return self._flush(kernel)

    def _flush(self, kernel: VectorKernel) -> list[Node]:
        code, kernel.code = kernel.code, []
        return list(schedule(code, self.config))

    def _place(self, name: str, first: int) -> Address:
        """Results and tensors of a strip have a buffer of their own; a channel operand is whole."""
        whole = name.removesuffix(".0") in self.channels
        return Address(name, 2 * first).along(STRIP, 2 * self.longest) if whole else Address(name)

    def _outside(self, name: str, first: int) -> Address:
        place = Address(name[1:], self._bytes(name, first)).along(
            IMAGE, self._bytes(name, self.work.channels)
        )
        return place.along(STRIP, self._bytes(name, self.longest))
