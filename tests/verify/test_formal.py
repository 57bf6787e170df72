"""The proofs succeed on the RTL and fail on every fault put into it; the prover itself is not easily convinced."""

import inspect
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from amaranth.hdl import Module, ResetInserter, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from amaranth.sim import Simulator

from lanewise.config import FlexSfuConfig, MachineConfig
from lanewise.formats import FORMATS
from lanewise.models.address_decoder import address_decoder
from lanewise.rtl import address_decoder as decoder_module
from lanewise.rtl import coefficient_table as table_module
from lanewise.rtl import flex_sfu as sfu_module
from lanewise.rtl import multiply_add as multiply_add_module
from lanewise.rtl import multiply_add_slot as slot_module
from lanewise.verify import verify
from lanewise.verify.formal import proofs as proofs_module
from lanewise.verify.formal import yosys_process
from lanewise.verify.formal.address_decoder import segments_harness
from lanewise.verify.formal.circuit import FormalError, circuit_of
from lanewise.verify.formal.harness import Harness, Step
from lanewise.verify.formal.proofs import proofs, proofs_of, run_proofs
from lanewise.verify.formal.prover import prove
from lanewise.verify.formal.streams import decoder_stream, table_stream

SMALLEST = FlexSfuConfig(segments=4, lanes=1)
MIXED = FlexSfuConfig(
    segments=4, lanes=1, formats=("fp8e5m2", "int16", "fp16"), degree=2, double_buffered=True
)
BYTES = FlexSfuConfig(segments=4, lanes=1, formats=("int8", "fp8e5m2"))
DEEP = FlexSfuConfig(segments=4, lanes=1, formats=("int32", "fp8e5m2"))
MACHINE = MachineConfig()


def failures(results):
    return [f"{result.name}: {result.message}" for result in results if not result.passed]


@pytest.mark.parametrize("config", [MIXED, FlexSfuConfig(segments=8, lanes=1)], ids=["mixed", "8"])
def test_all_proofs_succeed(config, tmp_path):
    results = run_proofs(proofs_of(config), folder=tmp_path)
    assert not failures(results)
    assert len(results) == 6
    assert all(result.properties_proved for result in results)
    assert not list(tmp_path.iterdir())


@pytest.mark.full
@pytest.mark.parametrize("proof", proofs(MACHINE, True), ids=lambda proof: proof.name)
def test_all_proofs_succeed_full(proof, tmp_path):
    assert not failures(run_proofs([proof], folder=tmp_path))


def test_every_tree_is_proved_in_the_full_set():
    names = {proof.name for proof in proofs(MACHINE, True)}
    assert {f"{segments}x1.segments" for segments in (4, 8, 16, 32, 64)} <= names
    assert {"8x1-all-degree2-double.segments", "32x1-all-degree2-double.segments"} <= names


