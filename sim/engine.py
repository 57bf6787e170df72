"""The timing engine: when each instruction of a Program starts and ends.

The rules are docs/core.md's "When an instruction starts", and for the other streams: one start a clock in each; a unit takes one
instruction at a time; a buffer is read when all writes before have landed, and written when all reads and writes before are
done. An array that splits runs its commands as :mod:`lanewise.sim.matrix_stream` says; of the arrays that it is compared with, a tile
does not finish before the drain of the one before it has ended. ``recurrence.cpp`` is this recurrence, :mod:`lanewise.sim.reference` says
it once more in Python, and ``tests/sim/test_engine.py`` holds the two equal.

Loops are summarised exactly: the machine's state at the top of a loop, relative to the streams that the loop
uses, decides all that follows; when it recurs, the clocks between are a period and whole periods are skipped.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from lanewise.config import REQUANTISER_LATENCY_CLK, MachineConfig
from lanewise.sim.compiled import Watcher as _Watcher
from lanewise.sim.compiled import library
from lanewise.sim.encode import DRAIN, FIRST_NAME, MATRIX_TIMES, Encoded, encode
from lanewise.sim.program import Instruction, Program
from lanewise.sim.timing import STREAMS, UNITS

Times: TypeAlias = npt.NDArray[np.int64]

Watcher: TypeAlias = Callable[[Instruction, int, int], None]
"""Called with an instruction, its first clock, and the clock after its last beat has landed."""

Recorder: TypeAlias = Callable[[Times], bool]
"""Called with a chunk of instructions in Program order, shape ``(n, 4)``: of each its number, start and end, and for how many clocks it held
its unit; ``False`` ends the run."""

CHUNK = 1 << 14
"""Instructions that a recorder is told of at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """What a Program took."""

    cycles: int
    """From the first clock to the last byte landed."""
    busy_clk: dict[str, int]
    """Clocks that each unit was held."""
    instructions: int
    loaded_bytes: int
    stored_bytes: int
    macs: int
    """Multiply-accumulates that the array performed, padding included."""


class Engine:
    """Runs one Program on one machine.

    Args:
        summarise: Skip the periods of loops (exact); ``False`` executes every instruction.
        watcher: Told every instruction's start and end; needs ``summarise=False``.
        recorder: The same, many at a time; the numbers are places in :attr:`instructions`.
        dma_clk: For each ``dma.load`` and ``dma.store`` in Program order what it took, in place of the timing table's clocks: how long
            it held its channel, and from its start until all of it has landed (a reader of the buffer may start then). Needs
            ``summarise=False``.

    Raises:
        ValueError: An instruction is not in the timing table, not for this machine, or the arguments contradict each other.
    """

    def __init__(
        self,
        program: Program,
        config: MachineConfig,
        *,
        summarise: bool = True,
        watcher: Watcher | None = None,
        recorder: Recorder | None = None,
        dma_clk: Sequence[tuple[int, int]] | None = None,
    ) -> None:
        for name, value in (("a watcher", watcher), ("a recorder", recorder), ("dma_clk", dma_clk)):
            if value is not None and summarise:
                raise ValueError(f"summarise must be False with {name}, not True")
        if watcher is not None and recorder is not None:
            raise ValueError("watcher must be None with a recorder")
        self._encoded: Encoded = encode(program, config)
        self._instructions: list[Instruction] | None = None
        self._macs_per_clk = config.matrix.macs_per_clk
        matrix = config.matrix
        shape = (matrix.block_steps, matrix.rows, matrix.row_beats, REQUANTISER_LATENCY_CLK)
        self._shape = np.array(shape, np.int32)
        self._summarise, self._watcher, self._recorder = summarise, watcher, recorder
        self._dma = None if dma_clk is None else np.array(dma_clk, np.int64).reshape(-1, 2)

    @property
    def instructions(self) -> list[Instruction]:
        """Every instruction of the Program once, by number."""
        if self._instructions is None:
            self._instructions = self._encoded.instructions()
        return self._instructions

    def run(self) -> Run:
        """Run to the last byte landed, or until the recorder ends it."""
        encoded = self._encoded
        self._state: Times = np.zeros(FIRST_NAME + 3 * len(encoded.registers), np.int64)
        self._state[: len(STREAMS)] = -1
        busy: Times = np.zeros(len(UNITS), np.int64)
        counted: Times = np.zeros(5 + len(UNITS), np.int64)
        watching = self._watcher is not None or self._recorder is not None
        events: Times = np.empty((CHUNK if watching else 0, 4), np.int64)
        problems: list[BaseException] = []

        def told(count: int) -> int:
            try:
                return int(not self._tell(events[:count]))
            except BaseException as problem:  # noqa: BLE001 - raised again below: it cannot pass through C++
                problems.append(problem)
                return 1

        status = library().lanewise_run(
            encoded.code, len(STREAMS), len(UNITS), len(STREAMS) + UNITS.index("dma_load"), UNITS.index("matrix"),
            self._shape.ctypes.data, int(self._summarise), self._state.ctypes.data, busy.ctypes.data, None if self._dma is None else self._dma.ctypes.data,
            0 if self._dma is None else len(self._dma), events.ctypes.data, CHUNK, _Watcher(told) if watching else _Watcher(),
            encoded.registers, len(encoded.registers), counted[1:].ctypes.data, counted.ctypes.data,
        )  # fmt: skip
        if problems:
            raise problems[0]
        if status > 1:
            raise ValueError(
                f"dma_clk must have one entry for each DMA instruction, not {'fewer' if status == 2 else 'more'}"
            )
        held = dict(zip(UNITS, busy.tolist()))
        end, instructions, loaded, stored, steps, *known = counted.tolist()
        if self._summarise:
            held = dict(zip(UNITS, known)) | {"matrix": held["matrix"]}
        return Run(
            cycles=end, busy_clk=held, instructions=instructions, loaded_bytes=loaded, stored_bytes=stored, macs=steps * self._macs_per_clk,
        )  # fmt: skip

    def state(self) -> dict[str, Any]:
        """After a run, all that it left: each stream's last start; when each unit, and the drain, is free (of an array that splits, when
        its last results have landed); its recurrence's times; of each name when a reader may start, when the last beat has landed, and
        when the last read has ended."""
        values = self._state.tolist()
        names = {
            name: tuple(values[FIRST_NAME + 3 * i : FIRST_NAME + 3 * i + 3])
            for name, i in self._encoded.used().items()
        }
        return {
            "streams": dict(zip(STREAMS, values)), "units": dict(zip(UNITS, values[len(STREAMS) :])), "drain": values[DRAIN],
            "matrix": dict(zip(MATRIX_TIMES, values[DRAIN + 1 :])), "names": names,
        }  # fmt: skip

    def _tell(self, chunk: Times) -> bool:
        if self._recorder is not None:
            return self._recorder(chunk)
        assert self._watcher is not None
        for number, start, end, _ in chunk.tolist():
            self._watcher(self.instructions[number], start, end)
        return True


def run(
    program: Program,
    config: MachineConfig,
    *,
    summarise: bool = True,
    watcher: Watcher | None = None,
    dma_clk: Sequence[tuple[int, int]] | None = None,
) -> Run:
    """Clocks, unit occupancy and bytes of ``program`` on ``config``'s machine; the arguments are :class:`Engine`'s."""
    return Engine(program, config, summarise=summarise, watcher=watcher, dma_clk=dma_clk).run()
