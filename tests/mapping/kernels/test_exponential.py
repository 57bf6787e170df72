"""The software exp of FP32: its error and that the compiled sweep has the executor's bits."""

import numpy as np
import pytest

from lanewise.config import MachineConfig
from lanewise.mapping.kernels.builder import VectorKernel
from lanewise.mapping.kernels.execute import execute_kernel
from lanewise.mapping.kernels.exponential import software_exponential32
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


@pytest.mark.full
def test_every_operand():
    kernel, source, result = emitted()
    run = compiled([*kernel.setup, *kernel.code], source.names[0], result.names[0])
    for start in range(0, 1 << 32, 1 << 22):
        x = np.arange(start, start + (1 << 22), dtype=np.uint64).astype(np.uint32)
        assert error(x, run(x)) <= LARGEST