FAULTS = {
    # name: where, what stands there, what is put there; the proof that sees it, and what fails after reset
    "comparison leaves out the breakpoint": (
        decoder_module._Lane, "mine >= breakpoint", "mine > breakpoint", "segments", "claim_fp16_0_slot_0",
    ),
    "slot 1 compares with slot 0's segment": (
        decoder_module._Lane, "Array(own)[segments[j]]", "Array(own)[segments[0]]", "segments", "claim_fp16_1",
    ),
    "segment stays behind": (
        decoder_module._Lane, "s.eq(Cat(r, old))", "s.eq(Mux(self.i[0], s, Cat(r, old)))", "segments", "claim_fp16",
    ),
    "lane does not wait": (
        decoder_module._Lane, "with m.If(self.move)", "with m.If(1)", "address_decoder", "claim_watched",
    ),
    "load does not wait, segments": (
        decoder_module.AddressDecoder, "~bank_of(config, self.busy, self.load.p)", "1", "segments", "claim_fp16",
    ),
    "load does not wait": (
        decoder_module.AddressDecoder, "~bank_of(config, self.busy, self.load.p)", "1",
        "address_decoder", "claim_load_waits",
    ),
    "beat does not wait for the load": (
        decoder_module.AddressDecoder, "accept.eq(~(self.load.valid &", "accept.eq(~(C(0, 1) &",
        "address_decoder", "claim_beat_waits",
    ),
    "beat accepted twice": (
        decoder_module.AddressDecoder, "Cat(self.i.valid & accept, valid)", "Cat(self.i.valid, valid)",
        "address_decoder", "claim_load_waits_for_beats_alone",
    ),
    "decoder drops what is not taken": (
        decoder_module.AddressDecoder, "~self.o.valid | self.o.ready", "1", "address_decoder", "claim_",
    ),
    "decoder with a bubble": (
        decoder_module.AddressDecoder, "~self.o.valid | self.o.ready", "~self.o.valid",
        "address_decoder", "claim_",
    ),
    "decoder forgets when it is reloaded": (
        decoder_module.AddressDecoder, "self.busy.eq(valid.any())", "self.busy.eq(valid[0])",
        "address_decoder", "claim_load_waits",
    ),
    "table drops what is not taken": (
        table_module.CoefficientTable, "~self.o.valid | self.o.ready", "1", "coefficient_table", "claim_",
    ),
    "table reads for slot 0 alone": (
        table_module._Lane, "choices[self.segment[j]]", "choices[self.segment[0]]",
        "coefficient_table", "claim_watched",
    ),
    "table's elements do not wait": (
        table_module._Lane, "with m.If(self.move):\n            m.d.sync += x", "with m.If(1):\n            m.d.sync += x",
        "coefficient_table", "claim_watched",
    ),
    "multiply-add drops what is not taken": (
        multiply_add_module.MultiplyAdd, "~self.o.valid | self.o.ready", "1", "multiply_add", "claim_",
    ),
    "multiply-add starts on nothing": (
        multiply_add_module.MultiplyAdd, "Cat(self.i.valid, valid)", "Cat(1, valid)",
        "multiply_add", "claim_busy",
    ),
    "what is beside comes a clock early": (
        multiply_add_module.MultiplyAdd, "beside.eq(beside[-1])", "beside.eq(beside[-2])",
        "multiply_add", "claim_watched",
    ),
    "loads of the whole do not wait": (
        sfu_module.FlexSfu, "free = ~bank_of(config, decoder.busy, outside.p)", "free = Value.cast(1)",
        "flex_sfu", "claim_load_",
    ),
    "whole takes a beat beside a load": (
        sfu_module.FlexSfu, "accept.eq(~blocked)", "accept.eq(1)", "flex_sfu", "claim_beat_waits_for_load_coefficients",
    ),
    "whole hands on a beat that is not there": (
        sfu_module.FlexSfu, "first.i.valid.eq(table.o.valid)", "first.i.valid.eq(1)",
        "flex_sfu", "claim_busy",
    ),
}  # fmt: skip


def put(monkeypatch, where, old, new, method="elaborate"):
    """Replace text in a method of the RTL."""
    source = textwrap.dedent(inspect.getsource(getattr(where, method)))
    indented = textwrap.dedent(" " * 8 + old) if "\n" not in old else old.replace("\n    ", "\n")
    new = new if "\n" not in new else new.replace("\n    ", "\n")
    assert indented in source
    namespace = dict(vars(inspect.getmodule(where)))
    exec(source.replace(indented, new), namespace)
    monkeypatch.setattr(where, method, namespace[method])


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_is_found(monkeypatch, tmp_path, fault):
    where, old, new, what, failing = FAULTS[fault]
    put(monkeypatch, where, old, new)
    (proof,) = (proof for proof in proofs_of(SMALLEST) if proof.name.endswith(f".{what}"))
    (result,) = run_proofs([proof], folder=tmp_path)
    assert not result.passed
    assert result.properties_proved == 0
    assert result.message.startswith(failing)
    assert "clocks after the first reset" in result.message
    assert (tmp_path / "proofs" / f"{proof.name}.vcd").read_text().count("#") > 2


