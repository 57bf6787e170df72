"""The runner tells a right design from a wrong one, and survives what can go wrong around it."""

import os
import shutil
import textwrap

import pytest

from lanewise.config import MachineConfig, MatrixConfig
from lanewise.errors import UserError
from lanewise.rtl.verilog import emit_verilog
from lanewise.verify import NAMES, Case, TestResult, run_case, verify
from lanewise.verify.registry import find_bench

BENCH_MODULE = textwrap.dedent('''
    """A register that adds one; word 0xF0 comes out wrong, 0xF1 is withdrawn, 0xF2 comes out twice.

    The stream ``sink`` is always ready.
    """

    import os

    import cocotb
    from amaranth.hdl import Module, Mux, Signal
    from amaranth.lib import stream, wiring
    from amaranth.lib.wiring import In, Out

    from lanewise.config import MatrixConfig
    from lanewise.verify import Bench
    from lanewise.verify.testbench import Testbench


    class Increment(wiring.Component):
        i: In(stream.Signature(8))
        o: Out(stream.Signature(8))
        sink: In(stream.Signature(8))

        def __init__(self, config):
            super().__init__()

        def elaborate(self, platform):
            m = Module()
            again = Signal()
            m.d.comb += self.sink.ready.eq(1)
            m.d.comb += self.i.ready.eq((~self.o.valid | self.o.ready) & ~again)
            with m.If(self.i.ready):
                m.d.sync += self.o.valid.eq(self.i.valid)
                m.d.sync += self.o.payload.eq(Mux(self.i.payload == 0xF0, 0, self.i.payload + 1))
                m.d.sync += again.eq(self.i.valid & (self.i.payload == 0xF2))
            with m.Elif(self.o.ready):
                m.d.sync += again.eq(0)
            with m.Elif(self.o.payload == 0xF2):
                m.d.sync += self.o.valid.eq(0)
            return m


    BENCH = Bench(component=Increment, cases=lambda machine, full: [])


    async def exchange(dut, words, p_stall=0.0):
        tb = await Testbench.start(dut, MatrixConfig)
        assert tb.config.rows == 5 and tb.parameters == {"word": 7}
        got = await tb.exchange({"i": words}, {"o": len(words)}, p_stall=p_stall)
        tb.check_values(got["o"].words, [word + 1 for word in words], "words")
        if not p_stall:
            tb.check_clocks(got["o"].clocks[0] - got["i"].clocks[0], 1, "latency")


    @cocotb.test()
    @cocotb.parametrize(p_stall=[0.0, 0.5])
    async def right(dut, p_stall):
        await exchange(dut, list(range(0xF0)), p_stall)


    @cocotb.test()
    async def always_ready(dut):
        tb = await Testbench.start(dut, MatrixConfig)
        clocks = (await tb.exchange({"sink": [1, 2, 3]}, {}))["sink"].clocks
        tb.check_clocks(clocks, [1, 2, 3])


    @cocotb.test()
    async def wrong_value(dut):
        await exchange(dut, [1, 0xF0])


    @cocotb.test()
    async def withdrawn(dut):
        await exchange(dut, [0xF1] * 50, {"o": 0.9})


    @cocotb.test()
    async def doubled(dut):
        await exchange(dut, [1, 0xF2])


    @cocotb.test()
    async def wrong_clock(dut):
        tb = await Testbench.start(dut, MatrixConfig)
        tb.check_clocks([3, 5], [3, 4], "periods")


    @cocotb.test()
    async def compares_nothing(dut):
        await Testbench.start(dut, MatrixConfig)


    @cocotb.test()
    async def too_wide(dut):
        tb = await Testbench.start(dut, MatrixConfig)
        await tb.exchange({"i": [0x100]}, {"o": 1})


    @cocotb.test()
    async def dies(dut):
        print("last words", flush=True)
        os._exit(3)
''')


@pytest.fixture(scope="module")
def folder(tmp_path_factory, builds):
    """A folder without builds, but with Verilator's own object files, if another test has compiled them."""
    folder = tmp_path_factory.mktemp("verify")
    for runtime in (builds / "builds").glob("runtime-*"):
        shutil.copytree(runtime, folder / "builds" / runtime.name)
    return folder


@pytest.fixture
def run(folder, monkeypatch):
    """Run one test of the module above on the design above."""
    (folder / "increment_bench.py").write_text(BENCH_MODULE)
    monkeypatch.syspath_prepend(folder)

    def run_one(test, **options):
        case = Case(label=test, config=MatrixConfig(rows=5), parameters={"word": 7}, tests=(test,))
        return run_case("increment", case, seed=3, folder=folder, module="increment_bench", **options)

    return run_one


