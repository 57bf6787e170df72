"""The software activations run on values: the very instructions that the simulator prices."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812 - its usual name

from lanewise.config import FlexSfuConfig, MachineConfig
from lanewise.mapping.kernels.activations import ON_FLEX_SFU, REDUCED_ON_FLEX_SFU, SOFTWARE, activation
from lanewise.mapping.kernels.builder import VectorKernel
from lanewise.mapping.kernels.execute import execute_kernel
from lanewise.mapping.kernels.strips import best_kernel
from lanewise.models.functions import FUNCTIONS

BASELINE = MachineConfig().baseline()

# function: reference, interval, largest absolute error, mean squared error; both as measured, a few per cent up
CASES = {
    "exp": (torch.exp, (-10, 0.1), 5.5e-4, 3.3e-9),
    "sigmoid": (torch.sigmoid, (-8, 8), 7.1e-4, 4.4e-8),
    "silu": (F.silu, (-8, 8), 4.9e-3, 1.5e-6),
    "tanh": (torch.tanh, (-8, 8), 1.5e-3, 1.0e-7),
    "quick_gelu": (FUNCTIONS["quick_gelu"].torch, (-8, 8), 5.7e-3, 1.4e-6),
    "logsigmoid": (F.logsigmoid, (-8, 8), 2.1e-3, 3.8e-7),
    "mish": (F.mish, (-8, 8), 7.9e-3, 9.3e-6),
    "softplus": (F.softplus, (-8, 8), 2.0e-3, 3.8e-7),
    "erf": (torch.erf, (-8, 8), 1.0e-3, 7.0e-7),
    "gelu": (F.gelu, (-8, 8), 2.7e-3, 1.6e-7),
    "gelu_tanh": (lambda x: F.gelu(x, approximate="tanh"), (-8, 8), 2.7e-3, 2.0e-7),
    "gelu_derivative": (FUNCTIONS["gelu_derivative"].torch, (-8, 8), 1.1e-3, 4.3e-8),
    "gelu_tanh_derivative": (FUNCTIONS["gelu_tanh_derivative"].torch, (-8, 8), 1.1e-3, 9.5e-8),
    "silu_derivative": (FUNCTIONS["silu_derivative"].torch, (-8, 8), 3.7e-3, 7.4e-7),
    "hardswish": (F.hardswish, (-8, 8), 1.9e-3, 4.8e-8),
    "hardsigmoid": (F.hardsigmoid, (-8, 8), 3.4e-4, 7.1e-9),
    "elu": (F.elu, (-8, 8), 4.7e-4, 1.2e-8),
    "reciprocal": (torch.reciprocal, (0.1, 100), 4.0e-3, 4.7e-9),
    "rsqrt": (torch.rsqrt, (0.1, 100), 1.5e-3, 4.0e-9),
    "log": (torch.log, (0.01, 100), 4.6e-3, 1.4e-6),
    "sin": (torch.sin, (-100, 100), 1.1e-3, 7.0e-8),
    "cos": (torch.cos, (-100, 100), 1.1e-3, 7.0e-8),
    "relu": (F.relu, (-8, 8), 0.0, 0.0),
    "relu6": (F.relu6, (-8, 8), 0.0, 0.0),
}


def grid(name: str) -> np.ndarray:
    low, high = CASES[name][1]
    return np.linspace(low, high, 100_001).astype(np.float16)


def errors(name: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return y.astype(float) - CASES[name][0](torch.from_numpy(x.astype(float))).numpy()


def run_once(name: str, x: np.ndarray) -> np.ndarray:
    kernel = VectorKernel(config=BASELINE, vl=128)
    source = kernel.allocate()
    result = activation(kernel, name, source)
    return execute_kernel(kernel, {source.names[0]: x}, x.size)[result.names[0]].view(np.float16)


def test_every_function_has_a_case():
    assert set(CASES) == set(SOFTWARE)
    assert set(SOFTWARE) >= ON_FLEX_SFU


@pytest.mark.parametrize("name", CASES)
def test_error(name):
    x = grid(name)
    error = errors(name, x, run_once(name, x))
    assert np.abs(error).max() <= CASES[name][2]
    assert np.mean(error**2) <= CASES[name][3]


@pytest.mark.parametrize(
    "name", ["exp", "sigmoid", "silu", "tanh", "mish", "softplus", "erf", "gelu", "gelu_tanh", "elu"]
)
def test_far_from_the_bend_it_is_the_asymptote(name):
    x = np.array([-60000, -1000, -100, -20, 0.0, -0.0], np.float16)
    if name != "exp":
        x = np.append(x, np.array([20, 100, 1000, 60000], np.float16))
    error = errors(name, x, run_once(name, x))
    assert np.all(np.abs(error) <= 1e-3 + 2e-3 * np.abs(x.clip(0)))


KEEP_NAN = {"reciprocal", "rsqrt", "log", "sin", "cos", "hardswish"}


@pytest.mark.parametrize("name", CASES)
def test_nan(name):
    result = run_once(name, np.array([np.nan], np.float16))
    assert np.isnan(result[0]) == (name in KEEP_NAN)
    if name == "exp":
        assert result[0] == 0


@pytest.mark.parametrize("name", sorted(ON_FLEX_SFU))
def test_interleaved_and_scheduled_code_computes_the_same(name):
    def strip(kernel, _):
        value = kernel.load("@in")
        kernel.store("@out", activation(kernel, name, value))

    kernel = best_kernel(BASELINE, 1024, strip)
    strips = np.split(grid(name)[: 100 * kernel.ways], kernel.ways)
    memory = {"@in": list(strips)}
    execute_kernel(kernel, {}, 100, memory)
    expected = run_once(name, np.concatenate(strips))
    # strips may be stored in another order than loaded: each one's values are what counts
    got = np.sort(np.concatenate(memory["@out"]).view(np.float16))
    assert kernel.ways > 1 or name == "log"  # whose one strip is as fast
    assert np.array_equal(got.view(np.uint16), np.sort(expected).view(np.uint16))


@pytest.mark.parametrize("name", sorted(ON_FLEX_SFU - REDUCED_ON_FLEX_SFU))
def test_flex_sfu_is_one_instruction(name):
    kernel = VectorKernel(config=MachineConfig(), vl=128)
    activation(kernel, name, kernel.allocate())
    assert [i.opcode for i in kernel.code] == ["sfu.execute"]
    assert [i.opcode for i in kernel.setup] == ["dma.load", "sfu.breakpoints", "sfu.coefficients"]


@pytest.mark.parametrize("name", ["log", "sin", "cos"])
def test_software_is_relatively_accurate_for_every_operand(name):
    x = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    with np.errstate(all="ignore"):
        exact = CASES[name][0](torch.from_numpy(x.astype(float))).numpy()
    y = run_once(name, x).astype(float)
    assert np.array_equal(np.isnan(y), np.isnan(exact))
    assert np.array_equal(y[np.isinf(exact)], exact[np.isinf(exact)])
    normal = np.isfinite(exact) & (np.abs(exact) >= 2**-14)
    assert np.abs(y[normal] / exact[normal] - 1).max() <= 1.3e-3


@pytest.mark.parametrize(("segments", "looked_up"), [(8, 0), (16, 2)])
def test_exp_is_looked_up_where_the_table_has_room_for_its_two_factors(segments, looked_up):
    config = MachineConfig(flex_sfu=FlexSfuConfig(segments=segments))
    kernel = VectorKernel(config=config, vl=64)
    activation(kernel, "exp", kernel.allocate())
    assert [i.opcode for i in kernel.code].count("sfu.execute") == looked_up
