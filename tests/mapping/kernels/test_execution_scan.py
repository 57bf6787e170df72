"""Scans executed from external memory to external memory: the golden model's bits, the real result's neighbourhood, the roofline."""

from math import ceil

import numpy as np
import pytest

from lanewise.config import MachineConfig
from lanewise.mapping.functional import execute_program
from lanewise.mapping.kernels.price import price
from lanewise.mapping.kernels.scan import ScanWork
from lanewise.models.scan import OPERATORS, decay_powers, scan_along_rows, scan_over_time
from lanewise.sim.program import priced_only

SEED = 31
MACHINE = MachineConfig()
KINDS = {16: np.float16, 32: np.float32}


def tensors(work: ScanWork, special: bool = False) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(SEED)
    shape = (work.length, work.rows) if work.time_outermost else (work.rows, work.length)
    kind = KINDS[work.bits]
    memory = {"in": rng.normal(0, 1, shape).astype(kind)}
    if special:
        chosen = rng.random(shape) < 0.05
        numbers = np.array([0, -0.0, np.inf, -np.inf, np.nan, 6e-8, 65504], kind)
        memory["in"][chosen] = rng.choice(numbers, int(chosen.sum()))
    if work.operator == "linear":
        memory["factor"] = rng.uniform(0.5, 0.99, shape).astype(kind)
    layout = work.layout(MACHINE)
    if work.operator == "decay" and layout.broadcast:
        memory["powers"] = decay_powers(work.decay, layout.segment, kind)
    memory["out"] = np.full(shape, 77, kind)  # what is not stored is seen
    return memory


def golden(work: ScanWork, memory: dict[str, np.ndarray]) -> np.ndarray:
    more = {"decay": work.decay, "a": memory.get("factor")}
    if work.time_outermost:
        return scan_over_time(work.operator, memory["in"], **more)
    layout = work.layout(MACHINE)
    return scan_along_rows(
        work.operator, memory["in"], segment=layout.segment, broadcast=layout.broadcast, **more
    )


def real(work: ScanWork, memory: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """In float64, one step after the other; and of the magnitudes, which bounds the error."""
    x = memory["in"].astype(np.float64)
    axis = 0 if work.time_outermost else 1
    if work.operator == "maximum":
        return np.maximum.accumulate(x, axis=axis), np.zeros_like(x)
    decay = float(KINDS[work.bits](work.decay)) if work.operator == "decay" else 1.0
    a = memory["factor"].astype(np.float64) if work.operator == "linear" else np.full_like(x, decay)
    out, size = np.empty_like(x), np.empty_like(x)
    state = magnitude = np.zeros_like(x.take(0, axis=axis))
    for t in range(work.length):
        at = (t, slice(None)) if axis == 0 else (slice(None), t)
        state = a[at] * state + x[at]
        magnitude = a[at] * magnitude + abs(x[at])
        out[at], size[at] = state, magnitude
    return out, size


def run(work: ScanWork, memory: dict[str, np.ndarray]) -> np.ndarray:
    program = work.program(MACHINE)
    assert priced_only(program) == ()
    execute_program(program, MACHINE, memory)
    return memory["out"]


def assert_same(got: np.ndarray, wanted: np.ndarray) -> None:
    assert np.array_equal(np.isnan(got), np.isnan(wanted))
    unsigned = np.uint16 if got.dtype == np.float16 else np.uint32
    ok = ~np.isnan(wanted)
    assert np.array_equal(got[ok].view(unsigned), wanted[ok].view(unsigned))


SHAPES = [(1, 1), (1, 3), (1, 77), (1, 10_000), (3, 65), (5, 1001), (37, 130), (128, 515), (200, 1)]


@pytest.mark.parametrize("time_outermost", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("bits", [16, 32])
@pytest.mark.parametrize("operator", OPERATORS)
def test_bits_and_error(operator, bits, shape, time_outermost):
    work = ScanWork(
        operator=operator, rows=shape[0], length=shape[1], bits=bits, decay=0.9375, time_outermost=time_outermost
    )  # fmt: skip
    memory = tensors(work)
    got = run(work, memory)
    assert_same(got, golden(work, memory))
    wanted, magnitude = real(work, memory)
    # every element is a sum of products rounded at most once a step: of a chain in time, or of segments
    steps = work.length if time_outermost else ceil(work.length / work.layout(MACHINE).segment) + 16
    if operator in ("decay", "linear"):
        steps = min(steps, 300)  # what was long ago has decayed, its error with it
    unit = {16: 2.0**-11, 32: 2.0**-24}[bits]
    assert np.all(abs(got - wanted) <= 2 * steps * unit * magnitude + 1e-6 * (bits == 16))


@pytest.mark.parametrize("time_outermost", [False, True])
@pytest.mark.parametrize("operator", OPERATORS)
def test_special_values(operator, time_outermost):
    work = ScanWork(operator=operator, rows=70, length=19, decay=0.5, time_outermost=time_outermost)
    memory = tensors(work, special=True)
    assert_same(run(work, memory), golden(work, memory))


ROOFLINE = [
    ("sum", 16, 1, 100_000, False, 5.0), ("sum", 16, 128, 10_000, False, 2.8), ("sum", 32, 128, 10_000, False, 2.8),
    ("maximum", 16, 128, 10_000, False, 4.5), ("decay", 16, 128, 10_000, False, 2.8), ("linear", 16, 128, 10_000, False, 3.6),
    ("decay", 16, 512, 10_000, True, 1.3), ("linear", 32, 512, 10_000, True, 1.3), ("sum", 32, 64, 10_000, True, 1.5),
]  # fmt: skip


@pytest.mark.parametrize(("operator", "bits", "rows", "length", "time_outermost", "multiple"), ROOFLINE)
def test_clocks_near_the_roofline(operator, bits, rows, length, time_outermost, multiple):
    work = ScanWork(
        operator=operator, rows=rows, length=length, bits=bits, decay=0.9, time_outermost=time_outermost
    )
    accesses = 3 if operator == "linear" else 2
    bound = accesses * rows * length * bits / MACHINE.vector.bits_per_clk
    cycles = price(work.program(MACHINE), MACHINE).cycles
    print(work, work.layout(MACHINE), cycles, f"{cycles / rows / length:.4f}/element, {cycles / bound:.2f} x")
    assert bound <= cycles < multiple * bound


@pytest.mark.parametrize("time_outermost", [False, True])
@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("rows", [1, 40])
def test_assembles_and_is_legal(operator, rows, time_outermost, check_stream):
    work = ScanWork(
        operator=operator, rows=rows, length=100, bits=16, decay=0.9, time_outermost=time_outermost
    )
    check_stream(work.program(MACHINE), MACHINE)
