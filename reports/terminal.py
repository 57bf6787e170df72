"""Results on a terminal."""

from typing import Any

from rich.console import Console
from rich.table import Table


def print_simulation(values: dict[str, Any], rows: int = 12) -> None:
    """Print headline, units and the longest operators of ``Simulation.as_dict()``."""
    console = Console()
    console.print(
        f"[bold]{values['model']}[/]: {values['cycles']:,} cycles ({values['milliseconds']:.3f} ms), "
        f"baseline {values['baseline_cycles']:,} cycles: [bold]{values['speedup']:.3f}x[/]"
    )
    console.print(f"baseline: {values['baseline']}; config {values['config_hash']}", style="dim")
    console.print(
        f"{values['macs'] / 1e9:.3f} GMAC, {values['bytes'] / 1e6:.1f} MB moved, array efficiency {values['matrix_efficiency']:.1%}"
    )
    units = Table("unit", "busy", "busy in the baseline")
    for unit, share in values["utilisation"].items():
        units.add_row(unit, f"{share:.1%}", f"{values['baseline_utilisation'][unit]:.1%}")
    console.print(units)
    table = Table("kind of operator", "cycles", "baseline cycles")
    for kind, cycles in values["cycles_by_kind"].items():
        table.add_row(kind, f"{cycles:,}", f"{values['baseline_cycles_by_kind'].get(kind, 0):,}")
    console.print(table)
    table = Table("longest operators", "kind", "functions", "unit", "cycles", "baseline cycles")
    for operator in sorted(values["operators"], key=lambda o: -o["baseline_cycles"])[:rows]:
        table.add_row(
            operator["name"], operator["kind"], " ".join(operator["functions"]), operator["unit"], f"{operator['cycles']:,}",
            f"{operator['baseline_cycles']:,}",
        )  # fmt: skip
    console.print(table)
    for name in values["unmapped"]:
        console.print(f"[red]unmapped, priced as the documented fallback: {name}[/]")


def print_training(values: dict[str, Any]) -> None:
    """Print headline, baselines and where the clocks go, of ``TrainingSimulation.as_dict()``."""
    console = Console()
    console.print(
        f"[bold]{values['model']}[/], a training step in INT4: {values['cycles']:,} cycles ({values['milliseconds']:.3f} ms), "
        f"{values['parameters'] / 1e6:.1f} M parameters, {values['macs'] / 1e9:.1f} GMAC"
    )
    console.print(
        f"quantiser, sampling and turning back outside the products: {values['quantiser_overhead']:.1%} of the cycles; "
        f"config {values['config_hash']}",
        style="dim",
    )
    table = Table("against", "rows x columns", "cycles", "speedup of INT4")
    for name, other in values["baselines"].items():
        array = other["array"]
        table.add_row(
            name, f"{array['rows']} x {array['columns']}", f"{other['cycles']:,}", f"{other['speedup']:.3f}x"
        )
    console.print(table)
    for key, title in (("cycles_by_kind", "phase and kind"), ("cycles_by_part", "part")):
        table = Table(title, "cycles", *values["baselines"])
        for name, cycles in values[key].items():
            others = [f"{other[key].get(name, 0):,}" for other in values["baselines"].values()]
            table.add_row(name, f"{cycles:,}", *others)
        console.print(table)


def print_workload(values: dict[str, Any]) -> None:
    """Print claims, cases, fidelity and findings of ``WorkloadResult.as_dict()``."""
    console = Console()
    console.print(
        f"[bold]{values['title']}[/] ({values['headline']}): {values['cycles']:,} cycles, "
        f"baseline {values['baseline_cycles']:,} cycles: [bold]{values['speedup']:.3f}x[/]"
    )
    console.print(f"baseline: {values['baseline']}; config {values['config_hash']}", style="dim")
    table = Table("claim", "paper", "measured", "holds")
    for claim in values["claims"]:
        table.add_row(
            claim["claim"], claim["paper"], claim["measured"], "yes" if claim["holds"] else "[red]no[/]"
        )
    console.print(table)
    table = Table("case", "shape", "machine", "cycles", "baseline cycles", "speedup")
    for case in values["cases"]:
        table.add_row(
            case["name"], case["shape"], case["machine"], f"{case['cycles']:,}", f"{case['baseline_cycles']:,}", f"{case['speedup']:.3f}x",
        )  # fmt: skip
    console.print(table)
    table = Table("fidelity", "arithmetic", "PyTorch", "hardware", "unit")
    for measure in values["fidelity"]:
        table.add_row(
            measure["name"], measure["setting"], f"{measure['reference']:.4g}", f"{measure['hardware']:.4g}", measure["unit"],
        )  # fmt: skip
    console.print(table)
    for finding in values["findings"]:
        console.print(f"- {finding}")
