"""Prove a harness' properties, or find out how they fail."""

from collections.abc import Callable
from dataclasses import dataclass

from lanewise.verify.formal.circuit import Circuit, FormalError, circuit_of
from lanewise.verify.formal.harness import Harness, Step
from lanewise.verify.formal.unrolling import Unrolling


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What came of a proof."""

    proved: int
    """Properties that hold in every clock, for every input."""
    failed: tuple[str, ...]
    """Properties whose proof failed, in the order of the proof; what would build on them was not tried."""
    trace: tuple[dict[str, int], ...] = ()
    """If a property fails within a few clocks after reset: each clock's bits, by name."""
    refuted: tuple[str, ...] = ()
    """The properties that fail in the last clock of the trace."""
    reason: str = "no failure found soon after reset"
    """What is known of a failed proof without a trace."""

    @property
    def message(self) -> str:
        """Empty if all is proved; else one line."""
        if not self.failed:
            return ""
        if self.refuted:
            return f"{self.refuted[0]}: fails {len(self.trace) - 1} clocks after the first reset"
        return f"{self.failed[0]}: not proved: {self.reason}"


def prove(harness: Harness, *, search_clk: int = 16, progress: Callable[[str], object] = str) -> Verdict:
    """Prove all properties, step by step; if that fails, look for a failure from reset on: of a claim, else of any.

    Args:
        search_clk: Clocks after reset among which a failure is looked for, if a proof fails.
        progress: Called with one line for each property.

    Raises:
        FormalError: Yosys failed, or nothing satisfies the assumptions.
    """
    circuit = circuit_of(harness.rtlil())
    return prove_circuit(
        circuit, harness.assumptions, harness.properties, search_clk=search_clk, progress=progress
    )


def prove_circuit(
    circuit: Circuit, assumptions: list[str], properties: dict[Step, list[str]], *, search_clk: int,
    progress: Callable[[str], object] = str,
) -> Verdict:  # fmt: skip
    """As :func:`prove`, for a circuit whose outputs have these names."""
    invariants = properties[Step.INVARIANT]
    failed = _base(circuit, assumptions, invariants) or _induction(circuit, assumptions, invariants, progress)
    if not failed:
        failed = _consequences(circuit, assumptions, properties, progress)
    if not failed:
        return Verdict(proved=sum(len(names) for names in properties.values()), failed=())
    for names in (properties[Step.CLAIM], [name for step in Step for name in properties[step]]):
        trace, refuted = _search(circuit, assumptions, names, search_clk)
        if refuted:
            break
    return Verdict(proved=0, failed=tuple(failed), trace=tuple(trace), refuted=tuple(refuted))


def _base(circuit: Circuit, assumptions: list[str], invariants: list[str]) -> list[str]:
    """Invariants that may be false in the first clock."""
    first = Unrolling(circuit, reset=True)
    for name in assumptions:
        first.require(first.output(name, 0))
    failed = [name for name in invariants if first.can_be(-first.output(name, 0))]
    first.close()
    return failed


def _induction(
    circuit: Circuit, assumptions: list[str], invariants: list[str], progress: Callable[[str], object]
) -> list[str]:
    """Invariants that may be false in a clock after one in which all are true."""
    pair = Unrolling(circuit, reset=False)
    pair.step()
    for name in assumptions:
        for clk in (0, 1):
            pair.require(pair.output(name, clk))
    for name in invariants:
        pair.require(pair.output(name, 0))
    _check_satisfiable(pair)
    failed = []
    for name in invariants:
        progress(name)
        if pair.can_be(-pair.output(name, 1)):
            failed.append(name)
    pair.close()
    return failed


def _consequences(
    circuit: Circuit,
    assumptions: list[str],
    properties: dict[Step, list[str]],
    progress: Callable[[str], object],
) -> list[str]:
    """Properties of the later steps that may be false where those of the earlier ones are true."""
    now = Unrolling(circuit, reset=False)
    for name in (*assumptions, *properties[Step.INVARIANT]):
        now.require(now.output(name, 0))
    _check_satisfiable(now)
    failed: list[str] = []
    for step in (Step.BOUND, Step.ORDER, Step.CLAIM):
        for name in properties[step]:
            progress(name)
            if now.can_be(-now.output(name, 0)):
                failed.append(name)
        if failed:
            break
        for name in properties[step]:
            now.require(now.output(name, 0))
    now.close()
    return failed


def _check_satisfiable(clocks: Unrolling) -> None:
    """From what cannot be, everything would follow."""
    if not clocks.can_be(clocks.TRUE):
        raise FormalError("assumptions must be satisfiable together with the invariants")


def _search(
    circuit: Circuit, assumptions: list[str], names: list[str], search_clk: int
) -> tuple[list[dict[str, int]], list[str]]:
    """The first clocks from reset on that end with one of the properties false, and which; empty if there are none."""
    run = Unrolling(circuit, reset=True)
    try:
        for clk in range(search_clk + 1):
            if clk:
                run.step()
            for name in assumptions:
                run.require(run.output(name, clk))
            for name in names:
                if run.can_be(-run.output(name, clk)):
                    trace = run.trace()
                    return trace, [other for other in names if not trace[-1][other]]
                run.require(run.output(name, clk))
        return [], []
    finally:
        run.close()
