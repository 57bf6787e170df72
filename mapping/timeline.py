"""The trace of a simulated network: operators, and every instruction of theirs, as trace events that Perfetto opens.

One process a machine, one thread for the operators and one for each unit; a microsecond of the trace is a clock. An instruction's bar is
the clocks that it holds its unit, so that bars of a thread never overlap; ``end`` is the clock after its last beat has landed.
Format: https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU (trace event format, JSON).
"""

import difflib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from lanewise.config import MachineConfig
from lanewise.errors import UserError
from lanewise.files import atomic_write
from lanewise.mapping.kernels.price import priced
from lanewise.mapping.simulate import NetworkCost, OperatorCost, Simulation, as_stored, work_cost
from lanewise.sim.engine import Engine, Times
from lanewise.sim.program import Instruction
from lanewise.sim.timing import UNITS, timing_table

INSTRUCTIONS = 1_000_000
"""Instructions of a machine that are traced unless more are asked for: some 100 MB."""


@dataclass(frozen=True, kw_only=True)
class Traced:
    """What a trace holds of one machine's instructions."""

    instructions: int
    of: int
    """Instructions of the operators that were asked for."""


def write_timeline(
    simulation: Simulation,
    path: Path,
    *,
    operators: Sequence[str] = (),
    limit: int = INSTRUCTIONS,
    progress: Callable[[str], None] = lambda _: None,
) -> tuple[Traced, Traced]:
    """Write the trace of ``simulation``'s machine and its baseline.

    Args:
        operators: Names of those whose instructions are traced; all if there is none.
        limit: Instructions of each machine that are traced, from the first on; the operators are all there.
        progress: Told where the limit has cut the trace.

    Raises:
        UserError: ``operators`` has a name that the network has not, or the file cannot be written.
    """
    known = [task.name for task in simulation.machine.tasks]
    for name in operators:
        if name not in known:
            close = difflib.get_close_matches(name, known, 3) or known[:3]
            raise UserError(
                f"{name}: is no operator of {simulation.model}; expected one such as {', '.join(close)}"
            )
    results = []
    with atomic_write(path) as stream:
        stream.write(b'{"displayTimeUnit": "ns", "traceEvents": [\n')
        machines = (("with Flex-SFU", simulation.machine), ("baseline", simulation.baseline))
        for number, (label, cost) in enumerate(machines, 1):
            writer = _Writer(stream, number, simulation, limit)
            results.append(writer.machine(f"{simulation.model}: {label}", cost, frozenset(operators)))
        # the event behind which there is no comma
        stream.write(b'{"ph": "M", "pid": 2, "name": "process_sort_index", "args": {"sort_index": 2}}\n]}\n')
    for (label, _), result in zip(machines, results):
        if result.instructions < result.of:
            progress(
                f"{path}: has the first {result.instructions:,} of {result.of:,} instructions {label}; "
                "--trace-operator NAME chooses operators, --trace-limit N allows more"
            )
    return results[0], results[1]


class _Writer:
    def __init__(self, stream: IO[bytes], process: int, simulation: Simulation, limit: int) -> None:
        self._stream, self._process, self._simulation, self._left = stream, process, simulation, limit

    def machine(self, label: str, cost: NetworkCost, operators: frozenset[str]) -> Traced:
        self._event(ph="M", name="process_name", args={"name": label})
        for thread, name in enumerate(("operators", *UNITS)):
            self._event(ph="M", tid=thread, name="thread_name", args={"name": name})
            self._event(ph="M", tid=thread, name="thread_sort_index", args={"sort_index": thread})
        now = traced = of = 0
        for task, run_cost in zip(cost.tasks, cost.costs, strict=True):
            detail = {
                "kind": task.kind,
                "members": list(task.members),
                "unit": run_cost.unit,
                "busy_clk": run_cost.busy_clk,
            }
            self._event(
                ph="X", tid=0, name=task.name, cat=task.kind, ts=now, dur=run_cost.cycles, args=detail
            )
            if not operators or task.name in operators:
                of += run_cost.instructions
                traced += self._instructions(task.work, self._config(task.work, run_cost, cost), now)
            now += run_cost.cycles
        return Traced(instructions=traced, of=of)

    def _config(self, work: Any, run_cost: OperatorCost, cost: NetworkCost) -> MachineConfig:
        """The machine, or where the software is faster than its Flex-SFU, the machine without."""
        own = work_cost(work, cost.config)
        return cost.config if own.cycles == run_cost.cycles else cost.config.baseline()

    def _instructions(self, work: Any, config: MachineConfig, now: int) -> int:
        """Every instruction of an operator that starts in clock ``now``, as far as the limit allows."""
        before = self._left
        program = priced(as_stored(work, config).program(config), config)

        def record(chunk: Times) -> bool:
            rows = chunk[: self._left].tolist()
            self._left -= len(rows)
            text = [
                f'{heads[number]}{held},"ts":{start + now}{tails[number]}{end + now}}}}},\n'
                for number, start, end, held in rows
            ]
            self._stream.write("".join(text).encode())
            return self._left > 0

        if self._left > 0:
            engine = Engine(program, config, summarise=False, recorder=record)
            heads, tails = self._constant_parts(engine.instructions, config)
            engine.run()
        return before - self._left

    def _constant_parts(
        self, instructions: Sequence[Instruction], config: MachineConfig
    ) -> tuple[list[str], list[str]]:
        """Of each instruction's event what comes before the clocks that it holds its unit, and what lies between its start and its end."""
        table, heads, tails = timing_table(config), [], []
        for instruction in instructions:
            clocks = table[instruction]
            thread = 1 + UNITS.index(clocks.unit)
            heads.append(
                f'{{"ph":"X","pid":{self._process},"tid":{thread},"name":"{instruction.opcode}","dur":'
            )
            detail: dict[str, Any] = {}
            if clocks.stream == "vector":
                detail = {"vl": instruction.vl, "sew": instruction.sew_bits}
            elif instruction.run_bytes:
                detail = {"runs": instruction.runs, "run_bytes": instruction.run_bytes}
            buffers = [name for name in (*instruction.reads, *instruction.writes) if name.startswith("@")]
            if buffers:
                detail["buffers"] = " ".join(buffers)
            tails.append(f',"args":{json.dumps(detail | {"end": 0})[:-2]}')
        return heads, tails

    def _event(self, **event: Any) -> None:
        self._stream.write(json.dumps({"pid": self._process} | event).encode() + b",\n")
