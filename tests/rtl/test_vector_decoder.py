"""The decoder against the table: every instruction's fields, and words that are none."""

import warnings

import numpy as np
import pytest
from amaranth.sim import Simulator

from lanewise.isa.encoding import decode, encode
from lanewise.isa.operations import OPERATIONS, Unit, Width
from lanewise.isa.vtype import Vtype
from lanewise.rtl.vector_decoder import LATENCIES, RATES, UNITS, WIDTHS, VectorDecoder, pattern_of
from lanewise.rtl.vector_unit import CONTROLS


def fields_of(words, rs1=0):
    """What the decoder makes of each word."""
    decoder = VectorDecoder(CONTROLS)
    found = []

    async def bench(ctx):
        ctx.set(decoder.rs1, rs1)
        for word in words:
            ctx.set(decoder.word, word)
            await ctx.delay(1e-9)
            names = decoder.o.shape().members
            found.append(
                {
                    name: int(getattr(v, "value", v))
                    for name in names
                    for v in (ctx.get(getattr(decoder.o, name)),)
                }
            )

    simulator = Simulator(decoder)
    simulator.add_testbench(bench)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        simulator.run()
    return found


def drawn_word(operation, rng):
    fields = {"vd": int(rng.integers(32)), "vs2": int(rng.integers(32)), "vs1": int(rng.integers(32))}
    if operation.vs2_code is not None:
        fields["vs2"] = operation.vs2_code
    if operation.vs1_code is not None:
        fields["vs1"] = operation.vs1_code
    if operation.scalar == "i":
        fields["vs1"] -= 16
    if operation.unit is Unit.SET:
        return encode(operation, **{**fields, "vs2": fields["vs2"] if operation.mnemonic == "vsetvl" else 0},
                      vtype=None if operation.mnemonic == "vsetvl" else Vtype(16, 2))  # fmt: skip
    vm = operation.vm if operation.vm is not None else int(rng.integers(2))
    return encode(operation, vm=vm, **fields)


def test_every_instruction():
    rng = np.random.default_rng(1)
    operations = [operation for operation in OPERATIONS.values() for _ in range(4)]
    words = [drawn_word(operation, rng) for operation in operations]
    for operation, word, found in zip(operations, words, fields_of(words, rs1=0x12345678), strict=True):
        decoded = decode(word)
        assert decoded.operation is operation
        assert found["known"] == 1
        assert UNITS[found["unit"]] is operation.unit
        assert LATENCIES[found["latency"]] is operation.latency
        assert RATES[found["rate"]] is operation.rate
        for name in ("vd", "vs2", "vs1"):
            assert WIDTHS[found[f"{name}_width"]] is getattr(operation, name)
            if getattr(operation, name) is not None:
                assert found[name] == getattr(decoded, name)
        assert found["writes_vd"] == (operation.vd is not None and not operation.stores)
        assert found["reads_vd"] == operation.reads_vd
        if operation.unit is not Unit.SET:
            assert found["reads_mask"] == (decoded.vm == 0)
        if operation.scalar in ("i", "u") and operation.unit is not Unit.FLEX_SFU:
            assert found["scalar"] == decoded.vs1 % 2**32
        elif operation.scalar:
            assert found["scalar"] == 0x12345678
        layout_and_control = CONTROLS.get(
            "reduction"
            if operation.vd in (Width.FIRST, Width.FIRST_DOUBLE) and operation.vs2
            else str(operation.unit)
        )
        if layout_and_control:
            layout, control_of = layout_and_control
            assert found["control"] == layout.const(dict(control_of(operation))).as_bits(), operation.mnemonic


def test_words_that_are_no_instructions():
    rng = np.random.default_rng(2)
    words = [int(word) for word in rng.integers(0, 2**32, 3000)]
    words += [int(word) & ~0x7F | 0x57 for word in words[:2000]]
    known = []
    for word in words:
        try:
            known.append(decode(word).operation.unit is not None)
        except ValueError as error:
            known.append("is no instruction" not in str(error))  # a vset of a reserved type all the same
    found = [bool(fields["known"]) for fields in fields_of(words)]
    assert found == known
    assert 0 < sum(known) < len(words)


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=lambda operation: operation.mnemonic)
def test_patterns_are_apart(operation):
    own = pattern_of(operation)
    for other in OPERATIONS.values():
        if other is not operation:
            pattern = pattern_of(other)
            assert any(a != b and "-" not in (a, b) for a, b in zip(own, pattern, strict=True)), (
                other.mnemonic
            )
