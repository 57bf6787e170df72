"""Instruction words against the GNU assembler's, recorded and, where it is installed, live."""

import re
import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from lanewise.isa.encoding import assembly, decode, encode
from lanewise.isa.operations import OPERATIONS, Unit
from lanewise.isa.vtype import Vtype
from lanewise.verify.assembler import TOOLS, assemble, instructions

DATA = Path(__file__).parent / "data" / "assembler.txt"
SEED = 20_240_611


def test_recorded_words():
    recorded = [line.split(" ", 1) for line in DATA.read_text().splitlines()]
    words = list(instructions())
    assert {decode(word).operation.mnemonic for word in words} == set(OPERATIONS)
    assert [(f"{word:08x}", assembly(word)) for word in words] == [(word, text) for word, text in recorded]


@pytest.mark.skipif(
    any(shutil.which(tool) is None for tool in TOOLS), reason="the GNU assembler for RISC-V is not installed"
)
def test_words_of_the_assembler():
    words = list(instructions())
    assert assemble("\n".join(map(assembly, words))) == words


def test_every_word_is_decoded_into_what_it_was_made_of():
    for word in instructions():
        it = decode(word)
        vm = None if it.operation.unit is Unit.SET else it.vm
        assert encode(it.operation, vd=it.vd, vs2=it.vs2, vs1=it.vs1, vm=vm, vtype=it.vtype) == word


def test_no_two_instructions_share_a_word():
    """Any word is one instruction's or none's: its fields make it again."""
    print(f"seed {SEED}")
    rng = np.random.default_rng(SEED)
    majors = rng.choice([0x57, 0x07, 0x27, 0x0B], size=60_000)
    known = 0
    for word in (rng.integers(0, 1 << 25, size=majors.size) << 7 | majors).tolist():
        try:
            it = decode(word)
        except ValueError:
            continue
        if it.operation.unit is Unit.SET:
            continue  # agnostic bits are not kept
        known += 1
        selects = it.operation.vs1_code is not None and it.operation.major == 0x57
        made = encode(it.operation, vd=it.vd, vs2=it.vs2, vs1=0 if selects else it.vs1, vm=it.vm)
        assert made == word, assembly(word)
    assert known > 5000


@pytest.mark.parametrize(
    "word",
    [
        0x0000_0013,  # addi
        0x0220_80D7 | 0x3F << 26,  # funct6 that no vector instruction has
        0x8220_80D7,  # vdivu.vv by another funct3
        0x0280_5007 | 1 << 29,  # a segment load
        0x5E30_0057 | 2 << 20,  # vmv.v.v with vs2
        0x8080_7057 | 1 << 25,  # vsetvl with other bits
        1 << 32 | 0x57,
        -1,
    ],
)
def test_unknown_words_are_refused(word):
    with pytest.raises(ValueError, match=rf"^{re.escape(f'{word:#010x}')} is no instruction of the core$"):
        decode(word)


@pytest.mark.parametrize(
    ("mnemonic", "fields", "message"),
    [
        ("vadd.vv", {"vd": 32}, "vd of vadd.vv must be 0 to 31, not 32"),
        ("vadd.vi", {"vs1": 16}, "vs1 of vadd.vi must be -16 to 15, not 16"),
        ("vsll.vi", {"vs1": -1}, "vs1 of vsll.vi must be 0 to 31, not -1"),
        ("vfrec7.v", {"vs1": 4}, "vs1 of vfrec7.v must be 5, not 4"),
        ("vle8.v", {"vs2": 1}, "vs2 of vle8.v must be 0, not 1"),
        ("vmerge.vvm", {"vm": 1}, "vm of vmerge.vvm must be 0, not 1"),
        ("vadd.vv", {"vm": 2}, "vm of vadd.vv must be 0 or 1, not 2"),
        ("vadd.vv", {"vtype": Vtype(8, Fraction(1))}, "vadd.vv has no vtype"),
        ("vsetvli", {}, "vsetvli needs a vtype and has no vs2"),
        ("vsetvl", {"vtype": Vtype(8, Fraction(1))}, "vsetvl takes its vtype from a register"),
    ],
)
def test_what_encode_refuses(mnemonic, fields, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        encode(OPERATIONS[mnemonic], **fields)


def test_texts():
    texts = {
        assembly(encode(OPERATIONS[mnemonic], **fields))
        for mnemonic, fields in (
            ("vlse16.v", {"vd": 8, "vs1": 10, "vs2": 11, "vm": 0}),
            ("vmerge.vim", {"vd": 8, "vs2": 9, "vs1": -3}),
            ("vmacc.vx", {"vd": 8, "vs2": 9, "vs1": 31}),
            ("vsetivli", {"vd": 1, "vs1": 31, "vtype": Vtype(16, Fraction(1, 4))}),
            ("vsetvli", {"vd": 1, "vs1": 5, "vtype": Vtype(16, Fraction(8), True)}),
            ("sfu.coefficients", {"vd": 3, "vs1": 9}),
        )
    }
    assert texts == {
        "vlse16.v v8, (a0), a1, v0.t",
        "vmerge.vim v8, v9, -3, v0",
        "vmacc.vx v8, t6, v9",
        "vsetivli ra, 31, e16, mf4, tu, mu",
        "vsetvli ra, t0, 267",
        ".insn r 11, 2, 1, x3, x9, x0",
    }
