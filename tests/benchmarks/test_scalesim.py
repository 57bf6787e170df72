"""SCALE-Sim's own report is read layer by layer, and what is no SCALE-Sim is said."""

import importlib.util
import sys
from pathlib import Path

import pytest

from lanewise.errors import UserError

ROOT = Path(__file__).parents[2]

FAKE = """#!{python}
import pathlib, sys
rows = [line.split(",") for line in open("t.csv").read().split()[4:]]
assert "ArrayHeight = 4" in open("c.cfg").read() and len(open("l.csv").readlines()) == 1 + len(rows)
folder = pathlib.Path("out/check")
folder.mkdir(parents=True)
lines = ["LayerID, Total Cycles (incl. prefetch), Total Cycles, Stall Cycles,"]
lines += [f"{{i}}, 9, {{1000 * int(m) + 100 * int(n) + int(k)}}, 0," for i, (_, m, n, k, _) in enumerate(rows)]
(folder / "COMPUTE_REPORT.csv").write_text("\\n".join(lines))
"""


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("scalesim", ROOT / "benchmarks" / "scalesim.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_layers_go_in_and_cycles_come_out(benchmark, tmp_path):
    program = tmp_path / "python"
    program.write_text(FAKE.format(python=sys.executable))
    program.chmod(0o755)
    layers = [benchmark.Gemm(name="", m=2, k=7, n=3), benchmark.Gemm(name="", m=1, k=9, n=5)]
    assert benchmark.run_scalesim(program, layers, 4, 4) == [2307, 1509]


def test_an_interpreter_without_it_is_said(benchmark):
    with pytest.raises(UserError, match=r"SCALE-Sim failed: .*expected scalesim 3\.0\.0"):
        benchmark.run_scalesim(Path(sys.executable), benchmark.SMALL[:1], 4, 4)
