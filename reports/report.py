"""The report: one HTML page that needs nothing else, and the same numbers as CSV and JSON."""

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lanewise.config import MachineConfig
from lanewise.errors import UserError
from lanewise.files import write_json, write_text
from lanewise.mapping.lower import FALLBACK_STEPS
from lanewise.mapping.networks_sizes import dims_of
from lanewise.mapping.trace import trace_model
from lanewise.models.fit import fit
from lanewise.models.functions import FUNCTIONS
from lanewise.reports import plots
from lanewise.reports.page_template import page_template
from lanewise.reports.study import gather
from lanewise.reports.workloads.page import overview, write_page
from lanewise.workload.registry import find
from lanewise.workload.run import run

CURVES = ("gelu", "silu", "tanh", "sigmoid", "exp", "mish")
"""Functions whose error is drawn."""


def write_report(
    models: Sequence[str],
    config: MachineConfig,
    out: Path,
    *,
    sentences: int = 256,
    seed: int = 0,
    allow_unmapped: bool = False,
    dims: Mapping[str, int] | None = None,
    small: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Write ``index.html``, ``report.json`` and CSV tables to ``out``; returns what the JSON holds.

    ``models`` may have workloads, ``workload:NAME``, beside networks: each has a page of its own in ``out/workloads`` and a row on
    the first page; ``small`` runs them in seconds.

    Raises:
        UserError: A model is bad input, there is no network, or ``out`` cannot be written.
    """
    workloads = [find(model) for model in models if model.startswith("workload:")]
    models = [model for model in models if not model.startswith("workload:")]
    if not models:
        raise UserError(
            "report: has no network, only workloads; expected one beside them, or `lanewise workload NAME --out DIR`"
        )
    for model in models:
        trace_model(model, dims=dims_of(model, dims), progress=progress)
    probe = out / ".probe"
    write_text(probe, "")  # an impossible folder is refused before anything long has begun
    probe.unlink()
    data = gather(
        models,
        config,
        sentences=sentences,
        seed=seed,
        allow_unmapped=allow_unmapped,
        dims=dims,
        progress=progress,
    )
    results = [run(workload, config, seed=seed, small=small, progress=progress) for workload in workloads]
    data["workloads"] = overview(results)
    progress("drawing")
    page = render(data, config)
    for result in results:
        write_page(result, out / "workloads" / result.name)
    write_json(out / "report.json", data)
    for name, rows in _tables(data).items():
        write_text(out / f"{name}.csv", _csv(rows))
    write_text(out / "index.html", page)  # last: a page stands for a whole report
    return data


def render(data: dict[str, Any], config: MachineConfig) -> str:
    """The page for gathered data."""
    template = page_template(
        "report.html",
        small=lambda value: f"{value:.2e}",
        fixed=lambda value, digits=2: f"{value:,.{digits}f}",
        percent=lambda value: f"{100 * value:.1f} %",
    )
    return template.render(
        data=data, pictures=_pictures(data, config), fallback=[step.function for step in FALLBACK_STEPS]
    )


def _pictures(data: dict[str, Any], config: MachineConfig) -> dict[str, Any]:
    networks = {}
    for network in data["networks"]:
        bars = [
            ("with Flex-SFU", network["cycles_by_kind"]),
            ("baseline", network["baseline_cycles_by_kind"]),
        ]
        shares = {"with Flex-SFU": network["utilisation"], "baseline": network["baseline_utilisation"]}
        networks[network["model"]] = {
            "kinds": plots.stacked_cycles(bars, f"{network['model']}: cycles by kind of operator"),
            "units": plots.grouped_shares(shares, f"{network['model']}: how busy each unit is"),
        }
    lanes = {
        n["model"]: ([row["lanes"] for row in n["lanes"]], [row["speedup"] for row in n["lanes"]])
        for n in data["networks"]
    }
    fits = {}
    for name in CURVES:
        rows = [row for row in data["fits"] if row["function"] == name and row["format"] == "fp16"]
        fits[name] = ([row["segments"] for row in rows], [row["mse"] for row in rows])
    shown = {path: block["area_um2"] for path, block in data["area"]["blocks"].items() if path.count("/") < 3}
    area = {path: area_um2 for path, area_um2 in shown.items() if area_um2 > 0.005 * data["area"]["area_um2"]}
    sweep = data["segments_area"]
    series = {
        "decoder and table": (
            [r["segments"] for r in sweep],
            [r["without_multiply_adds_um2"] / 1e3 for r in sweep],
        ),
        "with multiply-adds": ([r["segments"] for r in sweep], [r["area_um2"] / 1e3 for r in sweep]),
    }
    return {
        "networks": networks,
        "lanes": plots.lines(lanes, title="speedup of Flex-SFU against vector lanes, array unchanged", x="32-bit lanes", y="speedup"),
        "fits": plots.lines(fits, title="FP16 error of the fitted tables", x="segments", y="MSE", log=True),
        "curves": plots.error_curves(
            {name: _error_curve(name, config.flex_sfu.segments) for name in CURVES}, f"error of the returned bits, {config.flex_sfu.segments} segments"
        ),
        "area": plots.area_bars(area, f"area by block, {data['area']['library']}, {data['area']['node']}"),
        "lane": plots.lines(
            _lane_series(data["lanes_area"]), title=f"area of one 32-bit lane, {data['area']['library']}", x="segments", y="area, thousand um2",
        ),
        "segments": plots.lines(series, title="area of Flex-SFU against its segments", x="segments", y="area, thousand um2"),
    }  # fmt: skip


def _lane_series(rows: Sequence[dict[str, Any]]) -> dict[str, tuple[list[float], list[float]]]:
    """Lines for FP16 alone and all formats, of both degrees: what a lane costs without its multiply-adds, and with them."""
    series: dict[str, tuple[list[float], list[float]]] = {}
    for row in rows:
        if row["formats"] not in ("fp16", "all") or row["double_buffered"]:
            continue
        own = row["decoder_lane_um2"] + row["table_lane_um2"]
        for suffix, area in (("look-up", own), ("whole", row["lane_um2"])):
            x, y = series.setdefault(f"{row['formats']}, degree {row['degree']}, {suffix}", ([], []))
            if row["segments"] not in x:
                x.append(row["segments"])
                y.append(area / 1e3)
    return series


def _error_curve(name: str, segments: int) -> tuple[Any, Any]:
    low, high = FUNCTIONS[name].range
    x = np.linspace(low, high, 1500).astype(np.float16).astype(np.float64)
    return x, fit(name, segments=segments).evaluate(x) - FUNCTIONS[name](x)


def _tables(data: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    headline = [
        {key: network[key] for key in ("model", "cycles", "baseline_cycles", "flex_sfu_speedup", "int4_speedup", "both_speedup", "macs", "bytes")}
        for network in data["networks"]
    ]  # fmt: skip
    operators = [
        {"model": network["model"], **{key: row[key] for key in ("name", "kind", "unit", "cycles", "baseline_cycles", "macs", "bytes")}}
        for network in data["networks"]
        for row in network["operators"]
    ]  # fmt: skip
    return {
        "networks": headline,
        "operators": operators,
        "area": [{"path": path, **block} for path, block in data["area"]["blocks"].items()],
        "fits": [{**row, "range": f"{row['range'][0]} {row['range'][1]}"} for row in data["fits"]],
        "accuracy": data["accuracy"]["scores"],
        "formats": data["formats"],
        "lanes_area": data["lanes_area"],
        "lanes": [
            {"model": network["model"], **row} for network in data["networks"] for row in network["lanes"]
        ],
    }


def _csv(rows: Iterable[dict[str, Any]]) -> str:
    rows = list(rows)
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()
