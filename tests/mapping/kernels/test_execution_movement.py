"""Movements executed from external memory to external memory."""

import numpy as np
import pytest

from lanewise.config import MachineConfig
from lanewise.mapping.functional import execute_program
from lanewise.mapping.kernels.movement import FillWork, MovementWork
from lanewise.sim.program import priced_only

MACHINE = MachineConfig()


def execute(work, out, **memory):
    program = work.program(MACHINE)
    assert priced_only(program) == ()
    execute_program(program, MACHINE, {"out": out, **memory})
    return out


def numbers(count):
    return (np.arange(count) * 40503 % 65536).astype(np.uint16)


@pytest.mark.parametrize("elements", [1, 100, 8192, 8193, 50_001])
def test_copy_and_fill(elements):
    x = numbers(elements)
    got = execute(MovementWork(runs=1, run_elements=elements), np.zeros(elements, np.uint16), **{"in": x})
    assert np.array_equal(got, x)
    padded = np.full(elements + 4, 7, np.uint16)
    execute(FillWork(elements=elements), padded)
    assert not padded[:-4].any()
    assert (padded[-4:] == 7).all()


@pytest.mark.parametrize(("rows", "width"), [(7, 5), (197, 768), (3, 20_000)])
def test_slices_concatenations_and_gathers(rows, width):
    x = numbers(rows * (width + 3)).reshape(rows, width + 3)
    piece = MovementWork(runs=rows, run_elements=width, load_distance=2 * (width + 3))
    got = execute(piece, np.zeros((rows, width), np.uint16), **{"in": x})
    assert np.array_equal(got, x[:, :width])
    joined = MovementWork(runs=1, run_elements=rows * width, store_runs=rows, store_distance=2 * (width + 3))
    wide = np.full((rows, width + 3), 9, np.uint16)
    execute(joined, wide, **{"in": got})
    assert np.array_equal(wide[:, :width], got)
    assert (wide[:, width:] == 9).all()
    if 2 * width <= 16384:
        order = np.random.default_rng(3).integers(0, rows, 2 * rows + 1).astype(np.uint32)
        look_up = MovementWork(runs=order.size, run_elements=width, indexed=True)
        taken = execute(look_up, np.zeros((order.size, width), np.uint16), indices=order, **{"in": got})
        assert np.array_equal(taken, got[order])


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (5, 3), (197, 64), (64, 197), (768, 196), (33, 3000)])
def test_transpositions(rows, columns):
    x = numbers(rows * columns).reshape(rows, columns)
    work = MovementWork(runs=1, run_elements=x.size, transposed=True, rows=rows)
    assert np.array_equal(execute(work, np.zeros((columns, rows), np.uint16), **{"in": x}), x.T)
