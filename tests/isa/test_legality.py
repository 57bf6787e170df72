"""What RVV 1.0 reserves, rule by rule (3.4.2, 5.2, 5.3, 7.3, 11.2, 16)."""

import re
from fractions import Fraction

import pytest

from lanewise.isa.legality import check_legal
from lanewise.isa.operations import OPERATIONS, Unit
from lanewise.isa.vtype import LMULS, Vtype


def vtype(text):
    sew, lmul = text[1:].split("m")
    return Vtype(int(sew), 1 / Fraction(lmul[1:]) if lmul.startswith("f") else Fraction(lmul))


@pytest.mark.parametrize(
    ("mnemonic", "kind", "fields"),
    [
        ("vadd.vv", "e8m8", {"vd": 8, "vs2": 8, "vs1": 8}),
        ("vadd.vv", "e8m1", {"vd": 1, "vs2": 2, "vs1": 3, "vm": 0}),
        ("vmseq.vv", "e8m4", {"vd": 0, "vs2": 4, "vs1": 8, "vm": 0}),  # a mask may overwrite the mask
        ("vmseq.vv", "e8m4", {"vd": 4, "vs2": 4, "vs1": 8}),  # the lowest register of a wider source
        ("vnsrl.wv", "e8m2", {"vd": 4, "vs2": 4, "vs1": 2}),
        ("vnsrl.wv", "e8m2", {"vd": 4, "vs2": 8, "vs1": 4}),
        ("vwadd.vv", "e16m1", {"vd": 2, "vs2": 3, "vs1": 3}),  # the highest of the destination
        ("vwadd.wv", "e16m1", {"vd": 2, "vs2": 2, "vs1": 4}),
        ("vzext.vf4", "e32m4", {"vd": 4, "vs2": 7}),
        ("vzext.vf4", "e32mf2", {"vd": 4, "vs2": 7}),
        ("vslidedown.vx", "e8m2", {"vd": 2, "vs2": 2}),
        ("vredsum.vs", "e8m8", {"vd": 0, "vs2": 8, "vs1": 3, "vm": 0}),
        ("vredsum.vs", "e8m8", {"vd": 9, "vs2": 8, "vs1": 9}),
        ("vwredsum.vs", "e16m8", {"vd": 9, "vs2": 8, "vs1": 3}),
        ("vmv.s.x", "e8m8", {"vd": 3}),
        ("vmand.mm", "e8m8", {"vd": 3, "vs2": 3, "vs1": 5}),
        ("vle32.v", "e8m2", {"vd": 8}),
        ("vse8.v", "e32mf2", {"vd": 31}),
        ("vsetvli", "e8m1", {"vd": 99}),
        ("sfu.breakpoints", "e32m8", {"vd": 3}),
    ],
)  # fmt: skip
def test_legal(mnemonic, kind, fields):
    check_legal(OPERATIONS[mnemonic], vtype(kind), **fields)


@pytest.mark.parametrize(
    ("mnemonic", "kind", "fields", "message"),
    [
        ("vfadd.vv", "e8m1", {}, "SEW must be one of (16, 32), not 8"),
        ("vwadd.vv", "e32m1", {}, "SEW must be one of (8, 16), not 32"),
        ("vwadd.vv", "e16m8", {}, "vd would take 16 registers, not 1/8 to 8"),
        ("vle32.v", "e8m4", {}, "vd would take 16 registers, not 1/8 to 8"),
        ("vadd.vv", "e8m2", {"vd": 3}, "vd must be a multiple of 2 below 32, not 3"),
        ("vadd.vv", "e8m2", {"vs1": 34}, "vs1 must be a multiple of 2 below 32, not 34"),
        ("vnsrl.wv", "e8m2", {"vs2": 2, "vd": 8, "vs1": 8}, "vs2 must be a multiple of 4 below 32, not 2"),
        ("vadd.vv", "e8m2", {"vd": 0, "vs2": 2, "vs1": 2, "vm": 0}, "vd (v0 to v1) must not overlap the mask (v0)"),
        ("vmerge.vvm", "e8m1", {"vd": 0, "vs2": 2, "vs1": 2, "vm": 0}, "vd (v0) must not overlap the mask (v0)"),
        ("vle8.v", "e8m1", {"vd": 0, "vm": 0}, "vd (v0) must not overlap the mask (v0)"),
        ("vadd.vv", "e8m1", {"vd": 1, "vs2": 0, "vs1": 2, "vm": 0}, "vs2 (v0) overlaps the mask (v0), a source of another width"),
        ("vse8.v", "e8m1", {"vd": 0, "vm": 0}, "vd (v0) overlaps the mask (v0), a source of another width"),
        ("vmseq.vv", "e8m4", {"vd": 5, "vs2": 4, "vs1": 8}, "vd (v5) overlaps vs2 (v4 to v7) of another width"),
        ("vnsrl.wv", "e8m2", {"vd": 6, "vs2": 4, "vs1": 8}, "vd (v6 to v7) overlaps vs2 (v4 to v7) of another width"),
        ("vwadd.vv", "e16m1", {"vd": 2, "vs2": 2, "vs1": 4}, "vd (v2 to v3) overlaps vs2 (v2) of another width"),
        ("vwadd.vv", "e16mf2", {"vd": 2, "vs2": 2, "vs1": 4}, "vd (v2) overlaps vs2 (v2) of another width"),
        ("vwadd.wv", "e16m1", {"vd": 6, "vs2": 2, "vs1": 3}, "vs2 (v2 to v3) overlaps vs1 (v3), a source of another width"),
        ("vwmacc.vv", "e16m1", {"vd": 2, "vs2": 3, "vs1": 4}, "vd (v2 to v3) overlaps vs2 (v3), a source of another width"),
        ("vzext.vf4", "e32m4", {"vd": 4, "vs2": 6}, "vd (v4 to v7) overlaps vs2 (v6) of another width"),
        ("vslideup.vx", "e8m2", {"vd": 2, "vs2": 2}, "vd (v2 to v3) must not overlap vs2 (v2 to v3)"),
        ("vfslide1up.vf", "e16m1", {"vd": 2, "vs2": 2}, "vd (v2) must not overlap vs2 (v2)"),
        ("vrgather.vv", "e8m1", {"vd": 2, "vs2": 4, "vs1": 2}, "vd (v2) must not overlap vs1 (v2)"),
        ("vrgather.vi", "e8m1", {"vd": 2, "vs2": 2}, "vd (v2) must not overlap vs2 (v2)"),
        ("vcompress.vm", "e8m2", {"vd": 2, "vs2": 4, "vs1": 3}, "vd (v2 to v3) must not overlap vs1 (v3)"),
        ("vwredsum.vs", "e16m2", {"vd": 9, "vs2": 8, "vs1": 9}, "vs2 (v8 to v9) overlaps vs1 (v9), a source of another width"),
    ],
)  # fmt: skip
def test_reserved(mnemonic, kind, fields, message):
    with pytest.raises(ValueError, match=f"^{re.escape(f'{mnemonic}: {message}')}$"):
        check_legal(OPERATIONS[mnemonic], vtype(kind), **({"vd": 8, "vs2": 16, "vs1": 24} | fields))


def test_every_instruction_exists_for_each_of_its_sews():
    """With registers apart from each other, and with LMUL 1; so no rule forbids an instruction altogether."""
    for operation in OPERATIONS.values():
        if operation.unit is not Unit.SET:
            for sew in operation.sews:
                vm = 1 if operation.vm is None else operation.vm
                check_legal(operation, Vtype(sew, LMULS[3]), vd=8, vs2=16, vs1=24, vm=vm)