@pytest.mark.parametrize(
    ("where", "method", "old", "new", "reason"),
    [
        (slot_module.MultiplyAddSlot, "_register", "with m.If(self.move)", "with m.If(1)", "changes while"),
        (multiply_add_module.MultiplyAdd, "elaborate", "shifts[self.latency_clk // 2 - 1]", "shifts[0]", "distance|no operand"),
        (multiply_add_module.MultiplyAdd, "elaborate", "shifts[-1]", "shifts[-2]", "distance|no operand"),
        (multiply_add_module.MultiplyAdd, "elaborate", "Cat(select)", "Cat(select[:-1], select[-2])", "distance"),
    ],
    ids=["does not wait", "addend's shift of the next beat", "product's shift of the next beat", "format of the next beat"],
)  # fmt: skip
@pytest.mark.parametrize("config", [BYTES, DEEP], ids=["four stages", "six stages"])
def test_unbalanced_pipeline_is_found(monkeypatch, tmp_path, config, where, method, old, new, reason):
    if not hasattr(where, method):
        method = next(name for name, f in vars(where).items() if callable(f) and old in inspect.getsource(f))
    put(monkeypatch, where, old, new, method)
    (proof,) = (proof for proof in proofs_of(config) if proof.name.endswith(".results"))
    (result,) = run_proofs([proof], folder=tmp_path)
    assert not result.passed
    assert any(part in result.message for part in reason.split("|")), result.message


def test_a_tool_that_fails_fails_its_proof_and_no_other(monkeypatch, tmp_path):
    def out_of_memory(_):
        raise FormalError("yosys ended with status 1: MemoryError")

    monkeypatch.setattr(proofs_module, "decoder_stream", out_of_memory)
    chosen = [p for p in proofs_of(SMALLEST) if p.name.endswith((".address_decoder", ".results"))]
    results = run_proofs(chosen, folder=tmp_path)
    assert [result.passed for result in results] == [False, True]
    assert "MemoryError" in results[0].message


def test_stale_shifts_are_found(monkeypatch):
    put(
        monkeypatch,
        table_module.CoefficientTable,
        "table[-1].eq(self.load.p.shifts)",
        "table[-1].eq(table[-1])",
    )
    assert prove(table_stream(BYTES)).refuted == ("claim_watched",)


@pytest.mark.parametrize("form", ["fp16", "int16"])
def test_wrong_order_of_negative_numbers_is_found(monkeypatch, form):
    """Floating-point numbers ordered as integers, integers as floating point."""
    source = inspect.getsource(decoder_module._rank).replace("elif form.floating", "elif not form.floating")
    namespace = vars(decoder_module) | {}
    exec(source, namespace)
    monkeypatch.setattr(decoder_module, "_rank", namespace["_rank"])
    verdict = prove(segments_harness(FlexSfuConfig(segments=4, lanes=1, formats=(form,))))
    assert verdict.refuted
    assert verdict.refuted[0].startswith("claim_")


def test_failure_is_real(monkeypatch):
    """Replayed in a simulator, the failure's loads and beats give what the golden model does not."""
    put(monkeypatch, decoder_module._Lane, "mine >= breakpoint", "mine > breakpoint")
    verdict = prove(segments_harness(SMALLEST))
    dut, reset = decoder_module.AddressDecoder(SMALLEST), Signal()
    breakpoints = np.zeros(3, np.uint16)
    last = {}

    def word(values, name, bits):
        return sum(values[f"{name}[{k}]"] << k for k in range(bits))

    async def replay(ctx):
        for values in verdict.trace:
            load = word(values, "load__payload", 18)
            ctx.set(reset, values["rst"])
            ctx.set(dut.load.payload.as_value(), load)
            ctx.set(dut.i.payload.as_value(), word(values, "i__payload", 32))
            ctx.set(dut.load.valid, values["load__valid"])
            ctx.set(dut.i.valid, values["i__valid"])
            ctx.set(dut.o.ready, values["o__ready"])
            if values["load__valid"] and ctx.get(dut.load.ready) and load & 3 < 3:
                breakpoints[load & 3] = load >> 2
            last.update(valid=ctx.get(dut.o.valid), x=ctx.get(dut.o.p.x[0]))
            last.update(segments=[ctx.get(dut.o.p.segment[slot]) for slot in (0, 1)])
            await ctx.tick()

    simulator = Simulator(ResetInserter(reset)(dut))
    simulator.add_clock(1e-6)
    simulator.add_testbench(replay)
    simulator.run()
    assert last["valid"]
    x = np.array([last["x"] & 0xFFFF, last["x"] >> 16], np.uint16)
    assert last["segments"] != address_decoder(x, breakpoints, FORMATS["fp16"]).tolist()


class Counter(wiring.Component):
    """Counts to 9 and starts again; made to be reset."""

    up: In(1)

    def elaborate(self, platform):  # noqa: ARG002
        m = Module()
        self.count = Signal(4, name="count")
        with m.If(self.up):
            m.d.sync += self.count.eq(self.count + 1)
            with m.If(self.count == 9):
                m.d.sync += self.count.eq(0)
        return m


