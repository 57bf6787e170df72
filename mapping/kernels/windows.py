"""Operators over windows of positions, channels innermost: pooling, depthwise convolution, sums over positions.

What they compute, bit by bit, is :mod:`lanewise.models.windows`.
"""

from dataclasses import dataclass, replace
from math import inf, prod

from lanewise.config import MachineConfig
from lanewise.mapping.kernels.epilogue import Step
from lanewise.mapping.kernels.position_sums import PositionSums
from lanewise.mapping.kernels.price import banks, price
from lanewise.mapping.kernels.window_axes import Axis
from lanewise.mapping.kernels.window_bands import WindowBands
from lanewise.mapping.kernels.window_kinds import Ending
from lanewise.sim.program import Program

MARGIN = 1.12
"""Of two ways whose estimates differ by this factor the better one alone is made."""
FUNCTIONS = ("max", "average", "sum", "depthwise")


@dataclass(frozen=True, kw_only=True)
class WindowsWork:
    """A maximum, an average, a sum, or a weighted sum with a bias for each window of ``images``, channel by channel; then ``steps``.

    Tensors: ``in`` in FP16, images x positions x channels without borders; of a depthwise convolution ``weights``, taps x channels, the bias of every
    channel after them; ``operand0`` for step 0 and so on, results x channels, or of a channel operand channels; and a result for
    each of ``outputs``, of its name, in which every position begins at a byte.
    """

    function: str
    images: int = 1
    axes: tuple[Axis, ...]
    """Of the positions, from the outermost to the innermost, one to three."""
    channels: int
    divisor: float | None = None
    """Of an average; ``None``: as many positions as a window counts."""
    steps: tuple[Step, ...] = ()
    outputs: tuple[str, ...] = ("fp16",)
    inverse_step: float = 1.0
    """Of the quantised output: what a value is multiplied by before it is rounded."""

    def __post_init__(self) -> None:
        if self.function not in FUNCTIONS:
            raise ValueError(f"function must be one of {', '.join(FUNCTIONS)}, not {self.function!r}")
        if not 1 <= len(self.axes) <= 3:
            raise ValueError(f"axes must be one to three, not {len(self.axes)}")

    @property
    def ending(self) -> Ending:
        """Steps and stores of a result."""
        return Ending(steps=self.steps, outputs=self.outputs, inverse_step=self.inverse_step)

    @property
    def volume(self) -> tuple[Axis, Axis, Axis]:
        """The axes as planes, rows and columns."""
        one, two, three = (*(Axis(size=1),) * (3 - len(self.axes)), *self.axes)
        return one, two, three

    @property
    def positions(self) -> int:
        """Results, without the channels."""
        return self.images * prod(axis.count for axis in self.axes)

    @property
    def taps(self) -> int:
        """Of the largest window."""
        return prod(axis.taps for axis in self.axes)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of a depthwise convolution (on the vector unit), padding included; 0 for pooling."""
        return self.positions * self.channels * self.taps if self.function == "depthwise" else 0

    @property
    def whole_images(self) -> bool:
        """Whether every image is one window without weights."""
        spans = [(axis, axis.span(0)) for axis in self.axes if axis.count == 1]
        whole = all(
            (span.start, span.first, span.stop, axis.apart) == (0, 0, axis.size, 1)
            and span.counted == axis.size
            for axis, span in spans
        )
        return self.function != "depthwise" and len(spans) == len(self.axes) and whole

    def program(self, config: MachineConfig) -> Program:
        """Tiles of channels, bands of positions in each, through double buffers; of whole images, chunks of positions.

        Steps are computed where the sums are in registers, or in a pass of their own over the band, whichever is faster.

        Raises:
            ValueError: The scratchpad does not hold a band of the narrowest tile.
        """
        if self.whole_images:
            return PositionSums(self, config).program()
        return self._chosen(config)[0].program(places=True)

    def timed(self, config: MachineConfig) -> Program:
        """The same Program, but vector code without its places in the scratchpad, on which no clock depends.

        Raises:
            ValueError: As of :meth:`program`.
        """
        return PositionSums(self, config).program() if self.whole_images else self._chosen(config)[1]

    def _chosen(self, config: MachineConfig) -> tuple[WindowBands, Program]:
        """The faster of the ways that fit, with its Program without places."""
        best: tuple[bool, int, WindowBands, Program] | None = None
        problem: ValueError | None = None
        ways, sure = self._ways(config)
        for bands in ways:
            try:
                if best is not None and best[0] and (sure or bands.least_clk() >= best[1]):
                    break
                program = bands.program(places=False)
            except ValueError as error:
                problem = error
                continue
            fits = banks(program, config) <= config.scratchpad.banks
            if best is None and fits and (sure or bands is ways[-1]):
                return bands, program
            clocks = price(program, config).cycles
            if best is None or (not fits, clocks) < (not best[0], best[1]):
                best = fits, clocks, bands, program
        if best is None:
            raise problem or ValueError("steps must be known")
        return best[2:]

    def _ways(self, config: MachineConfig) -> tuple[list[WindowBands], bool]:
        """Steps where the sums are, and apart; and whether the first of them is faster for sure."""
        ways = [WindowBands(self, config)]
        if not self._apart(config):
            return ways, False
        ways.append(WindowBands(replace(self, steps=(), outputs=("middle",)), config, after=self))
        clocks: list[float] = []
        for bands in ways:
            try:
                if clocks and bands.least_clk() >= clocks[0]:
                    return ways, False
                clocks.append(bands.estimate())
            except ValueError:
                clocks.append(inf)
        if clocks[1] < clocks[0]:
            ways.reverse()
            clocks.reverse()
        return ways, clocks[1] > MARGIN * clocks[0]

    def _apart(self, config: MachineConfig) -> bool:
        """Whether the steps can be computed on a band as one sequence of elements."""
        packed = "quantised" in self.outputs and self.channels * config.matrix.operand_bits % 8 != 0
        return bool(self.steps) and not packed and all(step.operand != "channel" for step in self.steps)
