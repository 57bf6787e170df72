"""What a run of a workload says."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lanewise.mapping.simulate import Simulation
from lanewise.models.claim import Claim


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One network or kernel of a workload on one machine, beside the same machine without Flex-SFU."""

    name: str
    shape: str
    """Sizes in words, such as ``T = 1,000, batch 1``."""
    machine: str
    """What differs from the configuration that the run was asked for; ``default`` if nothing does."""
    cycles: int
    baseline_cycles: int
    macs: int
    loaded_bytes: int
    stored_bytes: int
    energy_pj: float | None = None
    """``None``: nothing says yet what an operation takes."""
    baseline_energy_pj: float | None = None

    @property
    def speedup(self) -> float:
        """Baseline cycles over cycles."""
        return self.baseline_cycles / self.cycles if self.cycles else 1.0

    @classmethod
    def of(cls, simulation: Simulation, *, name: str, shape: str, machine: str = "default") -> "Case":
        """A simulated network as a case."""
        costs = simulation.machine.costs
        return cls(
            name=name, shape=shape, machine=machine, cycles=simulation.machine.cycles, baseline_cycles=simulation.baseline.cycles,
            macs=simulation.macs, loaded_bytes=sum(cost.loaded_bytes for cost in costs), stored_bytes=sum(cost.stored_bytes for cost in costs),
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Fidelity:
    """One measure of a workload in PyTorch and with the hardware's bits."""

    name: str
    setting: str
    """The arithmetic: formats, segments, degree."""
    reference: float
    hardware: float
    unit: str
    """Of both numbers; empty for a ratio."""
    note: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkloadResult:
    """Claims, cases and fidelity of one workload; the first case is its headline.

    Raises:
        ValueError: There is no case, or two claims share a name.
    """

    name: str
    title: str
    seed: int
    small: bool
    config_hash: str
    claims: tuple[Claim, ...]
    cases: tuple[Case, ...]
    fidelity: tuple[Fidelity, ...]
    findings: tuple[str, ...] = ()
    """What the hardware's arithmetic breaks, with the setting that keeps it; what bounds a speedup."""
    data: Mapping[str, Any] = field(default_factory=dict)
    """What the pictures are drawn from: JSON's types only."""

    def __post_init__(self) -> None:
        if not self.cases:
            raise ValueError("cases must hold the headline at least, not nothing")
        names = [claim.name for claim in self.claims]
        if len(names) != len(set(names)):
            raise ValueError(f"claims must have names of their own, not {names}")

    def as_dict(self) -> dict[str, Any]:
        """The object that ``lanewise workload --json`` prints; without the pictures' data."""
        headline = self.cases[0]
        return {
            "name": self.name,
            "title": self.title,
            "seed": self.seed,
            "small": self.small,
            "config_hash": self.config_hash,
            "baseline": "the same machine without Flex-SFU: activations in software on the vector unit",
            "claims": [dataclasses.asdict(claim) for claim in self.claims],
            "headline": f"{headline.name}, {headline.shape}",
            "cycles": headline.cycles,
            "baseline_cycles": headline.baseline_cycles,
            "speedup": headline.speedup,
            "energy_pj": headline.energy_pj,
            "baseline_energy_pj": headline.baseline_energy_pj,
            "cases": [{**dataclasses.asdict(case), "speedup": case.speedup} for case in self.cases],
            "fidelity": [dataclasses.asdict(measure) for measure in self.fidelity],
            "findings": list(self.findings),
        }

    def stored(self) -> dict[str, Any]:
        """Everything, as JSON keeps it between runs."""
        return {**self.as_dict(), "data": dict(self.data)}

    @classmethod
    def restored(cls, stored: Mapping[str, Any]) -> "WorkloadResult":
        """The result that :meth:`stored` wrote.

        Raises:
            KeyError, TypeError, ValueError: It is no such thing.
        """
        cases = ({key: value for key, value in case.items() if key != "speedup"} for case in stored["cases"])
        return cls(
            name=stored["name"], title=stored["title"], seed=stored["seed"], small=stored["small"], config_hash=stored["config_hash"],
            claims=tuple(Claim(**claim) for claim in stored["claims"]), cases=tuple(Case(**case) for case in cases),
            fidelity=tuple(Fidelity(**measure) for measure in stored["fidelity"]), findings=tuple(stored["findings"]), data=stored["data"],
        )  # fmt: skip
