"""What a sweep says at its end."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import exp, log
from pathlib import Path
from typing import Any

from lanewise.sweep.machines import Machine
from lanewise.sweep.row import SweepRow


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The rows that were asked for, and how many of them are new."""

    rows: Sequence[SweepRow]
    machines: tuple[Machine, ...]
    computed: int
    seconds: float
    """Wall clock of the run."""
    path: Path

    @property
    def failed(self) -> list[SweepRow]:
        """Rows that failed."""
        return [row for row in self.rows if row.status == "failed"]

    def as_dict(self) -> dict[str, Any]:
        """The object that ``lanewise sweep --json`` prints."""
        return {
            "path": str(self.path),
            "networks": len({row.model for row in self.rows}),
            "rows": len(self.rows),
            "computed": self.computed,
            "done": len(self.rows) - len(self.failed),
            "failed": [
                {"model": row.model, "options": row.options, "config": row.config, "reason": row.reason}
                for row in self.failed
            ],
            "geometric_mean_speedup": geometric_mean_speedup(self.rows),
            "machines": [self._machine(machine) for machine in self.machines],
            "seconds": self.seconds,
        }

    def _machine(self, machine: Machine) -> dict[str, Any]:
        rows = [row for row in self.rows if row.config_hash == machine.hash]
        failed = sum(row.status == "failed" for row in rows)
        speedups = [row.speedup for row in rows if row.speedup is not None]
        return {
            "config": machine.label, "config_hash": machine.hash, "done": len(rows) - failed, "failed": failed,
            "geometric_mean_speedup": geometric_mean_speedup(rows), "largest_speedup": max(speedups, default=None),
        }  # fmt: skip


def geometric_mean_speedup(rows: Iterable[SweepRow]) -> float | None:
    """Of all rows that are done; ``None`` if there is none."""
    logs = [log(row.speedup) for row in rows if row.speedup is not None]
    return exp(sum(logs) / len(logs)) if logs else None
