"""Software division and square root run on values: within one unit in the last place everywhere, special cases exact."""

import numpy as np
import pytest

from lanewise.config import MachineConfig
from lanewise.mapping.kernels.builder import VectorKernel
from lanewise.mapping.kernels.epilogue import Step, emit_steps
from lanewise.mapping.kernels.execute import execute_kernel

SEED = 11
EVERY = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
SPECIAL = np.array(
    [0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, 2.0**-24, -(2.0**-24), 2.0**-14, 65504.0, -65504.0, 3.0],
    np.float16,
)


def run_step(step: Step, x: np.ndarray, other: np.ndarray | None = None) -> np.ndarray:
    kernel = VectorKernel(config=MachineConfig(), vl=64)
    source, second = kernel.allocate(), kernel.allocate()
    registers = {source.names[0]: x} | ({} if other is None else {second.names[0]: other})
    result = emit_steps(kernel, source, [step], {} if other is None else {0: second})
    return execute_kernel(kernel, registers, x.size)[result.names[0]].view(np.float16)


def check(got: np.ndarray, exact: np.ndarray) -> None:
    """``exact``: in float64, where an FP16 quotient or root is far from halfway between FP16 numbers or exactly there."""
    with np.errstate(over="ignore"):
        rounded = exact.astype(np.float16)
    assert np.array_equal(np.isnan(got), np.isnan(rounded))
    number = ~np.isnan(rounded)
    certain = number & (np.isinf(exact) | (exact == 0))
    assert np.array_equal(got[certain].view(np.uint16), rounded[certain].view(np.uint16))
    magnitude = [values[number].view(np.uint16).astype(int) & 0x7FFF for values in (got, rounded)]
    assert np.array_equal(np.signbit(got[number]), np.signbit(rounded[number]))
    assert np.all(np.abs(magnitude[0] - magnitude[1]) <= 1)
    assert np.count_nonzero(magnitude[0] != magnitude[1]) <= 0.05 * number.size


def divide(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        return x.astype(np.float64) / y.astype(np.float64)


def test_quotients():
    print(f"seed {SEED}")
    rng = np.random.default_rng(SEED)
    pairs = [rng.integers(0, 1 << 16, 2_000_000).astype(np.uint16).view(np.float16) for _ in range(2)]
    step = Step(function="divide", operand="tensor")
    check(run_step(step, *pairs), divide(*pairs))
    reverse = Step(function="reverse_divide", operand="tensor")
    check(run_step(reverse, pairs[1], pairs[0]), divide(*pairs))


@pytest.mark.parametrize("special", SPECIAL.tolist())
def test_special_cases_of_quotients_with_every_other_operand(special):
    same = np.full(EVERY.size, special, np.float16)
    step = Step(function="divide", operand="tensor")
    check(run_step(step, EVERY, same), divide(EVERY, same))
    check(run_step(step, same, EVERY), divide(same, EVERY))


@pytest.mark.parametrize("scalar", [*SPECIAL.tolist(), 8.0, 11.3, -0.1, 2.0**15, 6e-8])
@pytest.mark.parametrize("function", ["divide", "reverse_divide"])
def test_quotients_of_every_number_and_a_scalar(function, scalar):
    got = run_step(Step(function=function, operand="scalar", constant=scalar), EVERY)
    same = np.full(EVERY.size, scalar, np.float16)
    check(got, divide(EVERY, same) if function == "divide" else divide(same, EVERY))


def test_a_power_of_two_is_one_multiplication():
    kernel = VectorKernel(config=MachineConfig(), vl=64)
    emit_steps(kernel, kernel.allocate(), [Step(function="divide", operand="scalar", constant=8.0)], {})
    assert [(i.opcode, i.constant) for i in kernel.code] == [("vfmul.vf", 0.125)]


def test_the_square_root_of_every_number():
    with np.errstate(invalid="ignore"):
        check(run_step(Step(function="sqrt"), EVERY), np.sqrt(EVERY.astype(np.float64)))


def test_subtraction_the_other_way_round():
    x, y = SPECIAL[5:9], SPECIAL[8:4:-1]
    assert np.array_equal(run_step(Step(function="reverse_subtract", operand="tensor"), x, y), y - x)
