"""Pages that are made from the code say what the code says."""

import re
from pathlib import Path

from lanewise.config import MachineConfig
from lanewise.configuration_page import page
from lanewise.mapping.simulate import simulate
from lanewise.mapping.trace import trace_model

ROOT = Path(__file__).parent.parent


def test_configuration_page_is_current():
    assert (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8") == page()


def test_readme_names_the_two_targets():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "make report" in text
    assert "make test" in text


def test_readme_figures_are_what_the_simulator_says():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ((?:hf|timm):\S+) \| ([\d,]+) \| ([\d,]+) \| ([\d.]+)x \|$", text, re.M)
    assert len(rows) == 3
    for model, cycles, baseline, speedup in rows:
        result = simulate(trace_model(model), MachineConfig())
        assert (f"{result.machine.cycles:,}", f"{result.baseline.cycles:,}") == (cycles, baseline)
        assert f"{result.speedup:.3f}" == speedup
