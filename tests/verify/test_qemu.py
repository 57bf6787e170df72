"""The golden vector machine against QEMU: on what was recorded everywhere, live where the tools are."""

import dataclasses
import subprocess
from pathlib import Path

import numpy as np
import pytest

from lanewise.isa.encoding import assembly
from lanewise.isa.operations import OPERATIONS
from lanewise.models import vector_floats
from lanewise.verify import qemu, qemu_record
from lanewise.verify.qemu_cases import cases
from lanewise.verify.qemu_halves import fingerprint, golden_halves, half_cases, unary_operations
from lanewise.verify.qemu_legality import UNCHECKED_BY_QEMU, attempts, refused

DATA = Path(__file__).parent / "data" / "qemu.npz"
SEED = 20_240_651
LIVE = pytest.mark.skipif(
    bool(qemu.missing_tools()), reason=f"not installed: {', '.join(qemu.missing_tools())}"
)


@pytest.fixture(scope="module")
def recorded():
    return qemu_record.load(DATA)


@pytest.fixture(scope="module")
def chosen():
    return qemu_record.recorded_cases()


@pytest.fixture(scope="module")
def tried():
    return qemu_record.recorded_attempts()


def test_recorded_results(recorded, chosen, tried):
    """Every instruction that QEMU has, each SEW, three LMULs, masked and not."""
    assert qemu_record.digest(chosen, tried) == recorded.digest, (
        f"other cases: record them again in {DATA.name}"
    )
    here = {case.operation.mnemonic for case in chosen}
    assert here == {name for name in OPERATIONS if not name.startswith("sfu.")}
    for case, result in zip(chosen, recorded.results, strict=True):
        assert qemu.compared(case, qemu.golden(case)).hex() == result.hex(), str(case)


def test_instructions_change_something(recorded, chosen):
    """A comparison of operands that an instruction leaves as they are would prove nothing."""
    changed: dict[str, int] = {}
    for case, result in zip(chosen, recorded.results, strict=True):
        registers = np.frombuffer(case.registers, np.uint8).reshape(32, -1)
        before = qemu.State(registers=registers, vl=case.vl, vtype=case.vtype.encode(), memory=case.memory)
        mnemonic = case.operation.mnemonic
        changed[mnemonic] = changed.get(mnemonic, 0) + (qemu.compared(case, before) != result)
    assert min(changed.values()) > 0, changed


@pytest.mark.parametrize("name", ["vfmin", "vfsub", "vfsgnjn", "vmfle"])
def test_a_wrong_instruction_is_noticed(monkeypatch, recorded, chosen, name):
    other = {"vfmin": "vfmax", "vfsub": "vfrsub", "vfsgnjn": "vfsgnjx", "vmfle": "vmflt"}[name]
    monkeypatch.setitem(vector_floats.BINARY, name, vector_floats.BINARY[other])
    wrong = {
        case.operation.base
        for case, result in zip(chosen, recorded.results, strict=True)
        if case.operation.base == name and qemu.compared(case, qemu.golden(case)) != result
    }
    assert wrong == {name}


@pytest.mark.parametrize("operation", unary_operations(), ids=lambda operation: operation.mnemonic)
def test_every_operand_of_16_bits(recorded, operation):
    assert len(recorded.halves) == 21
    assert fingerprint(golden_halves(operation).tobytes()) == recorded.halves[operation.mnemonic]


def differing(tried, refused):
    return [
        (assembly(attempt.word), attempt.vtype, attempt.reason)
        for attempt, by_qemu in zip(tried, refused, strict=True)
        if bool(attempt.reason) != by_qemu and UNCHECKED_BY_QEMU not in attempt.reason
    ]


def test_recorded_refusals(recorded, tried):
    """Registers of any overlap: QEMU refuses what the golden model does, but for one rule that it has not."""
    assert not differing(tried, recorded.refused)
    reasons = [attempt.reason for attempt in tried]
    assert 0.3 * len(tried) < reasons.count("") < 0.7 * len(tried)
    for kind in (
        "must be a multiple of",
        "would take",
        "must not overlap the mask",
        "must not overlap vs",
        "of another width",
    ):
        assert sum(kind in reason for reason in reasons) > 50, kind


@LIVE
def test_refusals_live():
    some = list(attempts(SEED, 1))
    assert not differing(some, refused(some))


@LIVE
def test_live():
    """Every LMUL."""
    some = list(cases(SEED))
    print(f"seed {SEED}: {len(some)} cases")
    assert not list(qemu.disagreements(some, qemu.run(some)))


@LIVE
def test_recorded_results_are_what_qemu_says(recorded, chosen):
    states = qemu.run(chosen)
    assert [qemu.compared(c, s) for c, s in zip(chosen, states, strict=True)] == recorded.results


@LIVE
@pytest.mark.parametrize("mnemonic", ["vfrec7.v", "vfrsqrt7.v", "vfncvt.x.f.w"])
def test_every_operand_live(recorded, mnemonic):
    assert fingerprint(qemu_record.run_halves(OPERATIONS[mnemonic])) == recorded.halves[mnemonic]


@LIVE
def test_disagreements_are_told():
    case = half_cases(OPERATIONS["vfrec7.v"])[3]
    state = qemu.run([case])[0]
    wrong = state.registers.copy()
    wrong[16, 0] ^= 1
    (text,) = qemu.disagreements([case], [dataclasses.replace(state, registers=wrong)])
    assert text.startswith("vfrec7.v vd=16 vs2=8 vs1=0 vm=1 e16 m4 vl=64 scalar=0x0\n  golden ")
    wrong = state.registers.copy()
    wrong[1, 0] ^= 1
    (text,) = qemu.disagreements([case], [dataclasses.replace(state, registers=wrong)])
    assert text.endswith(": other registers, vl, vtype or memory")
    assert not list(qemu.disagreements([case], [state]))


@LIVE
def test_a_tool_that_fails_is_told(monkeypatch):
    monkeypatch.setattr(qemu, "program", lambda _: "no instruction\n")
    with pytest.raises(RuntimeError, match=r"^riscv64-linux-gnu-as failed \(1\): [^`]*`no instruction'"):
        qemu.run([])
    assert subprocess.run([qemu.TOOLS[0], "--version"], capture_output=True, check=True).stdout
