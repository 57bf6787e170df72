"""Operators over a window of positions, channels innermost: pooling, depthwise convolution, sums over positions."""

from dataclasses import dataclass, replace
from math import ceil

from lanewise.config import MachineConfig
from lanewise.mapping.kernels.builder import Register, VectorKernel
from lanewise.mapping.kernels.epilogue import Step, emit_steps, format_bits, store_outputs
from lanewise.mapping.kernels.price import price
from lanewise.mapping.kernels.strips import best_kernel, load, store, table_bytes
from lanewise.sim.program import Instruction, Node, Program, Rotate, repeat

FUNCTIONS = ("max", "average", "depthwise")
UNROLLED_TAPS = 25
"""Larger windows run as a loop over their taps."""
BAND_BYTES = 32768
"""Bytes of the taps that one transfer brings."""

BUDGET_SHARE = 6
"""A band of the input may take this part of the scratchpad."""

WHOLE_STRIPS = 4096
"""Elements that are whole strips of every kernel, however it is unrolled."""

INTERLEAVED_POSITIONS = 8
"""Positions among which strips are interleaved."""


@dataclass(frozen=True, kw_only=True)
class WindowsWork:
    """``positions`` results of ``channels`` elements, each from ``taps`` inputs: a maximum, an average, or a weighted sum.

    The band of input rows that a band of results needs comes by DMA, ``halo`` input elements for each result element.
    """

    function: str
    positions: int
    channels: int
    taps: int
    input_positions: int
    """Positions of the whole input; the bands' overlap comes on top."""
    row_positions: int
    """Positions of one row of the input, and"""
    halo_rows: int
    """rows that two successive bands share."""
    steps: tuple[Step, ...] = ()
    outputs: tuple[str, ...] = ("fp16",)

    def __post_init__(self) -> None:
        if self.function not in FUNCTIONS:
            raise ValueError(f"function must be one of {', '.join(FUNCTIONS)}, not {self.function!r}")

    @property
    def macs(self) -> int:
        """Multiply-accumulates of a depthwise convolution (on the vector unit); 0 for pooling."""
        return self.positions * self.channels * self.taps if self.function == "depthwise" else 0

    def program(self, config: MachineConfig) -> Program:
        """Tiles of channels, bands of positions in each, through double buffers; of a wide sum, chunks of its taps.

        Raises:
            ValueError: The scratchpad does not hold a band.
        """
        if self.taps > UNROLLED_TAPS and self.function != "depthwise":
            return self._summed(config)
        fused = self._banded(config, split=False)
        if not self.steps:
            return fused
        split = self._banded(config, split=True)
        return min(fused, split, key=lambda program: price(program, config).cycles)

    def _banded(self, config: MachineConfig, *, split: bool) -> Program:
        """With ``split`` the sums of a band go to the scratchpad, and the steps follow in a pass of their own over it."""
        budget = config.scratchpad.bytes // BUDGET_SHARE
        tile = self.channels
        while tile > 64 and 2 * tile * self.row_positions * (self.halo_rows + 2) > budget:
            tile = ceil(tile / 2)
        work = replace(self, channels=tile)
        if split:
            work = replace(work, steps=(), outputs=("middle",))
        tiles = ceil(self.channels / tile)
        input_bytes = 2 * self.input_positions * tile
        halo_bytes = 2 * self.halo_rows * self.row_positions * tile
        bands = min(self.positions, max(1, ceil(input_bytes / max(1, budget - halo_bytes))))
        positions = ceil(self.positions / bands)
        if (
            split and positions * tile > WHOLE_STRIPS
        ):  # a pass of its own has no odd strip, and so can be unrolled
            positions = ceil(positions / (per := ceil(WHOLE_STRIPS / tile))) * per
            bands = ceil(self.positions / positions)
        input_positions = ceil(self.input_positions / bands) + (
            self.halo_rows * self.row_positions if bands > 1 else 0
        )
        kernel = best_kernel(
            config,
            tile * min(positions, INTERLEAVED_POSITIONS),
            work._position,
            prepare=work._weights,
            longest=tile,
        )
        code = work._taps_loop(kernel) if self.taps > UNROLLED_TAPS else tuple(kernel.code)
        strips = ceil(tile / kernel.vl)
        tensors = [f"@operand{i}" for i, s in enumerate(self.steps) if s.operand == "tensor"]
        names = ["@in", *tensors, *(f"@{form}" for form in self.outputs)]
        constants = 2 * tile * (1 + (self.taps if self.function == "depthwise" else 0))

        def move(elements: int) -> tuple[int, int]:
            """Runs and elements of each: whole rows of channels, or a part of each position's."""
            return (1, elements * tile) if tiles == 1 else (elements, tile)

        inner: list[Node] = [_load("@in.0", *move(input_positions))]
        inner += [_load(f"{name}.0", *move(positions)) for name in tensors]
        inner += repeat(strips, *work._weight_loads(kernel), *repeat(ceil(positions / kernel.ways), *code))
        setup = list(kernel.setup)
        if split:
            second = best_kernel(config, tile * positions, self._second_pass)
            inner += [*second.setup, *repeat(second.strips(tile * positions), *second.code)]
        for form in self.outputs:
            runs, elements = move(positions)
            inner.append(
                store(f"@{form}.0", runs, ceil(elements * format_bits(form, config.matrix.operand_bits) / 8))
            )
        inner += [Rotate(names=(f"{name}.0", f"{name}.1")) for name in names]
        body = (*setup, *repeat(tiles, load("@weights", 1, constants), *repeat(bands, *inner)))
        sizes = {f"@in.{copy}": 2 * input_positions * tile for copy in "01"}
        sizes |= {f"{name}.{copy}": 2 * positions * tile for name in names[1:] for copy in "01"}
        sizes |= {"@middle.0": 2 * positions * tile} if split else {}
        return Program(body=body, buffers_bytes=sizes | {"@weights": constants} | table_bytes(body))

    def _second_pass(self, kernel: VectorKernel, _: object) -> None:
        value = kernel.load("@middle.0")
        self._steps_and_stores(kernel, value)

    def _summed(self, config: MachineConfig) -> Program:
        """A maximum or an average of many positions: its taps come in chunks, the accumulators stay in registers."""
        kernel = VectorKernel(config=config, vl=min(self.channels, 8 * config.vector.vlen_bits // 32))
        chunk = max(1, min(self.taps, BAND_BYTES // (2 * kernel.vl)))
        total = kernel.load("@in.0")
        before, kernel.code = kernel.code, []
        self._tap(kernel, total, None)
        tap, kernel.code = kernel.code, []
        self._finish(kernel, total)
        whole, rest = divmod(self.taps, chunk)
        contiguous = kernel.vl == self.channels

        def taps(count: int) -> tuple[Node, ...]:
            runs = (1, count * kernel.vl) if contiguous else (count, kernel.vl)
            return (_load("@in.0", *runs), *repeat(count, *tap), Rotate(names=("@in.0", "@in.1")))

        names = [f"@operand{i}" for i, s in enumerate(self.steps) if s.operand == "tensor"]
        outputs = [f"@{form}" for form in self.outputs]
        strip: list[Node] = [*before, *repeat(whole, *taps(chunk)), *(taps(rest) if rest else ())]
        strip += [load(f"{name}.0", 1, 2 * kernel.vl) for name in names]
        strip += kernel.code
        for form in self.outputs:
            strip.append(
                store(f"@{form}.0", 1, ceil(kernel.vl * format_bits(form, config.matrix.operand_bits) / 8))
            )
        strip += [Rotate(names=(f"{name}.0", f"{name}.1")) for name in (*names, *outputs)]
        strips = self.positions * ceil(self.channels / kernel.vl)
        constants = 2 * self.channels
        sizes = {f"@in.{copy}": 2 * chunk * kernel.vl for copy in "01"}
        sizes |= {f"{name}.{copy}": 2 * kernel.vl for name in (*names, *outputs) for copy in "01"}
        body = (load("@weights", 1, constants), *kernel.setup, *repeat(strips, *strip))
        return Program(body=body, buffers_bytes=sizes | {"@weights": constants} | table_bytes(body))

    def _resident(self, kernel: VectorKernel) -> bool:
        return self.function == "depthwise" and self.taps * kernel.lmul(16) <= 16

    def _weights(self, kernel: VectorKernel) -> list[Register]:
        return [kernel.allocate() for _ in range(self.taps)] if self._resident(kernel) else []

    def _weight_loads(self, kernel: VectorKernel) -> list[Node]:
        probe = VectorKernel(config=kernel.config, vl=kernel.vl)
        if self._resident(kernel):
            for _ in range(self.taps):
                probe.load("@weights")
        return list(probe.code)

    def _position(self, kernel: VectorKernel, weights: list[Register]) -> None:
        total = kernel.load("@weights") if self.function == "depthwise" else kernel.load("@in.0")
        if self.taps <= UNROLLED_TAPS:
            for tap in range(self.taps if self.function == "depthwise" else self.taps - 1):
                self._tap(kernel, total, weights[tap] if weights else None)
        self._finish(kernel, total)

    def _tap(self, kernel: VectorKernel, total: Register, weight: Register | None) -> None:
        value = kernel.load("@in.0")
        if self.function == "max":
            kernel.emit("vfmax.vv", total, value, into=total)
        elif self.function == "average":
            kernel.emit("vfadd.vv", total, value, into=total)
        else:
            factor = weight if weight is not None else kernel.load("@weights")
            kernel.emit("vfmacc.vv", factor, value, into=total)
            if weight is None:
                kernel.release(factor)
        kernel.release(value)

    def _finish(self, kernel: VectorKernel, total: Register) -> None:
        if self.function == "average":
            kernel.emit("vfmul.vf", total, into=total, constant=1 / self.taps)
        self._steps_and_stores(kernel, total)

    def _steps_and_stores(self, kernel: VectorKernel, total: Register) -> None:
        operands: dict[int, Register | str] = {
            i: f"@operand{i}.0" if s.operand == "tensor" else "@weights"
            for i, s in enumerate(self.steps)
            if s.operand in ("tensor", "channel")
        }
        total = emit_steps(kernel, total, self.steps, operands)
        store_outputs(kernel, total, self.outputs, {form: f"@{form}.0" for form in self.outputs})
        kernel.release(total)

    def _taps_loop(self, chosen: VectorKernel) -> tuple[Node, ...]:
        """A window too large to unroll, for as many positions as ``chosen`` takes: load, loop over the taps, finish."""
        kernel = VectorKernel(config=chosen.config, vl=chosen.vl)
        total = kernel.load("@weights")
        before, kernel.code = kernel.code, []
        self._tap(kernel, total, None)
        tap, kernel.code = kernel.code, []
        self._finish(kernel, total)
        return repeat(chosen.ways, *kernel.setup, *before, *repeat(self.taps, *tap), *kernel.code)


def _load(buffer: str, runs: int, elements: int) -> Instruction:
    return load(buffer, runs, 2 * elements)
