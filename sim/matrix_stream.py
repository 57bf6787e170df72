"""When commands of the stream ``matrix`` start, have read and have written: clocks only, no values.

Clocks are counted as everywhere: a command starts in the clock in which it is accepted.
"""

from dataclasses import dataclass
from math import ceil

from lanewise.config import REQUANTISER_LATENCY_CLK, MatrixConfig

READ_CLK = 2
"""From an accepted command to its first line at the transposer: address registers, SRAM."""


@dataclass(frozen=True, kw_only=True)
class Command:
    """What decides a command's clocks."""

    k: int
    """Steps of a pass."""
    passes: int = 1
    last: bool = True
    """Whether it ends a tile (``mm.tile``), or the next one goes on with its sums (``mm.accumulate``)."""
    reload: bool = False
    """Whether new constants of the columns come before the tile's first row."""

    def __post_init__(self) -> None:
        if self.k < 1 or self.passes < 1:
            raise ValueError(f"k and passes must be at least 1, not {self.k} and {self.passes}")


@dataclass(frozen=True, kw_only=True)
class Times:
    """What a command did when. Of one that ends no tile, what comes after ``operands_read`` is 0."""

    start: int
    free: int
    """The next command can start."""
    operands_read: int
    """The last read of operands; their buffers can be written by who starts in the clock after it."""
    first_step: int
    """The array takes the first step."""
    last_step: int
    constants_read: int = 0
    """The last read of columns' constants; 0 without ``reload``."""
    scales_read: int = 0
    """The last read of the rows' scales, where there are such reads."""
    results_written: int = 0
    """The last byte is in the scratchpad at the end of this clock; a reader can start in the clock after it."""


def matrix_stream_beats_clk(k: int, passes: int, config: MatrixConfig) -> int:
    """Clocks for which a command holds the stream, where nothing stalls: whole blocks of each pass, a line a clock.

    >>> config = MatrixConfig()
    >>> [matrix_stream_beats_clk(k, 1, config) for k in (768, 147, 1)]
    [768, 160, 32]
    """
    return passes * ceil(k / config.block_steps) * config.block_steps


def matrix_stream_first_step_clk(config: MatrixConfig) -> int:
    """Clocks from a command's start to its first step, where nothing stalls: a block is read before its first step leaves.

    >>> matrix_stream_first_step_clk(MatrixConfig())
    34
    """
    return READ_CLK + config.block_steps


def matrix_stream_leave_clk(config: MatrixConfig, *, reload: bool = False) -> int:
    """Clocks in which a tile leaves: a word of new constants comes every other clock, the first of them two clocks behind the tile before.

    >>> matrix_stream_leave_clk(MatrixConfig()), matrix_stream_leave_clk(MatrixConfig(), reload=True)
    (128, 136)
    """
    return config.leave_clk() + 2 * config.row_beats * reload


def matrix_stream_result_clk(k: int, passes: int, config: MatrixConfig, *, reload: bool = False) -> int:
    """Clocks from a lone tile's start to that of the first reader of its results.

    >>> [matrix_stream_result_clk(k, 1, MatrixConfig()) for k in (768, 147, 64)]
    [940, 319, 236]
    """
    steps = (k - 1) % config.block_steps + 1  # of the last block
    last_step = matrix_stream_beats_clk(k, passes, config) + 1 + steps
    constants = (2 * config.row_beats - 1) * reload
    return last_step + 3 + constants + config.leave_clk() + REQUANTISER_LATENCY_CLK + 1


def matrix_stream_tile_clk(k: int, passes: int, config: MatrixConfig, *, reload: bool = False) -> int:
    """Clocks between the starts of two successive tiles of such a kind, all with new constants or none, in the long run.

    >>> [matrix_stream_tile_clk(k, 1, MatrixConfig()) for k in (768, 147, 64)]
    [768, 160, 128]
    """
    return max(matrix_stream_beats_clk(k, passes, config), matrix_stream_leave_clk(config, reload=reload))


