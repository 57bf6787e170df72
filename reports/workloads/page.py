"""A workload's page: one HTML file that needs nothing else, with its numbers as JSON beside it."""

import base64
import dataclasses
import tempfile
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from lanewise import __version__
from lanewise.files import write_json, write_text
from lanewise.reports.page_template import page_template
from lanewise.reports.workloads.picture import Picture
from lanewise.workload.registry import find
from lanewise.workload.result import WorkloadResult


def write_page(result: WorkloadResult, out: Path) -> None:
    """Write ``index.html`` and ``workload.json`` of one workload to ``out``.

    Raises:
        UserError: ``out`` cannot be written.
    """
    write_json(out / "workload.json", result.as_dict())
    write_text(out / "index.html", render(result))


def render(result: WorkloadResult) -> str:
    """The page of one workload, pictures in it."""
    workload = find(result.name)
    with tempfile.TemporaryDirectory() as folder:
        drawn: list[Picture] = import_module(workload.drawing).draw(result, Path(folder))
        pictures = [{"image": _inline(picture.path), "caption": picture.caption} for picture in drawn]
    template = page_template("workload.html", general=lambda value: f"{value:.4g}")
    return template.render(
        result=result, workload=workload, pictures=pictures, lanewise=__version__,
        energies=any(case.energy_pj is not None for case in result.cases),
    )  # fmt: skip


def overview(results: Sequence[WorkloadResult]) -> list[dict[str, Any]]:
    """One row a workload: headline speedup and energy, claims that hold, the first measure of fidelity."""
    rows = []
    for result in results:
        headline = result.cases[0]
        rows.append(
            {
                "name": result.name, "title": result.title, "case": f"{headline.name}, {headline.shape}",
                "cycles": headline.cycles, "baseline_cycles": headline.baseline_cycles, "speedup": headline.speedup,
                "energy_pj": headline.energy_pj, "baseline_energy_pj": headline.baseline_energy_pj,
                "claims": len(result.claims), "claims_held": sum(claim.holds for claim in result.claims),
                "fidelity": dataclasses.asdict(result.fidelity[0]) if result.fidelity else None,
            }
        )  # fmt: skip
    return rows


def _inline(path: Path) -> str:
    """An image as HTML that needs no other file."""
    if path.suffix == ".svg":
        text = path.read_text(encoding="utf-8")
        return text[text.index("<svg") :]
    return f'<img alt="" src="data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}">'
