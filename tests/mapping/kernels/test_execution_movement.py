"""Movements executed from external memory to external memory, against numpy's strides."""

from math import prod

import numpy as np
import pytest

from lanewise.config import MachineConfig, MatrixConfig
from lanewise.mapping.functional import execute_program
from lanewise.mapping.kernels.copies import FILL, Copy, Level
from lanewise.mapping.kernels.movement import FillWork, LookUpWork, MovementWork
from lanewise.mapping.kernels.price import price
from lanewise.sim.program import flatten_once, priced_only

MACHINE = MachineConfig()


def execute(work, out, config=MACHINE, **memory):
    program = work.program(config)
    assert priced_only(program) == ()
    execute_program(program, config, {"out": out, **memory})
    return out


def numbers(count):
    return (np.arange(count) * 40503 % 65536).astype(np.uint16)


def wanted(copy, x, out):
    """The copy, element by element."""
    for place in np.ndindex(*(level.repeats for level in copy.levels)):
        source, target = (
            first + sum(p * level[side] for p, level in zip(place, copy.levels))
            for side, first in ((1, copy.first), (2, copy.target))
        )
        out[target : target + copy.run] = x[source : source + copy.run]
    return out


@pytest.mark.parametrize("elements", [1, 100, 8192, 8193, 50_001])
def test_copy_and_fill(elements):
    x = numbers(elements)
    work = MovementWork(copies=(Copy(run=elements),))
    assert np.array_equal(execute(work, np.zeros(elements, np.uint16), **{"in": x}), x)
    padded = np.full(elements + 4, 7, np.uint16)
    execute(FillWork(elements=elements), padded)
    assert not padded[:-4].any()
    assert (padded[-4:] == 7).all()


@pytest.mark.parametrize("seed", range(24))
def test_any_nest_of_levels(seed):
    rng = np.random.default_rng(seed)
    counts = [int(rng.integers(1, 12)) for _ in range(rng.integers(0, 4))] + [int(rng.integers(1, 40))]
    run = int(rng.choice([1, 2, 5, 48]))
    sides = []
    for _side in range(2):
        order = rng.permutation(len(counts))
        distances, reach = [0] * len(counts), run
        for k in order:
            distances[k] = reach + int(rng.integers(0, 4)) * (rng.random() < 0.4)
            reach = distances[k] * (counts[k] - 1) + reach
        sides.append((distances, reach))
    (source, read), (target, written) = sides
    first = 3
    for k in range(len(counts)):
        if rng.random() < 0.2:
            source[k] = 0
        elif rng.random() < 0.2:
            first += source[k] * (counts[k] - 1)
            source[k] = -source[k]
    copy = Copy(
        levels=tuple(Level(*each) for each in zip(counts, source, target)), run=run, first=first, target=2
    )
    x = numbers(read + 3)
    work = MovementWork(copies=(copy,))
    got = execute(work, np.full(written + 4, 9, np.uint16), **{"in": x})
    assert np.array_equal(got, wanted(copy, x, np.full(written + 4, 9, np.uint16))), copy


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (5, 3), (197, 64), (64, 197), (768, 196), (33, 3000)])
def test_transpositions(rows, columns):
    x = numbers(2 * rows * columns).reshape(2, rows, columns)
    size = rows * columns
    copy = Copy(levels=(Level(2, size, size), Level(rows, columns, 1), Level(columns, 1, rows)))
    got = execute(MovementWork(copies=(copy,)), np.zeros((2, columns, rows), np.uint16), **{"in": x})
    assert np.array_equal(got, x.transpose(0, 2, 1))


def test_a_transposition_keeps_both_engines_busy():
    """Two elements a clock: half of them in words of their own on the one side, half on the other."""
    copy = Copy(levels=(Level(768, 196, 1), Level(196, 1, 768)))
    cost = price(MovementWork(copies=(copy,)).program(MACHINE), MACHINE)
    assert cost.cycles < 0.62 * copy.elements


def test_fills_lie_between_what_is_copied():
    x = numbers(5 * 7).reshape(5, 7)
    work = MovementWork(
        copies=(
            Copy(levels=(Level(5, 7, 10),), run=7, target=11),
            Copy(source=FILL, run=11), Copy(source=FILL, levels=(Level(4, 0, 10),), run=3, target=18),
            Copy(source=FILL, run=12, target=58),
        )
    )  # fmt: skip
    program = work.program(MACHINE)
    (fill,) = [i for i in flatten_once(program.body) if i.external is not None and i.external.base == FILL]
    value = np.full(fill.run_bytes // 2, 77, np.uint16)
    got = execute(work, np.zeros((7, 10), np.uint16), **{"in": x, FILL: value})
    assert np.array_equal(got, np.pad(x, ((1, 1), (1, 2)), constant_values=77))


@pytest.mark.parametrize(("rows", "width"), [(7, 5), (197, 768), (3, 20_000)])
def test_look_ups(rows, width):
    x = numbers(rows * width).reshape(rows, width)
    order = np.random.default_rng(3).integers(0, rows, 2 * rows + 1).astype(np.uint32)
    work = LookUpWork(rows=order.size, width=width)
    taken = execute(work, np.zeros((order.size, width), np.uint16), indices=order, **{"in": x})
    assert np.array_equal(taken, x[order])


def packed(elements, bits):
    if bits == 4:
        return (elements[::2] | elements[1::2] << 4).astype(np.uint8)
    return elements.astype(np.uint8 if bits == 8 else np.uint16)


@pytest.mark.parametrize(
    ("bits", "form"), [(4, "quantised"), (8, "quantised"), (16, "quantised"), (4, "fp16")]
)
def test_operands_are_moved_in_their_own_width(bits, form):
    copy = Copy(levels=(Level(6, 32, 10), Level(4, 192, 60)), run=10, first=2)
    config = MachineConfig(matrix=MatrixConfig(operand_bits=bits))
    width = 16 if form == "fp16" else bits
    x = np.random.default_rng(bits).integers(0, 16, 800)
    out = packed(np.zeros(240, np.int64), width)
    execute(MovementWork(copies=(copy,), form=form), out, config, **{"in": packed(x, width)})
    assert np.array_equal(out, packed(wanted(copy, x, np.zeros(240, np.int64)), width))
    if width == 4:
        with pytest.raises(ValueError, match="runs must be whole bytes of 4 bits"):
            MovementWork(copies=(Copy(levels=(Level(2, 3, 3),), run=2),), form=form).program(config)


def test_levels_that_continue_each_other_are_one():
    nest = (Level(3, 40, 40), Level(5, 8, 8), Level(4, 2, 2))
    assert Copy(levels=nest, run=2).merged() == Copy(run=prod((3, 5, 4, 2)))
    with pytest.raises(ValueError, match="levels must have distances in the target"):
        Copy(levels=(Level(2, 1, 0),))
    with pytest.raises(ValueError, match="run must be at least 1, not 0"):
        Copy(run=0)