def test_right_design_passes_and_is_counted(run):
    results = run("right")
    assert [(r.name, r.passed, r.values_compared, r.clocks_compared, r.message) for r in results] == [
        ("increment[right].right/p_stall=0.0", True, 240, 1, ""),
        ("increment[right].right/p_stall=0.5", True, 240, 0, ""),
    ]


def test_input_that_is_always_ready_is_not_driven(run):
    (result,) = run("always_ready")
    assert result.passed, result.message
    assert result.clocks_compared == 3


@pytest.mark.parametrize(
    ("test", "message"),
    [
        ("wrong_value", "words: 1 of 2 differ, first at (1,): "),
        ("withdrawn", "o: valid fell before the word was taken"),
        ("doubled", "o: more than 2 words"),
        ("wrong_clock", "periods: RTL [3, 5], simulator [3, 4]"),
        ("compares_nothing", "the test compared nothing"),
        ("too_wide", "i: 0x100 must fit 8 bits, unsigned"),
        ("dies", "last words"),
    ],
)
def test_wrong_design_or_bench_fails_and_says_why(run, test, message):
    (result,) = run(test)
    assert not result.passed
    assert message in result.message


def test_same_verilog_is_built_once_and_a_killed_build_is_cleared(run, folder):
    run("right")
    (built,) = folder.glob("builds/*/top")
    before = built.stat().st_mtime_ns
    run("right")
    assert built.stat().st_mtime_ns == before
    leftover = built.parent.with_name(f".{built.parent.name}.tmpkilled")
    leftover.mkdir()
    (leftover / "top").touch()
    built.unlink()
    assert all(result.passed for result in run("right"))
    assert built.exists()
    assert not leftover.exists()


def test_process_environment_is_left_as_it_was(run):
    before = dict(os.environ)
    run("right")
    assert dict(os.environ) == before


def test_unknown_bench_is_refused_before_anything_runs(tmp_path):
    message = f"adder: unknown bench; expected one of {', '.join(NAMES)}"
    with pytest.raises(UserError, match=f"^{message}$"):
        verify(["mac_array", "adder"], MachineConfig(), folder=tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("tool", ["g++", "make", "perl"])
def test_missing_tool_is_named(tmp_path, monkeypatch, tool):
    for name in {"g++", "make", "perl"} - {tool}:
        (tmp_path / name).touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        UserError, match=f"^{tool.replace('+', '[+]')}: not found on PATH; verification needs "
    ):
        verify(["mac_array"], MachineConfig(), folder=tmp_path)


def test_failed_compilation_ends_with_its_log(run, monkeypatch):
    def broken(component, name):
        return emit_verilog(component, name).replace("endmodule", "end")

    monkeypatch.setattr("lanewise.verify.runner.emit_verilog", broken)
    with pytest.raises(RuntimeError, match=r"(?s)Verilator build failed.*syntax error"):
        run("right")


@pytest.mark.parametrize("name", ["mac_array", "matrix_unit"])
def test_the_wide_set_has_arrays_of_the_seeds_shapes(tmp_path, monkeypatch, name):
    bench = find_bench(name)
    drawn = [case.label for case in bench.drawn(5)]
    assert drawn == [case.label for case in bench.drawn(5)] != [case.label for case in bench.drawn(6)]
    assert sum(case.parameters["outputs"] for case in bench.drawn(5)) >= 10_000_000
    sizes = [size for case in bench.drawn(5) for size in (case.config.rows, case.config.columns)]
    assert 4 <= min(sizes) <= max(sizes) <= 64

    run = []
    monkeypatch.setattr("lanewise.verify.suite.run_case", lambda _, case, **__: run.append(case.label) or [])
    verify([name], MachineConfig(), folder=tmp_path, seed=5)
    assert not set(run) & set(drawn)
    run.clear()
    verify([name], MachineConfig(), folder=tmp_path, seed=5, full=True)
    assert len(run) == len(set(run))
    assert run[-len(drawn) :] == drawn


def test_a_design_that_does_not_build_fails_and_the_rest_goes_on(tmp_path, monkeypatch):
    def run_case(name, case, **_):
        if name == "address_decoder":
            raise RuntimeError("Verilator build failed (1):\nsyntax error")
        return [TestResult(name=f"{name}[{case.label}].bits", passed=True, seconds=0, values_compared=1, clocks_compared=0, message="")]  # fmt: skip

    monkeypatch.setattr("lanewise.verify.suite.run_case", run_case)
    result = verify(["address_decoder", "mac_array"], MachineConfig(), folder=tmp_path)
    assert {test.passed for test in result.tests if "mac_array" in test.name} == {True}
    broken = [test for test in result.tests if "address_decoder" in test.name]
    assert broken
    assert all(not test.passed and "syntax error" in test.message for test in broken)
