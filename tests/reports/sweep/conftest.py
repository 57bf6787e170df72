"""Sweeps made up by a seeded generator, written as ``lanewise sweep`` writes them."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lanewise.config import MachineConfig, parse_config
from lanewise.sweep.row import SweepRow

DOMAINS = ("vision", "vision", "language", "audio", "multimodal")
FUNCTIONS = ("gelu", "silu", "exp", "sigmoid")


def machine(**tables: dict[str, Any]) -> MachineConfig:
    return parse_config(tables, source="test")


def row(model: str, cycles: int, baseline: int, **changes: Any) -> SweepRow:
    """A row that is done; its share is such that all activations' cycles are removed."""
    values: dict[str, Any] = {
        "library": "timm", "family": model.split(":")[1].rstrip("0123456789"), "domain": "vision", "year": 2020, "options": "batch=1",
        "config_hash": MachineConfig().hash, "config": "", "status": "done", "cycles": cycles, "baseline_cycles": baseline,
        "speedup": baseline / cycles, "macs": 10, "parameters": 5, "bytes": 20, "instructions": 3, "tasks": 2,
        "activations": {"gelu": 100} if baseline != cycles else {}, "activation_share": 1 - cycles / baseline,
        "trace_seconds": 0.5, "seconds": 0.1, "peak_bytes": 1 << 30,
    }  # fmt: skip
    return SweepRow(model=model, **(values | changes))


def failed(model: str, reason: str = "UserError: no kernel", **changes: Any) -> SweepRow:
    unknown = dict.fromkeys(("cycles", "baseline_cycles", "speedup", "activation_share", "macs", "seconds"))
    own = {"status": "failed", "reason": reason, "activations": {}}
    return replace(row(model, 1, 1, **changes), **(unknown | own))


def sweep(count: int, seed: int, machines: Sequence[MachineConfig] = ()) -> list[SweepRow]:
    """``count`` networks on the default machine and on ``machines``; a fifth without activations, one in seven failed."""
    rng = random.Random(seed)
    rows = []
    for index in range(count):
        domain = rng.choice(DOMAINS)
        base = rng.randrange(10_000, 50_000_000)
        share = 0.0 if rng.random() < 0.2 else rng.random()
        common = {
            "library": "timm" if domain == "vision" else "transformers", "family": f"family{index % 9}", "domain": domain,
            "year": rng.choice([None, *range(2014, 2026)]), "options": "batch=1" if domain == "vision" else "batch=1 sequence=128",
            "activations": {name: rng.randrange(1, 999) for name in rng.sample(FUNCTIONS, 2)} if share else {},
        }  # fmt: skip
        for place, config in enumerate((MachineConfig(), *machines)):
            removed = share * rng.random() / (place + 1)
            name = f"timm:network{index}"
            own = {"config_hash": config.hash, "config": f"machine={place}" if place else ""}
            if index % 7 == 6:
                rows.append(
                    failed(name, f"UserError: {name}: operator a.b{index} (reduce x) has no kernel", **common, **own)
                )  # fmt: skip
            else:
                cycles = max(1, round(base * (1 - removed)))
                rows.append(row(name, cycles, base, **(common | own | {"activation_share": share})))
    return rows


def write(folder: Path, rows: Iterable[SweepRow], machines: Sequence[MachineConfig] = ()) -> Path:
    counts = pa.map_(pa.string(), pa.int64())
    kinds = {"dict": counts, "list": pa.list_(pa.string()), "int": pa.int64(), "float": pa.float64()}
    schema = pa.schema(
        [(f.name, next((kind for word, kind in kinds.items() if word in str(f.type)), pa.string())) for f in fields(SweepRow)]
    )  # fmt: skip
    plain = [
        {
            key: list(value.items()) if isinstance(value, dict) else value
            for key, value in asdict(each).items()
        }
        for each in rows
    ]
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(plain, schema=schema), folder / "results.parquet")
    (folder / "machines").mkdir(exist_ok=True)
    for config in machines:
        (folder / "machines" / f"{config.hash}.toml").write_text(config.toml)
    return folder


@pytest.fixture
def made(tmp_path):
    """Makers of rows, and ``load``: rows written, and read as the analysis reads them."""
    from lanewise.reports.sweep.results import load_results

    def load(rows, machines=()):
        return load_results(write(tmp_path / "sweep", rows, machines))

    return SimpleNamespace(
        row=row, failed=failed, sweep=sweep, write=write, machine=machine, load=load, folder=tmp_path
    )
