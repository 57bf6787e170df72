"""What the vector machine does beside the elements; QEMU holds the rest (tests/verify/test_qemu.py)."""

import re
from fractions import Fraction

import numpy as np
import pytest

from lanewise.config import FlexSfuConfig
from lanewise.formats import FORMATS
from lanewise.isa.encoding import encode
from lanewise.isa.operations import OPERATIONS
from lanewise.isa.vtype import Vtype
from lanewise.models.flex_sfu import SfuTable, flex_sfu
from lanewise.models.multiply_add import multiply_add
from lanewise.models.numbers import bits_dtype
from lanewise.models.vector_machine import VectorMachine
from lanewise.models.vector_tables import TableWords, table_words
from lanewise.verify.sfu_tables import ALL_FORMATS, random_table

SEED = 20_240_661
VLEN = 256


def machine(vl, sew=8, lmul=1, *, altfmt=False, memory=0, sfu=None):
    it = VectorMachine(VLEN, bytearray(memory), sfu)
    it.registers[:] = np.random.default_rng(SEED).integers(0, 256, it.registers.shape)
    it.step(encode(OPERATIONS["vsetvli"], vtype=Vtype(sew, Fraction(lmul), altfmt)), rs1=vl)
    return it


def step(it, mnemonic, rs1=0, rs2=0, **fields):
    it.step(encode(OPERATIONS[mnemonic], **fields), rs1, rs2)


def bits(register):
    return np.unpackbits(register, bitorder="little").astype(bool)


@pytest.mark.parametrize(
    ("avl", "vl"), [(0, 0), (1, 1), (63, 63), (64, 64), (65, 64), (127, 64), (2**63, 64), (-1, 64)]
)
def test_vl(avl, vl):
    it = machine(5, 8, 2)
    step(it, "vsetvli", rs1=avl, vd=1, vs1=2, vtype=Vtype(16, Fraction(4)))
    assert (it.vl, it.vtype) == (vl, Vtype(16, Fraction(4)))
    step(it, "vsetvl", rs1=avl, rs2=0x10A, vd=1, vs1=2, vs2=3)
    assert (it.vl, it.vtype) == (vl, Vtype(16, Fraction(4), altfmt=True))
    step(it, "vsetivli", vs1=31, vtype=Vtype(32, Fraction(1, 2)))
    assert it.vl == 4


def test_vl_zero_changes_nothing():
    for name, operation in OPERATIONS.items():
        if name.startswith(("vset", "sfu")):
            continue
        it = machine(0, operation.sews[-1], memory=16)
        before = it.registers.copy()
        vm = 1 if operation.vm is None else operation.vm
        fields = {
            "vs2": 0 if operation.vs2_code is not None else 16,
            "vs1": 0 if operation.vs1_code is not None else 12,
        }
        step(it, name, rs1=1, rs2=1, vd=8, vm=vm, **fields)
        assert np.array_equal(it.registers, before), name
        assert it.memory == bytes(16)


@pytest.mark.parametrize("vm", [0, 1])
@pytest.mark.parametrize(
    ("mnemonic", "sew"), [("vmsltu.vv", 8), ("vmseq.vi", 16), ("vmfle.vf", 16), ("vmslt.vx", 32)]
)
def test_masks_are_ones_where_no_element_is(vm, mnemonic, sew):
    vl, lmul = 13, sew // 8
    it = machine(vl, sew, lmul)
    before = it.registers.copy()
    step(it, mnemonic, rs1=77, vd=5, vs2=8, vs1=16 if mnemonic.endswith("vv") else 3, vm=vm)
    after, active = bits(it.registers[5]), bits(before[0])[:vl] | (vm == 1)
    assert after[vl:16].all(), "tail of the last byte"
    assert after[:vl][~active].all()
    assert np.array_equal(it.registers[5][2:], before[5][2:]), "bytes without an element"
    x = before[8 : 8 + lmul].reshape(-1).view(bits_dtype(FORMATS[f"int{sew}"]))[:vl]
    if mnemonic == "vmsltu.vv":
        y = before[16]
        assert np.array_equal(after[:vl][active], (x < y[:vl])[active])
    kept = np.arange(32) != 5
    assert np.array_equal(it.registers[kept], before[kept])