class MatrixStream:
    """The recurrence, command by command and in them block by block.

    What is told apart: lines that move into the transposer, the steps that move out of it with them, and the tiles that leave the
    array. Two things stop a step: that its block's last line is not in, and that the array waits: the second step of a tile, until the tile
    before has gone to the drain registers. A stopped step stops the lines that come with it.

    >>> stream = MatrixStream(MatrixConfig(rows=4, columns=4, output_lanes=2))
    >>> [stream.start(Command(k=k), 0).start for k in (8, 2, 2, 2, 2)]
    [0, 8, 12, 16, 24]
    >>> stream = MatrixStream(MatrixConfig())
    >>> stream.start(Command(k=768), 0).results_written
    939
    """

    def __init__(self, config: MatrixConfig) -> None:
        self.config = config
        self._free = 0  # the next command's first clock
        # of the block that leaves: its first step, that of the second, the last one, and how many there are
        self._steps = (0, 0, 0, 0)
        self._filled = 0  # its last line moved into the transposer
        self._array = 0  # the array takes the next step from this clock on
        self._fresh = True  # the next step begins a tile
        self._loaded = self._drained = 0  # the drain registers take a tile; its last row leaves
        self._port = 0  # the next item of the side reads can be asked for

    def start(self, command: Command, earliest: int) -> Times:
        """Start the next command as soon as it can, but not before ``earliest``."""
        size = self.config.block_steps
        start = max(earliest, self._free)
        first_steps, read = [], 0
        arrives = start + READ_CLK
        for _ in range(command.passes):
            for block in range(0, command.k, size):
                before, filled = self._fill(arrives)
                read, arrives = before, 0
                first_steps.append(self._give(filled, min(size, command.k - block)))
        self._free = read
        times = Times(
            start=start, free=read, operands_read=read, first_step=first_steps[0], last_step=self._steps[2]
        )
        return self._leave(times, command) if command.last else times

    def _fill(self, arrives: int) -> tuple[int, int]:
        """Move a block's lines in, the first in clock ``arrives`` or later: clocks of the last but one, and of the last."""
        size, (_, second, last, count) = self.config.block_steps, self._steps
        begins = max(arrives, self._filled + 1)
        if begins > last or not count:
            return begins + size - 2, begins + size - 1
        number = 0 if begins <= self._steps[0] else max(1, 1 + begins - second)

        def moves(line: int) -> int:
            step = number + line
            if step == 0:
                return self._steps[0]
            return second + step - 1 if step < count else last + step - count + 1

        return moves(size - 2), moves(size - 1)

    def _give(self, filled: int, count: int) -> int:
        """Steps of a block that is filled: when the first is taken."""
        first = max(filled + 1, self._array)
        second = max(first + 1, self._loaded) if self._fresh else first + 1
        last = first if count == 1 else second + count - 2
        self._array = second if count == 1 else last + 1
        self._steps, self._filled = (first, second, last, count), filled
        self._fresh = False
        return first

    def _leave(self, times: Times, command: Command) -> Times:
        """The tile's way out, from its last step on."""
        rows, beats = self.config.rows, self.config.row_beats
        scale = max(times.start + 1, self._port)  # the first row's scale is asked for
        follows = max(scale + 1, self._drained)  # it has its place, and the next item is asked for
        loaded = max(self._array + 1, self._drained)
        constants = 0
        ready = loaded
        if command.reload:
            word = max(loaded + 1, follows + 2)
            ready = word + 2 * (beats - 1)
            constants = follows + 1 if beats == 1 else ready - 1
            follows = ready
        drained = ready + rows * beats
        scales = drained - 2 * beats
        if rows <= 2:
            scales = follows if rows == 2 else constants or scale
        self._port = follows if rows == 1 else drained - beats
        self._loaded, self._drained, self._fresh = loaded, drained, True
        return Times(
            start=times.start, free=times.free, operands_read=times.operands_read, first_step=times.first_step,
            last_step=times.last_step, constants_read=constants, scales_read=scales,
            results_written=drained + REQUANTISER_LATENCY_CLK + 1,
        )  # fmt: skip
