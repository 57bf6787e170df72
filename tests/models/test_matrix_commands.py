"""The matrix commands against products of the operands that were put into the scratchpad."""

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanewise.config import REQUANTISER_FORMATS, MatrixConfig
from lanewise.models.lfsr import lane_states
from lanewise.models.matrix_commands import MatrixCommands, Operand, Output, Products
from lanewise.models.matrix_unit import matrix_tile, tile_random

SIZE = 1 << 12


def put(memory, address, values):
    """Bytes at an address, which go around the end."""
    np.frombuffer(memory, np.uint8)[(address + np.arange(len(values))) % len(memory)] = values


def placed(memory, address, values, bits, *, turned=False, gap=0):
    """Put an operand of shape ``(lines, k)`` there."""
    outer = values.T if turned else values
    codes = outer & ((1 << bits) - 1)
    if bits == 4:
        codes = np.pad(codes, ((0, 0), (0, codes.shape[1] % 2)))
        codes = codes[:, ::2] | codes[:, 1::2] << 4
    stride = codes.shape[1] + gap
    for number, row in enumerate(codes.astype(np.uint8)):
        put(memory, address + number * stride, row)
    return Operand(address=address, stride=stride, lines=len(values), bits=bits, turned=turned)


def taken(memory, output, rows, columns):
    """Results as values or patterns, shape ``(rows, columns)``."""
    nibbles = {"int4": 1, "int8": 2}.get(output.form, 4)
    data = np.frombuffer(memory, np.uint8)
    width = -(-columns * nibbles // 2)
    found = data[
        (output.address + output.stride * np.arange(rows)[:, None] + np.arange(width)) % data.size
    ].copy()
    if nibbles == 1:
        pairs = np.stack([found & 15, found >> 4], -1).reshape(rows, -1)
        assert not pairs[:, columns:].any()
        return ((pairs[:, :columns] ^ 8).astype(np.int8) - 8).astype(np.int8)
    return found.view(np.int8 if nibbles == 2 else "<u2")


def constants(memory, address, bias, multiplier, config):
    """Put the columns' constants there, padded to whole beats."""
    lanes, beats = config.requantiser_lanes, config.row_beats
    extra = lanes * beats - len(bias)
    words = np.pad(bias, (0, extra)).astype("<i4").reshape(beats, -1)
    multipliers = np.pad(multiplier, (0, extra)).astype("<u2").reshape(beats, -1)
    put(memory, address, np.hstack([words.view(np.uint8), multipliers.view(np.uint8)]).reshape(-1))


@given(
    shape=st.sampled_from([(1, 1, 1), (4, 5, 2), (3, 8, 8)]),
    k=st.integers(1, 20), bits=st.tuples(st.sampled_from([4, 8]), st.sampled_from([4, 8])),
    turned=st.tuples(st.booleans(), st.booleans()), form=st.sampled_from(REQUANTISER_FORMATS), stochastic=st.booleans(),
    own=st.booleans(), chunked=st.booleans(), seed=st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_tiles_are_the_product_scaled_and_rounded(
    shape, k, bits, turned, form, stochastic, own, chunked, seed
):
    rng = np.random.default_rng(seed)
    config = MatrixConfig(rows=shape[0], columns=shape[1], output_lanes=shape[2])
    m, n = int(rng.integers(1, shape[0] + 1)), int(rng.integers(1, shape[1] + 1))
    memory = bytearray(rng.integers(0, 256, SIZE, np.uint8).tobytes())
    shift = int(rng.integers(SIZE))  # everything goes around the end somewhere
    a, w = (
        rng.integers(-(1 << (b - 1)), 1 << (b - 1), (lines, k)) for b, lines in zip(bits, (m, n), strict=True)
    )
    left = placed(memory, shift, a, bits[0], turned=turned[0], gap=int(rng.integers(3)))
    right = placed(memory, shift + 1000, w, bits[1], turned=turned[1], gap=int(rng.integers(3)))
    bias, by_column = rng.integers(-1000, 1000, shape[1]), rng.integers(0, 1 << 16, shape[1])
    constants(memory, shift + 2000, bias, by_column, config)
    by_row, places = rng.integers(0, 1 << 16, m), rng.integers(16, 40, m)
    if not own:
        by_row, places = by_row[:1].repeat(m), places[:1].repeat(m)
    noise = rng.integers(0, 1 << 10, m) << 22
    put(memory, shift + 2500, (by_row | places << 16 | noise).astype("<u4").view(np.uint8))
    output = Output(
        address=shift + 3000, stride=2 * n + 3, form=form, stochastic=stochastic, multiplier=int(by_row[0]), shift_bits=int(places[0]),
        scales=shift + 2500 if own else None, constants=shift + 2000,
    )  # fmt: skip
    states = lane_states(seed, config.requantiser_lanes)
    random, _ = tile_random(states, 2, config)
    stream = MatrixCommands(config, memory)
    stream.seed(states)
    passes = config.passes(*bits)
    for tile in range(2):  # the second without new constants
        if tile:
            put(memory, shift + 2000, np.zeros(6 * config.requantiser_lanes * config.row_beats, np.uint8))
            output = replace(output, constants=None)
        commands = [Products(left=left, right=right, k=k, passes=passes)]
        if chunked and k > 2:
            commands = chunks(left, right, k, passes, 2 * int(rng.integers(1, (k + 1) // 2)))
        for products in commands[:-1]:
            stream.accumulate(products)
        stream.tile(commands[-1], output)
        expected = matrix_tile(
            a, w.T, a_bits=bits[0], w_bits=bits[1], bias=bias[:n], column_multiplier=by_column[:n], row_multiplier=by_row, shift=places,
            form=form, random=random[tile, :m, :n] if stochastic else None,
        )  # fmt: skip
        np.testing.assert_array_equal(taken(memory, output, m, n), expected)
        assert not stream.sums.any()


def chunks(left, right, k, passes, cut):
    """All chunks of the first pass, then all of the second."""

    def part(operand, start):
        step = operand.stride * start if operand.turned else start * operand.bits // 8
        return replace(operand, address=operand.address + step)

    return [
        Products(
            left=part(left, start), right=part(right, start), k=count, first=number, shift=start == 0 and number % 2 == 1
        )
        for number in range(passes) for start, count in ((0, cut), (cut, k - cut))
    ]  # fmt: skip


def test_sums_wrap_and_keep_what_other_commands_added():
    config = MatrixConfig(rows=2, columns=2)
    memory = bytearray(SIZE)
    low = np.full((2, 1024), -128)
    left, right = (placed(memory, address, low, 8) for address in (0, 2048))
    stream = MatrixCommands(config, memory)
    for _ in range(128):
        stream.accumulate(Products(left=left, right=right, k=1024, first=3))  # 0 of the lower halves
        assert not stream.sums.any()
    for _ in range(33):
        stream.accumulate(Products(left=left, right=right, k=1024))
    assert stream.sums.tolist() == [[33 * 1024 * 64] * 2] * 2
    one = replace(left, lines=1)
    for number in range(6):
        stream.accumulate(Products(left=one, right=right, k=1024, first=1, shift=True))
        wide = 33 * 1024 * 64 << 4 * (number + 1)
        assert stream.sums[1, 1] == (wide + 2**31) % 2**32 - 2**31


@pytest.mark.parametrize("form", REQUANTISER_FORMATS)
@pytest.mark.parametrize(("rows", "columns"), [(0, 2), (2, 0), (0, 0)])
def test_a_tile_without_lines_writes_nothing_and_begins_anew(form, rows, columns):
    config, memory = MatrixConfig(rows=2, columns=2), bytearray(range(1, 65))
    before, stream = bytes(memory), MatrixCommands(config, memory)
    sides = [Operand(address=8 * number, stride=2, lines=2) for number in range(2)]
    stream.accumulate(Products(left=sides[0], right=sides[1], k=4))
    left, right = (replace(side, lines=lines) for side, lines in zip(sides, (rows, columns)))
    stream.tile(Products(left=left, right=right, k=4), Output(address=32, stride=8, form=form, constants=16))
    assert memory == before
    assert not stream.sums.any()


def test_bad_commands_are_refused():
    config = MatrixConfig(rows=2, columns=3)
    stream = MatrixCommands(config, bytearray(64))
    operand = Operand(address=0, stride=4, lines=2)
    good = Products(left=operand, right=operand, k=4)
    output = Output(address=0, stride=4, form="int8")
    for products, message in (
        (replace(good, left=replace(operand, lines=3)), "left must have at most 2 lines, not 3"),
        (replace(good, right=replace(operand, bits=16)), "right must have 4 or 8 bits, not 16"),
        (replace(good, k=0), "k must be at least 1, not 0"),
        (replace(good, first=1), "passes must be among the 1 of such operands, not 1 from 1 on"),
    ):
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            stream.accumulate(products)
    with pytest.raises(ValueError, match=r"^constants must have been loaded"):
        stream.tile(good, output)
    with pytest.raises(ValueError, match=r"^states must have been loaded"):
        stream.tile(good, replace(output, constants=0, stochastic=True))
    with pytest.raises(ValueError, match=re.escape("states must have shape (3,), not (2,)")):
        stream.seed(lane_states(1, 2))
    with pytest.raises(ValueError, match=r"^operand_bits must be 4, not 8$"):
        MatrixCommands(MatrixConfig(operand_bits=8), bytearray(64))
