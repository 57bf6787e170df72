"""The vector type against the field layout of RVV 1.0, 3.4."""

import re
from fractions import Fraction

import pytest

from lanewise.isa.operations import Width
from lanewise.isa.vtype import LMULS, SEWS, Vtype

LEGAL = [
    (sew, lmul, altfmt) for sew in SEWS for lmul in LMULS if sew <= 64 * lmul for altfmt in (False, True)
]
VLMUL = {Fraction(1, 8): 5, Fraction(1, 4): 6, Fraction(1, 2): 7, 1: 0, 2: 1, 4: 2, 8: 3}


@pytest.mark.parametrize(("sew", "lmul", "altfmt"), LEGAL)
def test_bits(sew, lmul, altfmt):
    vtype = Vtype(sew, lmul, altfmt)
    assert vtype.encode() == VLMUL[lmul] + 8 * {8: 0, 16: 1, 32: 2}[sew] + 256 * altfmt
    assert Vtype.decode(vtype.encode()) == vtype
    assert Vtype.decode(vtype.encode() | 0xC0) == vtype, "agnostic may be undisturbed"
    assert vtype.vlmax(256) * sew == 256 * lmul


def test_as_many_as_there_are():
    assert len(LEGAL) == 36  # 7 + 6 + 5 LMULs, two formats
    decoded = []
    for bits in range(1 << 9):
        try:
            decoded.append(Vtype.decode(bits))
        except ValueError:
            continue
    assert len(decoded) == 4 * len(LEGAL)


@pytest.mark.parametrize("bits", [4, 0x18, 0x38, 0x200, 1 << 63, -1])
def test_reserved_bits_are_refused(bits):
    with pytest.raises(ValueError, match=rf"^vtype {bits:#x} is reserved$"):
        Vtype.decode(bits)


@pytest.mark.parametrize(
    ("sew", "lmul", "message"),
    [
        (64, 1, "SEW must be one of (8, 16, 32), not 64"),
        (8, 3, "LMUL must be a power of two from 1/8 to 8, not 3"),
        (16, Fraction(1, 8), "SEW must be at most 64 x LMUL, not 16 with LMUL 1/8"),
    ],
)
def test_what_is_refused(sew, lmul, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Vtype(sew, lmul)


def test_groups():
    vtype = Vtype(16, Fraction(4))
    assert [vtype.registers(w) for w in (Width.SEW, Width.DOUBLE, Width.HALF, Width.MASK, Width.FIRST)] == [
        4,
        8,
        2,
        1,
        1,
    ]
    assert vtype.emul(Width.EEW, 8) == 2
    small = Vtype(32, Fraction(1, 2))
    assert (small.emul(Width.QUARTER), small.registers(Width.QUARTER)) == (Fraction(1, 8), 1)
