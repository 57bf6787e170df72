"""The page says what the result says, and holds its pictures."""

import sys
from dataclasses import replace
from types import ModuleType

from lanewise.models.claim import Claim
from lanewise.reports.workloads.page import overview, write_page
from lanewise.reports.workloads.picture import Picture
from lanewise.workload.registry import WORKLOADS
from lanewise.workload.result import Case, Fidelity, WorkloadResult

RESULT = WorkloadResult(
    name="spsn", title="Neurons & scans", seed=3, small=False, config_hash="abc",
    claims=(
        Claim(name="one", claim="ratio > 2", paper="no figure", measured="2.5", holds=True),
        Claim(name="two", claim="ratio > 3", paper="3.3", measured="2.5", holds=False),
    ),
    cases=(Case(name="linear", shape="64 x 32", machine="default", cycles=1234567, baseline_cycles=2469134, macs=0, loaded_bytes=0, stored_bytes=0),),
    fidelity=(Fidelity(name="accuracy", setting="fp16", reference=0.9, hardware=0.8, unit=""),), findings=("less <than>",),
)  # fmt: skip


def test_page(tmp_path, monkeypatch):
    module = ModuleType(WORKLOADS["spsn"].drawing)

    def draw(_, folder):
        (folder / "a.svg").write_text("<?xml?><svg id='drawn'></svg>")
        (folder / "b.png").write_bytes(b"picture")
        return [
            Picture(path=folder / "a.svg", caption="first"),
            Picture(path=folder / "b.png", caption="second"),
        ]

    module.draw = draw
    monkeypatch.setitem(sys.modules, module.__name__, module)
    write_page(RESULT, tmp_path / "out")
    text = (tmp_path / "out" / "index.html").read_text()
    assert "Neurons &amp; scans" in text
    assert "1,234,567" in text
    assert "2.000x" in text
    assert text.count('class="bad"') == 1
    assert "<svg id='drawn'>" in text
    assert "base64,cGljdHVyZQ==" in text
    assert "less &lt;than&gt;" in text
    assert "uJ" not in text
    assert (tmp_path / "out" / "workload.json").exists()
    with_energy = replace(RESULT, cases=(replace(RESULT.cases[0], energy_pj=5e6),))
    write_page(with_energy, tmp_path / "energy")
    assert "5.000" in (tmp_path / "energy" / "index.html").read_text()


def test_overview():
    (row,) = overview([RESULT])
    assert (row["claims"], row["claims_held"], row["speedup"]) == (2, 1, 2.0)
    assert row["fidelity"]["hardware"] == 0.8