def test_mask_logic_writes_whole_bytes():
    it = machine(11)
    before = it.registers.copy()
    step(it, "vmxor.mm", vd=4, vs2=4, vs1=6)
    assert np.array_equal(bits(it.registers[4])[:11], bits(before[4] ^ before[6])[:11])
    assert bits(it.registers[4])[11:16].all()
    assert np.array_equal(it.registers[4][2:], before[4][2:])


def test_tail_and_masked_off_elements_stay():
    it = machine(21, 16, 2)
    before = it.registers.copy()
    step(it, "vadd.vi", vd=2, vs2=4, vs1=-3, vm=0)
    active = np.zeros(32, bool)
    active[:21] = bits(before[0])[:21]
    old, source = (before[r : r + 2].reshape(-1).view(np.uint16) for r in (2, 4))
    assert np.array_equal(it.read(2, 16, 2), np.where(active, source - np.uint16(3), old))


def test_merges_write_every_element_and_read_the_mask():
    it = machine(32, 8)
    before = it.registers.copy()
    step(it, "vmerge.vxm", rs1=0x1AB, vd=2, vs2=4)
    assert np.array_equal(it.read(2, 8), np.where(bits(before[0])[:32], 0xAB, before[4]))


def test_bf16():
    form, results = FORMATS["bf16"], {}
    for altfmt in (False, True):
        it = machine(16, 16, altfmt=altfmt)
        a, b, c = it.read(4, 16), it.read(6, 16), it.read(2, 16)
        step(it, "vfmacc.vv", vd=2, vs2=4, vs1=6)
        results[altfmt] = it.read(2, 16)
    np.testing.assert_array_equal(results[True], multiply_add(a, b, c, form))
    assert not np.array_equal(results[False], results[True])


def test_sources_are_read_before_results_are_written():
    it = machine(64, 8, 2)
    x = it.read(2, 8, 2)
    step(it, "vslidedown.vi", vd=2, vs2=2, vs1=1)
    assert it.read(2, 8, 2).tolist() == [*x[1:].tolist(), 0]
    it = machine(32, 16, 2)
    x = it.read(2, 16, 2)
    step(it, "vadd.vv", vd=2, vs2=2, vs1=2)
    assert np.array_equal(it.read(2, 16, 2), x + x)


def test_fraction_of_a_register_ends_at_vlmax():
    it = machine(8, 8, Fraction(1, 4))
    x = it.read(3, 8)
    step(it, "vslidedown.vx", rs1=5, vd=1, vs2=3)
    assert it.read(1, 8)[:8].tolist() == [*x[5:8].tolist(), 0, 0, 0, 0, 0]
    step(it, "vrgather.vx", rs1=8, vd=1, vs2=3)
    assert it.read(1, 8)[:8].tolist() == [0] * 8


# --- memory


def test_strides():
    it = machine(4, 16, memory=64)
    it.memory[:] = bytes(range(64))
    for rs2 in (-6, 2**32 - 6, 2**64 - 6):
        it.write(1, np.zeros(4, np.uint16))
        step(it, "vlse16.v", rs1=30, rs2=rs2, vd=1, vs2=3)
        assert it.read(1, 16)[:4].tolist() == [0x1F1E, 0x1918, 0x1312, 0x0D0C]
    it.write(1, np.array([0x1111, 0x2222, 0x3333, 0x4444], np.uint16))
    step(it, "vsse16.v", rs1=9, rs2=1, vd=1, vs2=3)
    assert it.memory[8:16].hex() == "0811223344440e0f", "overlapping: the last one stays"
    step(it, "vsse16.v", rs1=40, rs2=0, vd=1, vs2=3)
    assert it.memory[39:43].hex() == "2744442a"


