"""Transforms of columns executed from external memory to external memory: the golden model's bits, numpy.fft's neighbourhood, the roofline."""

import numpy as np
import pytest

from lanewise.config import MachineConfig
from lanewise.mapping.functional import execute_program
from lanewise.mapping.kernels.fft import FftWork
from lanewise.mapping.kernels.fft_columns import ColumnsFftWork
from lanewise.mapping.kernels.price import price
from lanewise.models.fft_columns import PARTS, Columns, operations, transform
from lanewise.models.recipe import KINDS
from lanewise.sim.program import priced_only

MACHINE = MachineConfig()
AXES = {"p": 0, "r": 1, "c": 2}
BOUND = {16: 2e-3, 32: 1.5e-7}
"""Of the error's Euclidean norm relative to the result's."""


def laid(x: np.ndarray, order: str) -> np.ndarray:
    """Planes, rows, columns in another order."""
    return np.ascontiguousarray(x.transpose([AXES[axis] for axis in order]))


def read(x: np.ndarray, order: str) -> np.ndarray:
    return x.transpose(np.argsort([AXES[axis] for axis in order]))


def run(work: ColumnsFftWork, given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """``given`` and the results as planes, rows, columns."""
    columns = work.columns
    planes = work.planes * (1 + (columns.split or columns.join))
    kind = KINDS[columns.bits]
    sources, results = dict(zip(PARTS, work.sources)), dict(zip(PARTS, work.results))
    memory = {name: laid(x, sources[name.partition(" ")[2] or "real"]) for name, x in given.items()}
    outputs = ["out"] if columns.join else [f"out {part}" for part in PARTS]
    rows = columns.results[0][1]
    orders = {name: results[name.partition(" ")[2] or "real"] for name in outputs}
    for name in outputs:
        memory[name] = laid(np.full((planes, rows, work.width), 77, kind), orders[name])
    program = work.program(MACHINE)
    assert priced_only(program) == ()
    execute_program(program, MACHINE, memory)
    return {name: read(memory[name], orders[name]) for name in outputs}


CASES = [
    ColumnsFftWork(columns=Columns(length=8), planes=2, width=70, sources=("pcr", "rpc"), results=("rpc", "pcr")),
    ColumnsFftWork(columns=Columns(length=16, bits=16), planes=2, width=7, sources=("cpr", "prc"), results=("rpc", "cpr")),
    ColumnsFftWork(columns=Columns(length=32, filled=16), planes=2, width=17, sources=("rpc", "pcr"), results=("rpc", "rpc")),
    ColumnsFftWork(columns=Columns(length=64, kept=32), planes=1, width=33, results=("cpr", "prc")),
    pytest.param(ColumnsFftWork(columns=Columns(length=128), planes=1, width=3), marks=pytest.mark.full),
]  # fmt: skip


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.full)])
@pytest.mark.parametrize("work", CASES)
def test_bits_and_error(work, seed):
    rng, columns = np.random.default_rng(seed), work.columns
    rows = columns.filled or columns.length
    given = {f"in {part}": rng.normal(size=(work.planes, rows, work.width)).astype(KINDS[columns.bits]) for part in PARTS}  # fmt: skip
    made = run(work, given)
    for plane in range(work.planes):
        golden = transform(columns, {name: x[plane] for name, x in given.items()})
        for name, wanted in golden.items():
            assert np.array_equal(made[name][plane], wanted)
    full = np.zeros((work.planes, columns.length, work.width), complex)
    full[:, :rows] = given["in real"].astype(float) + 1j * given["in imaginary"]
    exact = np.fft.fft(full, axis=1)[:, : columns.kept or columns.length]
    error = made["out real"].astype(float) + 1j * made["out imaginary"] - exact
    assert np.linalg.norm(error) < BOUND[columns.bits] * np.linalg.norm(exact)


@pytest.mark.parametrize("length", [16, pytest.param(32, marks=pytest.mark.full)])
def test_real_planes_there_and_back(length):
    rng = np.random.default_rng(3)
    there = ColumnsFftWork(
        columns=Columns(length=length, split=True), planes=2, width=20, sources=("rpc", "rpc"), results=("cpr", "prc")
    )  # fmt: skip
    x = rng.normal(size=(4, length, 20)).astype(np.float32)
    halves = run(there, {"in": x})
    exact = 2 * np.fft.rfft(x.astype(float), axis=1)
    error = halves["out real"] + 1j * halves["out imaginary"] - exact
    assert np.linalg.norm(error) < BOUND[32] * np.linalg.norm(exact)
    back = ColumnsFftWork(
        columns=Columns(length=length, join=True), planes=2, width=20, sources=("prc", "cpr"), results=("rpc", "rpc")
    )  # fmt: skip
    image = run(back, {f"in {part}": np.ascontiguousarray(halves[f"out {part}"]) for part in PARTS})["out"]
    mirrored = np.roll(image[:, ::-1], 1, 1) / (2 * length)
    assert np.abs(mirrored - x).max() < 2e-6


@pytest.mark.parametrize(("length", "bits", "multiple"), [(64, 32, 1.08), (64, 16, 1.12), (32, 32, 1.12)])
def test_clocks_near_the_multiply_adds(length, bits, multiple):
    work = ColumnsFftWork(columns=Columns(length=length, bits=bits), planes=4, width=64)
    bound = 4 * 64 * operations(work.columns) * bits / (32 * MACHINE.vector.lanes)
    cycles = price(work.program(MACHINE), MACHINE).cycles
    print(work, cycles, f"{cycles / (4 * 64 * length):.3f} an element, {cycles / bound:.3f} x")
    assert bound <= cycles < multiple * bound
    if bits == 32:
        rows = price(FftWork(batch=4 * 64, length=length).program(MACHINE), MACHINE).cycles
        assert cycles < 0.8 * rows


def test_turning_half_at_each_end_hides_behind_the_butterflies():
    straight = ColumnsFftWork(columns=Columns(length=64), planes=4, width=64)
    turned = ColumnsFftWork(columns=Columns(length=64), planes=4, width=64, sources=("rpc", "cpr"), results=("cpr", "rpc"))  # fmt: skip
    cycles = [price(work.program(MACHINE), MACHINE).cycles for work in (straight, turned)]
    assert cycles[1] < 1.12 * cycles[0]


@pytest.mark.parametrize("work", [CASES[1], CASES[2]], ids=["16", "32"])
def test_assembles_and_is_legal(work, check_stream):
    check_stream(work.program(MACHINE), MACHINE)


def test_what_is_refused():
    with pytest.raises(ValueError, match="length must be one of 8, 16, 32, 64, 128, 256, not 12"):
        Columns(length=12)
    with pytest.raises(ValueError, match="bits must be 16 or 32, not 8"):
        Columns(length=8, bits=8)
    with pytest.raises(ValueError, match="order must be one of prc, rpc, pcr, cpr, not 'rcp'"):
        ColumnsFftWork(columns=Columns(length=8), planes=1, width=1, sources=("prc", "rcp"))
    with pytest.raises(ValueError, match="orders of a real tensor must be one, not rpc and prc"):
        ColumnsFftWork(columns=Columns(length=8, split=True), planes=1, width=1, sources=("rpc", "prc"))
