"""The software exp of FP32: its error, and that the compiled sweep and the golden vector machine have the executor's bits."""

import numpy as np
import pytest

from lanewise.config import MachineConfig
from lanewise.mapping.functional import execute_program
from lanewise.mapping.kernels.builder import STRIP, VectorKernel
from lanewise.mapping.kernels.execute import execute_kernel
from lanewise.mapping.kernels.exponential import software_exponential32
from lanewise.mapping.kernels.strips import best_kernel, load, store
from lanewise.sim.program import Address, Program, repeat
from lanewise.verify import fp32_sweep
from lanewise.verify.fp32_sweep import compiled, ulps

LARGEST = 1.6


def emitted():
    kernel = VectorKernel(config=MachineConfig().baseline(), vl=32)
    x = kernel.allocate(32)
    return kernel, x, software_exponential32(kernel, x)


def error(x, got):
    with np.errstate(all="ignore"):
        return np.abs(ulps(got, np.exp(x.view(np.float32).astype(np.float64)))).max()


def test_sample():
    kernel, source, result = emitted()
    assert len(kernel.code) + 1 <= 23
    x = np.arange(0, 1 << 32, 20011, dtype=np.uint64).astype(np.uint32)
    got = execute_kernel(kernel, {source.names[0]: x}, x.size)[result.names[0]].view(np.uint32)
    assert error(x, got) <= LARGEST
    run = compiled([*kernel.setup, *kernel.code], source.names[0], result.names[0])
    assert np.array_equal(run(x), got)


def operands() -> np.ndarray:
    """Every sign and exponent with fractions at both ends and between, infinities and NaNs so too; and neighbours of where something changes."""
    rng = np.random.default_rng(32)
    fractions = [0, 1, (1 << 22) - 1, 1 << 22, (1 << 23) - 2, (1 << 23) - 1, *rng.integers(0, 1 << 23, 4)]
    every = (np.arange(512, dtype=np.uint32)[:, None] << 23) | np.array(fractions, np.uint32)
    halves = np.arange(-80, 70) * 2 * np.log(2)
    limits = [
        126 * np.log(2),
        128 * np.log(2),
        -126 * np.log(2),
        -149 * np.log(2),
        -150 * np.log(2),
        131 * np.log(2),
    ]
    places = np.array([*halves, *(halves + np.log(2)), *limits], np.float32).view(np.uint32)
    near = places[:, None] + np.arange(-4, 5, dtype=np.int64)
    return np.concatenate([every.ravel(), near.astype(np.uint32).ravel()])


@pytest.mark.parametrize("scheduled", [False, True])
def test_golden_machine_has_the_bits(scheduled):
    def strip(kernel, _):
        source = kernel.load("@in", sew_bits=32)
        kernel.store("@out", software_exponential32(kernel, source), sew_bits=32)

    x = operands()
    x = np.resize(x, -(-x.size // 1024) * 1024)
    config = MachineConfig().baseline()
    if scheduled:
        kernel = best_kernel(config, x.size, strip, widest_bits=32)
        assert kernel.ways > 1
    else:
        kernel = VectorKernel(config=config, vl=32)
        strip(kernel, [])
    assert x.size % (kernel.vl * kernel.ways) == 0
    body = (
        load("@in", 1, x.nbytes, external=Address("x")), *kernel.setup, *repeat(kernel.strips(x.size), *kernel.code, index=STRIP),
        store("@out", 1, x.nbytes, external=Address("y")),
    )  # fmt: skip
    memory = {"x": x, "y": np.full(x.size, 0xA5A5A5A5, np.uint32)}
    execute_program(Program(body=body, buffers_bytes={"@in": x.nbytes, "@out": x.nbytes}), config, memory)
    single, source, result = emitted()
    expected = execute_kernel(single, {source.names[0]: x}, x.size)[result.names[0]].view(np.uint32)
    assert np.array_equal(memory["y"], expected)
    assert error(x, expected) <= LARGEST


def test_the_sweep_counts_what_is_wrong(monkeypatch):
    *_, right = fp32_sweep.sweep("exp", 1 << 12).splitlines()  # results are 1, to less than half a unit
    assert right.split(" | ")[3:] == ["0 (0.0000%)", "0 (0.000%) |"]
    wrong = {"exp": (software_exponential32, lambda x: np.exp(x) * (1 + 3 * 2.0**-23))}
    monkeypatch.setattr(fp32_sweep, "KERNELS", wrong)
    *_, row = fp32_sweep.sweep("exp", 1 << 12).splitlines()
    assert row.split(" | ")[1] == "3.0000"
    assert row.split(" | ")[3:] == ["4,096 (100.0000%)", "4,096 (100.000%) |"]


@pytest.mark.full
def test_every_operand():
    kernel, source, result = emitted()
    run = compiled([*kernel.setup, *kernel.code], source.names[0], result.names[0])
    for start in range(0, 1 << 32, 1 << 22):
        x = np.arange(start, start + (1 << 22), dtype=np.uint64).astype(np.uint32)
        assert error(x, run(x)) <= LARGEST
