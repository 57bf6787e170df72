"""What the speedup depends on: the share of activations, the machine's ratio of MACs to lanes, batch and sequence."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy import stats

from lanewise.config import MachineConfig
from lanewise.reports.sweep.results import SweepResults
from lanewise.reports.sweep.tables import DISTRIBUTION, NARROW, Table, distribution

TOLERANCE = 1e-9
"""Relative, by which a speedup may exceed Amdahl's bound: both are quotients of whole cycles."""


@dataclass(frozen=True, kw_only=True)
class Correlation:
    """Speedup against the share ``s`` of the baseline's cycles in tasks with activations; Amdahl's bound is ``1 / (1 - s)``."""

    networks: int
    pearson: float | None
    """``None`` of fewer than three networks, or where one of the two does not vary."""
    spearman: float | None
    removed: float | None
    """Median over the networks with activations of the part of those tasks' cycles that Flex-SFU removes, 0 to 1."""
    over_bound: tuple[str, ...]
    """Networks faster than the bound: other tasks than those became faster. Empty of a sound sweep."""


def correlate(done: pl.DataFrame) -> Correlation:
    """Correlation over the networks whose share is known."""
    known = done.filter(pl.col("activation_share").is_not_null())
    share = known["activation_share"].to_numpy().astype(np.float64)
    speedup = known["speedup"].to_numpy().astype(np.float64)
    varied = len(known) >= 3 and np.ptp(share) > 0 and np.ptp(speedup) > 0
    gained = 1 - 1 / speedup
    active = share > 0
    over = [
        name
        for name, gain, part in zip(known["model"].to_list(), gained, share)
        if gain > part * (1 + TOLERANCE) + TOLERANCE
    ]
    return Correlation(
        networks=len(known),
        pearson=float(stats.pearsonr(share, speedup).statistic) if varied else None,
        spearman=float(stats.spearmanr(share, speedup).statistic) if varied else None,
        removed=float(np.median(gained[active] / share[active])) if active.any() else None,
        over_bound=tuple(sorted(over)),
    )


def common(done: pl.DataFrame, column: str, by: Sequence[str]) -> pl.DataFrame:
    """Rows whose ``by`` is there with every value of ``column``: what may be compared from value to value."""
    values = done[column].n_unique()
    whole = (
        done.group_by(by).agg(pl.col(column).n_unique().alias("values")).filter(pl.col("values") == values)
    )
    return done.join(whole.select(by), on=by, how="semi", nulls_equal=True)


def ratio(machine: MachineConfig) -> float:
    """Multiply-accumulates a clock for each 32-bit lane of the vector unit.

    >>> ratio(MachineConfig())
    128.0
    """
    return machine.matrix.macs_per_clk / machine.vector.lanes


MACHINE = {
    "config": ("machine", "text"), "ratio": ("MACs<br>a lane", "ratio"), "array": ("array", "text"), "lanes": ("lanes", "count"),
}  # fmt: skip


def by_machine(results: SweepResults) -> Table:
    """A row a known machine, by its ratio of MACs to lanes, over the networks that are done on all of them."""
    done = results.done().filter(pl.col("config_hash").is_in(list(results.machines)))
    shared = common(done, "config_hash", ["model", "options"])
    rows = []
    for (name,), part in shared.group_by("config_hash"):
        machine = results.machines[str(name)]
        matrix = machine.matrix
        label = part["config"][0] or ("default" if name == MachineConfig().hash else str(name))
        rows.append(
            {"config": label, "config_hash": str(name), "ratio": ratio(machine), "lanes": machine.vector.lanes,
             "array": f"{matrix.rows} x {matrix.columns} INT{matrix.operand_bits}"}
            | part.select(distribution()).to_dicts()[0]
        )  # fmt: skip
    rows.sort(key=lambda row: (row["ratio"], row["lanes"], row["config"]))
    return Table(
        name="machines",
        title="Machines compared",
        columns=MACHINE | NARROW,
        rows=rows,
        note=f"Over the {rows[0]['networks'] if rows else 0} networks and inputs that are done on all of them.",
    )


def numbers(options: str) -> dict[str, int]:
    """The numbers in ``options``.

    >>> numbers("batch=1 sequence=128 step=decode")
    {'batch': 1, 'sequence': 128}
    """
    pairs = (word.partition("=") for word in options.split())
    return {key: int(value) for key, _, value in pairs if value.isdecimal()}


def by_option(done: pl.DataFrame) -> list[Table]:
    """A table for each number of the options that varies for some network, over the networks that have all its values."""
    every = [numbers(options) for options in done["options"].to_list()]
    tables = []
    for key in sorted({key for each in every for key in each}):
        rest = [
            " ".join(w for w in o.split() if not w.startswith(f"{key}=")) for o in done["options"].to_list()
        ]
        rows = done.with_columns(
            pl.Series(key, [each.get(key) for each in every], dtype=pl.Int64), pl.Series("rest", rest, dtype=pl.String)
        ).filter(pl.col(key).is_not_null())  # fmt: skip
        by = ["model", "rest", "config_hash"]
        several = rows.group_by(by).agg(pl.col(key).n_unique().alias("values")).filter(pl.col("values") > 1)
        shared = common(rows.join(several.select(by), on=by, how="semi"), key, by)
        if shared.is_empty():
            continue
        groups = shared.group_by(key).agg(distribution()).sort(key)
        tables.append(
            Table(
                name=f"by_{key}",
                title=f"By {key}",
                columns={key: (key, "count")} | DISTRIBUTION,
                rows=groups.to_dicts(),
                note="Over the networks that are done with each of these values, all else equal.",
            )
        )
    return tables
