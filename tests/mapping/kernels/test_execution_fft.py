"""Fourier transforms executed from external memory to external memory: the golden model's bits, numpy.fft's neighbourhood, the roofline."""

import numpy as np
import pytest

from lanewise.config import MachineConfig
from lanewise.mapping.functional import execute_program
from lanewise.mapping.kernels.fft import FftWork
from lanewise.mapping.kernels.price import price
from lanewise.models.fft import LENGTHS, fft, stages, twiddle_table
from lanewise.sim.program import priced_only

SEED = 41
MACHINE = MachineConfig()
BOUND = 1.5e-7
"""Of the error's Euclidean norm relative to the result's."""


def values(work: FftWork, special: bool = False) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(SEED)
    shape = work.batch, work.length
    memory = {name: rng.normal(0, 1, shape).astype(np.float32) for name in ("real", "imaginary")}
    if special:
        for x in memory.values():
            chosen = rng.random(shape) < 0.03
            x[chosen] = rng.choice(
                np.array([0, -0.0, np.inf, np.nan, 1e-42, 3e38], np.float32), int(chosen.sum())
            )
    return memory


def run(work: FftWork, memory: dict[str, np.ndarray], config: MachineConfig = MACHINE) -> list[np.ndarray]:
    program = work.program(config)
    assert priced_only(program) == ()
    made = {
        f"out {name}": np.full((work.batch, work.length), 77, np.float32) for name in ("real", "imaginary")
    }
    execute_program(program, config, memory | made | {"twiddles": twiddle_table(work.length)})
    return list(made.values())


def assert_same(got: np.ndarray, wanted: np.ndarray) -> None:
    nan = np.isnan(wanted)
    assert np.array_equal(np.isnan(got), nan)
    assert np.array_equal(got[~nan].view(np.uint32), wanted[~nan].view(np.uint32))


SHAPES = [
    *((1, length) for length in LENGTHS),
    (3, 8),
    (130, 8),
    (5, 16),
    (9, 32),
    (40, 64),
    (19, 256),
    (16, 512),
]


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_bits_and_error(shape, inverse):
    work = FftWork(batch=shape[0], length=shape[1], inverse=inverse)
    memory = values(work)
    got = run(work, memory)
    golden = fft(memory["real"], memory["imaginary"], inverse=inverse)
    for part, wanted in zip(got, golden, strict=True):
        assert_same(part, wanted)
    exact = (np.fft.ifft if inverse else np.fft.fft)(
        memory["real"].astype(np.float64) + 1j * memory["imaginary"]
    )
    error = got[0].astype(np.float64) + 1j * got[1] - exact
    assert np.linalg.norm(error) < BOUND * np.linalg.norm(exact)


@pytest.mark.parametrize("batch", [1, 40])
def test_special_values(batch):
    work = FftWork(batch=batch, length=128)
    memory = values(work, special=True)
    for part, wanted in zip(run(work, memory), fft(memory["real"], memory["imaginary"]), strict=True):
        assert_same(part, wanted)


def test_the_inverse_gives_back_what_was_transformed():
    memory = values(FftWork(batch=10, length=256))
    there = run(FftWork(batch=10, length=256), memory)
    back = run(FftWork(batch=10, length=256, inverse=True), {"real": there[0], "imaginary": there[1]})
    for part, name in zip(back, ("real", "imaginary"), strict=True):
        assert np.abs(part - memory[name]).max() < 2e-6


def bound_clk(work: FftWork) -> float:
    """What the multiply-adds, or the vectors' loads and stores, take at least."""
    words = work.batch * work.length / MACHINE.vector.lanes
    arithmetic = {2: 2.0, 4: 4.0}
    adds = sum(arithmetic[stage.radix] + 3.0 * stage.twiddled for stage in stages(work.length))
    return words * max(adds, 4 * len(stages(work.length)))


ROOFLINE = [(1, 1024, 3.0), (4, 4096, 2.6), (64, 64, 2.3), (256, 64, 1.8), (64, 256, 2.0), (256, 16, 2.6)]


@pytest.mark.parametrize(("batch", "length", "multiple"), ROOFLINE)
def test_clocks_near_the_roofline(batch, length, multiple):
    work = FftWork(batch=batch, length=length)
    cycles, bound = price(work.program(MACHINE), MACHINE).cycles, bound_clk(work)
    print(work, work.side(MACHINE), cycles, f"{cycles / batch / length:.3f}/element, {cycles / bound:.2f} x")
    assert bound <= cycles < multiple * bound


@pytest.mark.parametrize("shape", [(1, 8), (2, 64), (40, 64), (40, 128)])
def test_assembles_and_is_legal(shape, check_stream):
    check_stream(FftWork(batch=shape[0], length=shape[1]).program(MACHINE), MACHINE)


def test_other_lengths_are_refused():
    for length in (4, 12, 8192):
        with pytest.raises(ValueError, match="length must be a power of two from 8 to 4096"):
            FftWork(batch=1, length=length)
