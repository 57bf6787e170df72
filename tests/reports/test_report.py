"""The report: complete, self-contained, its numbers the simulation's, its sources kept when a run is cut short."""

import csv
import json
import re
import sys
from functools import partial
from types import SimpleNamespace

import pytest

from lanewise.config import load_config
from lanewise.errors import UserError
from lanewise.reports import study
from lanewise.reports.report import CURVES, write_report
from lanewise.synth import lanes
from lanewise.workload.registry import WORKLOADS
from lanewise.workload.result import Case, WorkloadResult

WORKLOAD = WorkloadResult(
    name="spsn", title="Neurons", seed=3, small=False, config_hash="abc", claims=(), fidelity=(),
    cases=(Case(name="scan", shape="8", machine="default", cycles=1234567, baseline_cycles=2469134, macs=0, loaded_bytes=0, stored_bytes=0),),
)  # fmt: skip
SMALL = "[matrix]\nrows = 8\ncolumns = 8\n[vector]\nlanes = 2\nvlen_bits = 256\n[flex_sfu]\nsegments = 8\n"
MODELS = ["timm:test_vit", "timm:test_resnet"]


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    (folder / "machine.toml").write_text(SMALL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "LANES", (1, 2))
        patch.setattr(study, "SEGMENT_COUNTS", (4, 8))
        patch.setattr(study, "PAPER_FUNCTIONS", ("gelu", "exp"))
        patch.setattr(study, "ACTIVATIONS", (*CURVES, "rsqrt"))
        patch.setattr(study, "sweep_segments", partial(study.sweep_segments, segments=(4, 8)))
        patch.setattr(study, "sweep_lanes", partial(study.sweep_lanes, segments=(4,)))
        patch.setattr(lanes, "FORMAT_SETS", {"fp16": ("fp16",), "all": ("int8",)})
        config = load_config(folder / "machine.toml")
        patch.setattr("lanewise.reports.report.run", lambda *_, **__: WORKLOAD)
        patch.setitem(sys.modules, WORKLOADS["spsn"].drawing, SimpleNamespace(draw=lambda *_: []))
        models = [MODELS[0], "workload:spsn", MODELS[1]]
        data = write_report(models, config, folder / "out", sentences=12, seed=3)
    return folder / "out", data


def test_the_page_needs_nothing_else(report):
    page = (report[0] / "index.html").read_text()
    assert not re.search(r"(src|href)=[\"']?https?:", page)
    assert page.count("<svg") == 10  # two a network, six for all
    assert "<script" not in page
    assert "nan" not in re.sub(r"<svg.*?</svg>", "", page, flags=re.S).lower().replace("nangate", "").replace(
        "finance", ""
    )


def test_the_page_shows_the_numbers_of_the_json(report):
    page = (report[0] / "index.html").read_text()
    data = json.loads((report[0] / "report.json").read_text())
    for network in data["networks"]:
        assert f"{network['cycles']:,}" in page
        assert f"{network['flex_sfu_speedup']:.3f}x" in page
        assert network["flex_sfu_speedup"] == pytest.approx(network["baseline_cycles"] / network["cycles"])
    assert data["config_hash"] in page
    assert [n["model"] for n in data["networks"]] == MODELS
    assert data["accuracy"]["sentences"] == 12
    assert data["accuracy"]["seed"] == 3


def test_a_workload_has_a_row_and_a_page(report):
    page = (report[0] / "index.html").read_text()
    assert '<a href="workloads/spsn/index.html">Neurons</a>' in page
    assert "1,234,567" in page
    assert "1,234,567" in (report[0] / "workloads" / "spsn" / "index.html").read_text()


def test_the_tables_are_there(report):
    for name in ("networks", "operators", "area", "fits", "accuracy", "lanes"):
        with (report[0] / f"{name}.csv").open() as stream:
            assert len(list(csv.DictReader(stream))) >= 2


def test_workloads_alone_write_nothing(tmp_path):
    with pytest.raises(UserError, match="report: has no network, only workloads; expected one beside them"):
        write_report(["workload:spsn"], load_config(None), tmp_path / "out")
    with pytest.raises(UserError, match="workload:sp: unknown workload; expected spsn"):
        write_report(["hf:minilm", "workload:sp"], load_config(None), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_unknown_model_writes_nothing(tmp_path):
    with pytest.raises(UserError, match="expected"):
        write_report(["timm:resnet5"], load_config(None), tmp_path / "out")
    assert not (tmp_path / "out").exists()
