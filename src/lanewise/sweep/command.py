"""``lanewise sweep``: its arguments checked, all of them before anything begins, and what it prints."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dask.system import CPU_COUNT
from rich.console import Console
from rich.table import Table

from lanewise.errors import UserError
from lanewise.files import cache_folder
from lanewise.sweep.machines import machines
from lanewise.sweep.network import Shapes
from lanewise.sweep.progress import Progress
from lanewise.sweep.run import Sweep, run_sweep
from lanewise.sweep.selection import known_networks, names_in, select


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """What the command line says."""

    models: Sequence[str]
    models_file: Path | None
    configs: Sequence[Path]
    vary: Sequence[str]
    shapes: Shapes
    workers: int | None
    scheduler: str | None
    timeout_seconds: float | None
    memory_gib: float
    allow_unmapped: bool
    retry_failed: bool
    cost_cache: bool


def sweep(arguments: Arguments, out: Path) -> dict[str, Any]:
    """Run the sweep into ``out``; returns the object that ``--json`` prints.

    Raises:
        UserError: An argument is no good, or as :func:`lanewise.sweep.run.run_sweep`.
    """
    chosen = machines(arguments.configs, arguments.vary)
    if arguments.scheduler is not None and arguments.workers is not None:
        raise UserError("--workers: is for this computer's processes; expected it or --scheduler, not both")
    if arguments.timeout_seconds is not None and arguments.timeout_seconds <= 0:
        raise UserError(f"--timeout: must be more than 0 seconds, not {arguments.timeout_seconds}")
    if arguments.memory_gib <= 0:
        raise UserError(f"--memory: must be more than 0 GiB, not {arguments.memory_gib}")
    cache = cache_folder()
    names = [*arguments.models, *(names_in(arguments.models_file) if arguments.models_file else ())]
    asked = Sweep(
        networks=select(names, known=known_networks(cache)), machines=chosen, shapes=arguments.shapes,
        allow_unmapped=arguments.allow_unmapped, retry_failed=arguments.retry_failed, keep_costs=arguments.cost_cache,
        timeout_seconds=arguments.timeout_seconds, memory_bytes=int(arguments.memory_gib * 2**30),
        cache=cache if arguments.scheduler is None else None,
    )  # fmt: skip
    workers = arguments.workers or CPU_COUNT
    return run_sweep(
        asked, out, workers=workers, scheduler=arguments.scheduler, progress=Progress()
    ).as_dict()


def print_summary(values: dict[str, Any]) -> None:
    """The same as a short table."""
    table = Table(box=None, pad_edge=False)
    for heading in ("machine", "done", "failed", "geometric mean", "largest speedup"):
        table.add_column(heading, justify="left" if heading == "machine" else "right")
    for machine in values["machines"]:
        mean, largest = (machine[key] for key in ("geometric_mean_speedup", "largest_speedup"))
        table.add_row(
            machine["config"] or "default", str(machine["done"]), str(machine["failed"]),
            "" if mean is None else f"{mean:.3f}x", "" if largest is None else f"{largest:.3f}x",
        )  # fmt: skip
    console = Console(soft_wrap=True, highlight=False, markup=False)
    console.print(table)
    console.print(
        f"{values['path']}: {values['networks']} networks, {values['rows']} rows, {values['computed']} of them new, "
        f"{len(values['failed'])} failed; {values['seconds']:.1f} s"
    )
