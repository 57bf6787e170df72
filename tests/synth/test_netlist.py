"""The mapped netlist under the testbenches of the RTL: what has the area also has the function."""

import importlib
import re
import subprocess
import sys

import pytest

from lanewise.config import FlexSfuConfig, MachineConfig, MatrixConfig
from lanewise.synth import Synthesiser, load_liberty
from lanewise.synth.liberty import nangate
from lanewise.synth.yosys import _PROCESS
from lanewise.verify import runner

MACHINE = MachineConfig(matrix=MatrixConfig(rows=3, columns=2), flex_sfu=FlexSfuConfig(segments=8, lanes=4))
CONFIGS = {
    "mac_array": MACHINE.matrix,
    "fp16_array": MatrixConfig(rows=2, columns=2, operand_bits=16),
    "flex_sfu": MACHINE.flex_sfu,
}


@pytest.fixture(scope="module")
def cell_models(tmp_path_factory) -> str:
    """Verilog of the library's cells, from their functions in the Liberty file."""
    folder = tmp_path_factory.mktemp("cells")
    (folder / "library.lib").symlink_to(nangate())
    (folder / "cells.ys").write_text(
        "read_liberty -ignore_miss_func -ignore_miss_data_latch library.lib\n"
        "proc\nwrite_verilog -noattr cells.v\n"
    )
    subprocess.run(
        [sys.executable, "-I", str(_PROCESS), "cells.ys"], cwd=folder, check=True, capture_output=True
    )
    return (folder / "cells.v").read_text()


def used(cell_models: str, netlist: str) -> str:
    modules = re.findall(r"^module (\w+)\(.*?^endmodule\n", cell_models, flags=re.MULTILINE | re.DOTALL)
    texts = re.findall(r"^module \w+\(.*?^endmodule\n", cell_models, flags=re.MULTILINE | re.DOTALL)
    names = set(re.findall(r"^  (\w+) \S+ \($", netlist, flags=re.MULTILINE))
    return "\n".join(text for name, text in zip(modules, texts) if name in names)


@pytest.mark.full
@pytest.mark.parametrize("name", CONFIGS)
def test_netlist_passes_the_bench_of_the_rtl(name, cell_models, cache, tmp_path, monkeypatch):
    run = Synthesiser(liberty=load_liberty(), clock_ns=2.0, cache=cache)
    netlists = []

    def netlist(component, top):
        text = run(component, top).netlist.read_text()
        netlists.append(text)
        return text + used(cell_models, text)

    monkeypatch.setattr(runner, "emit_verilog", netlist)
    bench = importlib.import_module(f"lanewise.verify.benches.{name}").BENCH
    case = next(case for case in bench.cases(MACHINE, False) if case.config == CONFIGS[name])
    results = runner.run_case(name, case, seed=1, folder=tmp_path)
    assert "DFF_X1" in netlists[0]
    assert results
    assert [f"{result.name}: {result.message}" for result in results if not result.passed] == []
    assert sum(result.values_compared for result in results) > 1000