@pytest.mark.parametrize("mnemonic", ["vle32.v", "vse32.v", "vlse32.v"])
def test_beyond_the_memory(mnemonic):
    it = machine(4, 32, memory=64)
    strided = {"vs2": 3, "rs2": 4} if "s" in mnemonic[2] else {}
    step(it, mnemonic, rs1=48, vd=1, **strided)
    before, memory = it.registers.copy(), bytes(it.memory)
    with pytest.raises(
        ValueError, match=rf"^{re.escape(mnemonic)}: address 0x3d is beyond the memory's 64 bytes$"
    ):
        step(it, mnemonic, rs1=49, vd=1, **strided)
    with pytest.raises(ValueError, match=r"address 0xfffffff. is beyond"):
        step(it, mnemonic, rs1=-1, vd=1, **strided)
    assert np.array_equal(it.registers, before)
    assert it.memory == memory


def test_masked_off_elements_are_not_accessed():
    it = machine(4, 32, memory=8)
    it.write(0, np.array([0b0011], np.uint8))
    step(it, "vle32.v", rs1=0, vd=1, vm=0)
    assert it.read(1, 32)[:2].tolist() == [0, 0]
    it.write(0, np.array([0], np.uint8))
    step(it, "vse32.v", rs1=4096, vd=1, vm=0)


# --- Flex-SFU


def sfu_machine(config, tables, vl=32):
    """With the tables loaded, each from its own place."""
    it = VectorMachine(1024, bytearray(16384), config)
    for bank, table in enumerate(tables):
        code = bank | config.formats.index(table.format) << 1
        for kind, words in zip(("breakpoints", "coefficients"), table_words(config, table), strict=True):
            address = 8192 * bank + (4096 if kind == "coefficients" else 4)
            it.memory[address : address + words.nbytes] = words.tobytes()
            step(it, "vsetvli", rs1=words.size, vtype=Vtype(8, Fraction(8)))
            assert it.vl == words.size
            step(it, f"sfu.{kind}", rs1=address, vd=code, vs1=4)
    step(it, "vsetvli", rs1=vl, vtype=Vtype(tables[0].form.bits, Fraction(2)))
    return it


CONFIGS = [
    FlexSfuConfig(),
    FlexSfuConfig(segments=64, degree=2, formats=ALL_FORMATS, double_buffered=True),
    FlexSfuConfig(segments=4, formats=("int8", "bf16")),
]


@pytest.mark.parametrize("config", CONFIGS, ids=("own", "all", "small"))
def test_flex_sfu(config):
    rng = np.random.default_rng(SEED)
    for form in config.number_formats:
        tables = [random_table(rng, config, form) for _ in range(config.banks)]
        it = sfu_machine(config, tables)
        for bank, table in enumerate(tables):
            it.registers[:] = rng.integers(0, 256, it.registers.shape)
            x, old = it.read(4, form.bits, 2), it.read(2, form.bits, 2)
            step(it, "sfu.execute", vd=2, vs2=4, vs1=bank | config.formats.index(form.name) << 1)
            wanted = np.where(np.arange(x.size) < it.vl, flex_sfu(x, table), old)
            np.testing.assert_array_equal(it.read(2, form.bits, 2), wanted, err_msg=f"{form.name} {bank}")


def test_a_new_table_takes_effect():
    config, rng = CONFIGS[0], np.random.default_rng(SEED)
    first, second = (random_table(rng, config, FORMATS["fp16"]) for _ in range(2))
    it = sfu_machine(config, [first])
    step(it, "sfu.execute", vd=2, vs2=4)
    breakpoints, coefficients = table_words(config, second)
    it.memory[:124], it.memory[128:384] = breakpoints.tobytes(), coefficients.tobytes()
    step(it, "vsetvli", rs1=64, vtype=Vtype(16, Fraction(1)))
    for kind, address, vl in (("breakpoints", 0, 31), ("coefficients", 128, 64)):
        step(it, "vsetvli", rs1=vl, vtype=Vtype(16, Fraction(1)))
        step(it, f"sfu.{kind}", rs1=address)
    x = it.read(4, 16)
    step(it, "sfu.execute", vd=2, vs2=4)
    np.testing.assert_array_equal(it.read(2, 16), flex_sfu(x, second))


