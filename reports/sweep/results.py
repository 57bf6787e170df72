"""A sweep's folder, read and checked: rows as a table, and the machine that each row's hash stands for."""

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from lanewise.config import MachineConfig, load_config
from lanewise.errors import UserError

RESULTS = "results.parquet"
LOG = "rows.log"
KEY = ("model", "options", "config_hash")
"""What tells one row from another."""
NO_ACTIVATION = "none"
"""In place of the dominant function of a network that has none."""

_TEXT = ("model", "library", "family", "domain", "options", "config_hash", "config", "status", "reason")
_WHOLE = ("year", "cycles", "baseline_cycles", "macs", "parameters", "bytes", "tasks", "peak_bytes")
_REAL = ("speedup", "activation_share", "trace_seconds", "seconds")
_SCHEMA: dict[str, Any] = (
    dict.fromkeys(_TEXT, pl.String) | dict.fromkeys(_WHOLE, pl.Int64) | dict.fromkeys(_REAL, pl.Float64)
    | {"dominant": pl.String, "unmapped": pl.Int64, "source_hash": pl.String}
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class SweepResults:
    """Rows of a sweep, each (model, options, machine) once."""

    source: str
    rows: pl.DataFrame
    """Columns of :class:`~lanewise.sweep.row.SweepRow` that are text or one number, ``dominant`` (the function
    that most elements go through, :data:`NO_ACTIVATION` where there is none) and ``unmapped`` (how many operators)."""
    duplicates: int = 0
    """Rows left out because another had the same key; 0 of a sound sweep."""
    machines: dict[str, MachineConfig] = field(default_factory=dict)
    """By ``config_hash``, as far as they are known."""
    pending: int = 0
    """Rows that the sweep has written down but not put into the table yet."""

    def done(self) -> pl.DataFrame:
        """Rows with cycles."""
        return self.rows.filter(pl.col("status") == "done")

    def reference_hash(self) -> str | None:
        """The machine that is spoken of when none is named: the default one if it is there, else that of the most rows."""
        if self.rows.is_empty():
            return None
        default = MachineConfig().hash
        counts = Counter(self.rows["config_hash"].to_list())
        return default if default in counts else min(counts, key=lambda each: (-counts[each], each))

    def reference(self) -> pl.DataFrame:
        """One row a network: of the reference machine, with the options that most networks have."""
        rows = self.rows.filter(pl.col("config_hash") == (self.reference_hash() or ""))
        counts = Counter(rows["options"].to_list())
        order = {options: place for place, (options, _) in enumerate(
            sorted(counts.items(), key=lambda item: (-item[1], len(item[0]), item[0]))
        )}  # fmt: skip
        ranked = rows.with_columns(
            pl.col("options").replace_strict(order, default=len(order), return_dtype=pl.Int64).alias("rank")
        )
        return ranked.sort("rank", "model").unique("model", keep="first").sort("model").drop("rank")


def load_results(folder: Path) -> SweepResults:
    """Read ``folder``'s ``results.parquet`` and ``machines/HASH.toml``.

    Raises:
        UserError: There is no such file, or it does not hold rows of a sweep.
    """
    path = folder / RESULTS
    expected = "expected the folder of a sweep (lanewise sweep --out DIR)"
    try:
        table = pq.read_table(path, memory_map=False)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or _line(error)}; {expected}") from None
    except pa.ArrowException as error:
        raise UserError(f"{path}: is no Parquet file: {_line(error)}; {expected}") from None
    needed = [*_TEXT, *_WHOLE, *_REAL, "activations", "unmapped"]
    if missing := [name for name in needed if name not in table.column_names]:
        raise UserError(f"{path}: has no column {', '.join(missing)}; {expected}")
    try:
        optional = [name for name in ("source_hash",) if name in table.column_names]
        records = [_record(row) for row in table.select(needed + optional).to_pylist()]
        rows = pl.DataFrame(records, schema=_SCHEMA, strict=True)
    except (TypeError, ValueError, pl.exceptions.PolarsError, pa.ArrowException) as error:
        raise UserError(f"{path}: does not hold rows of a sweep: {_line(error)}; {expected}") from None
    _check(rows, path)
    distinct = rows.unique(list(KEY), keep="last", maintain_order=True)
    hashes = distinct["config_hash"].unique().to_list()
    return SweepResults(
        source=str(path), rows=distinct, duplicates=len(rows) - len(distinct), machines=_machines(folder, hashes),
        pending=_lines(folder / LOG),
    )  # fmt: skip


def _record(row: dict[str, Any]) -> dict[str, Any]:
    """One row of the Parquet file with what is nested made flat."""
    record = {name: row[name] for name in (*_TEXT, *_WHOLE, *_REAL)}
    activations = _counts(row["activations"])
    record["dominant"] = (
        min(activations, key=lambda name: (-activations[name], name)) if activations else NO_ACTIVATION
    )
    record["unmapped"] = len(row["unmapped"] or ())
    record["source_hash"] = row.get("source_hash", "")
    return record


def _counts(value: Any) -> dict[str, int]:
    """A column of names and numbers: Parquet has it as a map or a struct, or it was written as JSON text."""
    if isinstance(value, str):
        value = json.loads(value)
    pairs = value.items() if isinstance(value, dict) else (value or ())
    return {str(name): int(number) for name, number in pairs if number}


def _check(rows: pl.DataFrame, path: Path) -> None:
    """What every later step takes for granted.

    Raises:
        UserError: A row contradicts itself; the first such is named.
    """
    done = pl.col("status") == "done"
    rules = {
        "status must be done or failed": pl.col("status").is_in(["done", "failed"]),
        "a row that is done must have a speedup above 0": ~done | (pl.col("speedup").is_finite() & (pl.col("speedup") > 0)).fill_null(value=False),
        "a row that is done must have cycles above 0": ~done | ((pl.col("cycles") > 0) & (pl.col("baseline_cycles") > 0)).fill_null(value=False),
        "activation_share must be 0 to 1": pl.col("activation_share").is_between(0, 1).fill_null(value=True),
    }  # fmt: skip
    for rule, holds in rules.items():
        wrong = rows.filter(~holds.fill_null(value=False))
        if len(wrong):
            raise UserError(f"{path}: {wrong['model'][0]}: {rule}")


def _machines(folder: Path, hashes: list[str]) -> dict[str, MachineConfig]:
    """The machines whose files are there; the default one is known without a file."""
    default = MachineConfig()
    machines = {default.hash: default} if default.hash in hashes else {}
    for name in sorted(hashes):
        path = folder / "machines" / f"{name}.toml"
        if path.is_file():
            machines[name] = load_config(path)
    return machines


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.is_file() else 0


def _line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