def test_prover_tells_true_inductive_and_false_apart():
    def verdict(property_of):
        component = Counter()
        harness = Harness(component)
        harness.hold(Step.INVARIANT, "count", property_of(component.count))
        return prove(harness)

    assert verdict(lambda count: count < 10).proved == 1
    unproved = verdict(lambda count: count != 12)  # true, but 11 would lead to it
    assert unproved.failed == ("invariant_count",)
    assert not unproved.refuted
    assert unproved.message == "invariant_count: not proved: no failure found soon after reset"
    refuted = verdict(lambda count: count != 7)
    assert refuted.refuted == ("invariant_count",)
    assert len(refuted.trace) == 9  # reset, seven steps, and the clock that shows it


def test_assumption_that_nothing_satisfies_proves_nothing():
    component = Counter()
    harness = Harness(component)
    harness.assume("never", Signal(1, name="zero"))
    harness.hold(Step.INVARIANT, "false", component.count != component.count)
    with pytest.raises(FormalError, match="assumptions must be satisfiable"):
        prove(harness)


def test_unknown_signal_and_name_used_twice_are_refused():
    harness = Harness(Counter())
    with pytest.raises(KeyError, match="lane_0/count"):
        harness.signal("lane_0", "count")
    with pytest.raises(KeyError, match="up"):
        harness.signal("up")
    harness.hold(Step.CLAIM, "one", harness.started)
    with pytest.raises(ValueError, match=r"^name must be used once, not twice: claim_one$"):
        harness.hold(Step.CLAIM, "one", harness.started)
    assert "claim_one" in harness.rtlil()


def test_what_yosys_says_is_passed_on():
    with pytest.raises(FormalError, match="yosys ended with status 1: ERROR: "):
        circuit_of("no circuit")


def test_proofs_run_beside_the_benches(monkeypatch, tmp_path):
    monkeypatch.setattr("lanewise.verify.suite.proofs", lambda *_: proofs_of(SMALLEST)[:2])
    result = verify(["proofs"], MACHINE, folder=tmp_path)
    assert (result.passed, result.failed, result.values_compared) == (2, 0, 0)
    assert result.properties_proved == sum(test.properties_proved for test in result.tests) > 10
    assert [test.name for test in result.tests] == ["proofs[4x1.segments]", "proofs[4x1.address_decoder]"]


def test_more_than_one_lane_is_refused():
    with pytest.raises(ValueError, match=r"^lanes must be 1, not 8$"):
        proofs_of(FlexSfuConfig(lanes=8))


def yosys_agrees(harness, folder):
    """Whether yosys' own SAT prover, which shares nothing with ours but the circuit, proves the same."""
    given = " ".join(f"-set {name} 1" for name in harness.assumptions)
    invariants, claims = harness.properties[Step.INVARIANT], harness.properties[Step.CLAIM]
    induction = " ".join(f"-prove {name} 1" for name in invariants)
    known = " ".join(f"-set {name} 1" for name in invariants)
    commands = [
        "read_rtlil design.il", "hierarchy -top top", "setattr -unset init w:* w:* a:known=1 %i %d",
        "proc", "flatten", "opt_clean", "dffunmap",
        f"sat -verify -tempinduct -maxsteps 1 {given} {induction}",
        "setattr -unset init w:*",
        f"sat -verify -seq 1 {given} {known} " + " ".join(f"-prove {name} 1" for name in claims),
    ]  # fmt: skip
    (folder / "design.il").write_text(harness.rtlil())
    (folder / "script.ys").write_text("\n".join(commands) + "\n")
    done = subprocess.run(
        [sys.executable, yosys_process.__file__, "script.ys"], cwd=folder, capture_output=True, text=True, check=False
    )  # fmt: skip
    assert "Solving problem with" in done.stdout, done.stdout + done.stderr
    return done.returncode == 0


def test_another_prover_agrees(monkeypatch, tmp_path):
    for make in (decoder_stream, table_stream):
        assert yosys_agrees(make(SMALLEST), tmp_path)
    put(monkeypatch, decoder_module.AddressDecoder, "~bank_of(config, self.busy, self.load.p)", "1")
    assert not yosys_agrees(decoder_stream(SMALLEST), tmp_path)