def test_words():
    table = SfuTable(
        format="int8", breakpoints=np.array([1, 2, 3], np.uint8), coefficients=np.arange(8, dtype=np.uint8).reshape(4, 2),
        shifts=((9, 5),),
    )  # fmt: skip
    breakpoints, coefficients = table_words(CONFIGS[2], table)
    assert [hex(w) for w in breakpoints] == ["0x1010101", "0x2020202", "0x3030303"]
    assert [hex(w) for w in coefficients[:6]] == [
        "0x0",
        "0x1010101",
        "0x149",
        "0x2020202",
        "0x3030303",
        "0x149",
    ]


@pytest.mark.parametrize(
    ("config", "mnemonic", "fields", "message"),
    [
        (None, "sfu.execute", {}, "sfu.execute: there is no Flex-SFU"),
        (FlexSfuConfig(enabled=False), "sfu.breakpoints", {}, "sfu.breakpoints: there is no Flex-SFU"),
        (CONFIGS[0], "sfu.execute", {"vs1": 1}, "sfu.execute: there is no table 1 or no format 0"),
        (CONFIGS[0], "sfu.breakpoints", {"vd": 2}, "sfu.breakpoints: there is no table 0 or no format 1"),
        (CONFIGS[2], "sfu.execute", {}, "sfu.execute: SEW must be 8 for int8, not 16"),
        (CONFIGS[0], "sfu.execute", {}, "sfu.execute: the table is not loaded"),
        (CONFIGS[2], "sfu.breakpoints", {}, "sfu.breakpoints: vl must be a multiple of 1 up to 3, not 16"),
        (CONFIGS[2], "sfu.coefficients", {}, "sfu.coefficients: vl must be a multiple of 3 up to 12, not 16"),
        (CONFIGS[0], "sfu.breakpoints", {"rs1": 1}, "sfu.breakpoints: 16 words at 0x1 are beyond the memory's 64 bytes"),
    ],
)  # fmt: skip
def test_what_flex_sfu_refuses(config, mnemonic, fields, message):
    it = machine(16, 16, memory=64, sfu=config)
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        step(it, mnemonic, **fields)


def test_words_that_do_not_repeat_their_element_are_refused():
    config, rng = CONFIGS[0], np.random.default_rng(SEED)
    table = random_table(rng, config, FORMATS["fp16"])
    words = TableWords(config)
    breakpoints, coefficients = table_words(config, table)
    words.load("breakpoints", breakpoints)
    words.load("coefficients", coefficients)
    assert np.array_equal(words.table(FORMATS["fp16"]).coefficients, table.coefficients)
    words.load("breakpoints", breakpoints[:1] ^ np.uint32(1))
    with pytest.raises(
        ValueError, match=r"^sfu.execute: a word of the table does not hold fp16 as often as it fits$"
    ):
        words.table(FORMATS["fp16"])


# --- what is refused


def test_reserved_instructions():
    it = machine(16, 16)
    before = it.registers.copy()
    for word, message in (
        (encode(OPERATIONS["vwadd.vv"], vd=2, vs2=2, vs1=4), "vwadd.vv: vd (v2 to v3) overlaps vs2 (v2) of another width"),
        (0x13, "0x00000013 is no instruction of the core"),
        (encode(OPERATIONS["vsetvl"], vd=1), "vtype 0x3f is reserved"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            it.step(word, rs2=0x3F)
    assert np.array_equal(it.registers, before)
    assert (it.vl, it.vtype) == (16, Vtype(16, Fraction(1)))
