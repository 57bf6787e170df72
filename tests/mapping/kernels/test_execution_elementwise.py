"""Element-wise Programs executed from external memory to external memory: every step, every output."""

from functools import cache

import numpy as np
import pytest

from lanewise.config import MachineConfig, MatrixConfig
from lanewise.mapping.functional import execute_program, table_tensor
from lanewise.mapping.kernels.activations import ON_FLEX_SFU, REDUCED_ON_FLEX_SFU, SOFTWARE, activation
from lanewise.mapping.kernels.builder import VectorKernel
from lanewise.mapping.kernels.elementwise import CHUNK_ELEMENTS, ElementwiseWork
from lanewise.mapping.kernels.epilogue import Step, emit_steps, knows
from lanewise.mapping.kernels.execute import execute_kernel
from lanewise.models.fit import fit
from lanewise.models.flex_sfu import flex_sfu
from lanewise.models.reduction import reduced
from lanewise.models.reduction_tables import reduction_table
from lanewise.sim.program import priced_only

SEED = 21
MACHINE = MachineConfig()
BASELINE = MACHINE.baseline()
SPECIAL = np.array(
    [0.0, -0.0, np.inf, -np.inf, np.nan, 0.5, -0.5, 1.5, 2.5, -2.5, 1023.5, -1023.5, 1024, 40000, 65504, -65504, 6e-8, 1.0, -1.0],
    np.float16,
)  # fmt: skip


def values(elements: int, seed: int = SEED) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 4, elements).astype(np.float16)
    x[: min(elements, SPECIAL.size)] = SPECIAL[:elements]
    return x


def execute(work: ElementwiseWork, config: MachineConfig = MACHINE, **tensors: np.ndarray) -> dict:
    program = work.program(config)
    assert priced_only(program) == ()
    memory = dict(tensors)
    for form in work.outputs:
        bits = 16 if form == "fp16" else config.matrix.operand_bits
        size = -(-work.elements * bits // 8)
        memory[form] = np.full(size, 0xA5, np.uint8)  # what is not stored is seen
    names = {i.external.base for i in program.body if getattr(i, "external", None) is not None}
    for name in names:
        if name.startswith("table "):
            memory[name] = table_tensor(config.flex_sfu, table(name.removeprefix("table ")))
    execute_program(program, config, memory)
    return memory


def run(steps: tuple[Step, ...], x: np.ndarray, config: MachineConfig = MACHINE, **tensors) -> np.ndarray:
    work = ElementwiseWork(elements=x.size, steps=steps)
    return execute(work, config, **({"in": x} | tensors))["fp16"].view(np.float16)


@cache
def table(name: str):
    if name.startswith("reduced "):
        return reduction_table(name.removeprefix("reduced "))
    return fit(name, segments=32).table()


def assert_same(got: np.ndarray, wanted: np.ndarray) -> None:
    wanted = wanted.astype(np.float16)
    nan = np.isnan(wanted)
    assert np.array_equal(np.isnan(got), nan)
    assert np.array_equal(got[~nan].view(np.uint16), wanted[~nan].view(np.uint16))


def truth(condition: np.ndarray) -> np.ndarray:
    return condition.astype(np.float16)


UNARY = {
    "negate": lambda x: -x,
    "abs": np.abs,
    "square": lambda x: x * x,
    "cube": lambda x: x * (x * x),
    "round": np.rint,
    "floor": np.floor,
    "ceil": np.ceil,
    "trunc": np.trunc,
    "nan": lambda x: truth(np.isnan(x)),
    "infinite": lambda x: truth(np.isinf(x)),
    "relu": lambda x: np.where(np.isnan(x), np.float16(0), np.maximum(x, np.float16(0))),
}


@pytest.mark.parametrize("elements", [5, 1000, 2 * CHUNK_ELEMENTS + 777])
@pytest.mark.parametrize("function", UNARY)
def test_unary_steps(function, elements):
    x = values(elements)
    with np.errstate(all="ignore"):
        wanted = UNARY[function](x)
    if function == "relu":
        wanted = np.where(x == 0, np.float16(0), wanted)
    assert_same(run((Step(function=function),), x), wanted)


BINARY = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "reverse_subtract": lambda x, y: y - x,
    "equal": lambda x, y: truth(x == y),
    "not_equal": lambda x, y: truth(x != y),
    "less": lambda x, y: truth(x < y),
    "less_equal": lambda x, y: truth(x <= y),
    "greater": lambda x, y: truth(x > y),
    "greater_equal": lambda x, y: truth(x >= y),
}


@pytest.mark.parametrize("operand", ["tensor", "channel", "scalar"])
@pytest.mark.parametrize("function", BINARY)
def test_binary_steps(function, operand):
    x = values(CHUNK_ELEMENTS + 1001)
    number = np.float16(1.5)
    if operand == "scalar":
        y, tensors = np.full(x.shape, number), {}
    elif operand == "tensor":
        y = values(x.size, SEED + 1)
        y[::7] = x[::7]
        tensors = {"operand0": y}
    else:
        y = np.resize(np.resize(values(64, SEED + 1), CHUNK_ELEMENTS), x.size)
        tensors = {"operand0": y[:CHUNK_ELEMENTS].copy()}
    step = Step(function=function, operand=operand, constant=float(number) if operand == "scalar" else 0.0)
    with np.errstate(all="ignore"):
        assert_same(run((step,), x, **tensors), BINARY[function](x, y))


@pytest.mark.parametrize("function", ["maximum", "minimum"])
def test_extremes_are_the_number_s_where_one_is_nan(function):
    x, y = values(3000), values(3000, SEED + 1)
    y[4], y[0:2] = 1.0, (0.5, 0.5)
    wanted = {"maximum": np.fmax, "minimum": np.fmin}[function](x, y)
    assert_same(run((Step(function=function, operand="tensor"),), x, operand0=y), wanted)


def test_clamp_has_both_bounds_and_leaky_relu_its_slope():
    x = np.nan_to_num(values(3000), nan=3.0, posinf=9.0, neginf=-9.0)
    clamp = Step(function="clamp", constant=-1.5, maximum=2.25)
    assert_same(run((clamp,), x), np.clip(x, np.float16(-1.5), np.float16(2.25)))
    for slope in (0.1, 1.5):
        with np.errstate(over="ignore"):
            scaled = x * np.float16(slope)
        step = Step(function="leaky_relu", constant=slope)
        assert_same(run((step,), x), np.where(x > 0, x, scaled))


@pytest.mark.parametrize("exponent", [1.0, 2.0, 3.0])
def test_powers(exponent):
    x = values(2000)
    with np.errstate(all="ignore"):
        wanted = {1.0: x, 2.0: x * x, 3.0: x * (x * x)}[exponent]
    assert_same(run((Step(function="pow", operand="scalar", constant=exponent),), x), wanted)


@pytest.mark.parametrize("function", ["logical_and", "logical_or", "logical_xor", "logical_not"])
def test_logic_of_truth_values(function):
    rng = np.random.default_rng(SEED)
    a, b = rng.integers(0, 2, (2, 2500)).astype(bool)
    if function == "logical_not":
        assert_same(run((Step(function=function),), truth(a)), truth(~a))
        return
    step = Step(function=function, operand="tensor")
    assert_same(run((step,), truth(a), operand0=truth(b)), truth(getattr(np, function)(a, b)))


@pytest.mark.parametrize("own", ["condition", "true", "false"])
@pytest.mark.parametrize("number", [None, "true", "false"])
def test_selections(own, number):
    if own == number:
        pytest.skip("a number is in no register")
    rng = np.random.default_rng(SEED)
    condition = truth(rng.integers(0, 2, 2500))
    branches = {"true": values(2500), "false": values(2500, SEED + 1)}
    if number:
        branches[number] = np.full(2500, np.float16(-7))
    wanted = np.where(condition != 0, branches["true"], branches["false"])

    def step(function, name, place):
        if name == number:
            return Step(function=function, operand="scalar", constant=-7.0), {}
        return Step(function=function, operand="tensor"), {f"operand{place}": branches[name]}

    if own == "condition":
        first, more = step("set", "true", 1)
        second, most = step("merge", "false", 2)
        steps, x, tensors = (Step(function="mask_not"), first, second), condition, more | most
    else:
        other = {"true": "false", "false": "true"}[own]
        merge, tensors = step("merge", other, 1)
        mask = Step(function="mask_not" if own == "true" else "mask", operand="tensor")
        steps, x, tensors = (mask, merge), branches[own], tensors | {"operand0": condition}
    assert_same(run(steps, x, **tensors), wanted)


def golden_software(step: Step, x: np.ndarray, other: np.ndarray | None = None) -> np.ndarray:
    """The same instructions by ``models.vector``, which knows no registers, no strips and no memory."""
    kernel = VectorKernel(config=BASELINE, vl=64)
    source, second = kernel.allocate(), kernel.allocate()
    registers = {source.names[0]: x} | ({} if other is None else {second.names[0]: other})
    result = emit_steps(kernel, source, [step], {} if other is None else {0: second})
    return execute_kernel(kernel, registers, x.size)[result.names[0]].view(np.float16)


@pytest.mark.parametrize("function", sorted(set(SOFTWARE) | {"sqrt"}))
def test_software_functions(function):
    x = np.abs(values(5000)) if function in ("sqrt", "rsqrt", "reciprocal", "log") else values(5000)
    x = x[SPECIAL.size :]
    step = Step(function=function)
    assert_same(run((step,), x, BASELINE), golden_software(step, x))


@pytest.mark.parametrize("function", ["divide", "reverse_divide"])
@pytest.mark.parametrize("operand", ["tensor", "scalar"])
def test_divisions(function, operand):
    x, y = values(3000), values(3000, SEED + 1)
    step = Step(function=function, operand=operand, constant=3.0 if operand == "scalar" else 0.0)
    other = {"operand0": y} if operand == "tensor" else {}
    golden = golden_software(step, x, y if operand == "tensor" else None)
    assert_same(run((step,), x, **other), golden)
    y = y if operand == "tensor" else np.float16(3)
    with np.errstate(all="ignore"):
        exact = (x / y if function == "divide" else y / x).astype(np.float16)
    assert np.array_equal(np.isnan(golden), np.isnan(exact))
    ok = np.isfinite(exact)
    assert np.abs(golden[ok].view(np.int16).astype(int) - exact[ok].view(np.int16)).max() <= 1


@pytest.mark.parametrize(
    "function", sorted(ON_FLEX_SFU - {"gelu_derivative", "gelu_tanh_derivative", "silu_derivative"})
)
def test_functions_on_flex_sfu(function):
    x = values(5000)
    x = np.nan_to_num(x, nan=1.0)
    x = np.abs(x) if function == "log" else x
    if function in REDUCED_ON_FLEX_SFU:
        golden = reduced(function, x.view(np.uint16), table(f"reduced {function}"))
    else:
        golden = flex_sfu(x.view(np.uint16), table(function))
    assert_same(run((Step(function=function),), x), golden.view(np.float16))


def quantised(x: np.ndarray, inverse_step: float, bits: int) -> np.ndarray:
    """Round to the nearest multiple, ties to even, saturate; two INT4 to a byte, the first in the lower half."""
    with np.errstate(over="ignore"):
        scaled = np.nan_to_num(x * np.float16(inverse_step), nan=1e6, posinf=1e6, neginf=-1e6)
    limit = 1 << (bits - 1)
    numbers = np.clip(np.rint(scaled.astype(float)), -limit, limit - 1).astype(int) & (1 << bits) - 1
    if bits == 8:
        return numbers.astype(np.uint8)
    numbers = np.resize(np.append(numbers, 0), numbers.size + numbers.size % 2)
    return (numbers[::2] | numbers[1::2] << 4).astype(np.uint8)


@pytest.mark.parametrize("elements", [1, 999, 1000, CHUNK_ELEMENTS + 10])
@pytest.mark.parametrize("bits", [4, 8])
def test_quantised_outputs(elements, bits):
    config = MachineConfig(matrix=MatrixConfig(operand_bits=bits))
    x = values(elements)
    work = ElementwiseWork(
        elements=elements, steps=(Step(function="negate"),), outputs=("fp16", "quantised"), inverse_step=1.75
    )
    made = execute(work, config, **{"in": x})
    assert_same(made["fp16"].view(np.float16), -x)
    wanted = quantised(-x, 1.75, bits)
    if elements % 2 and bits == 4:
        made["quantised"][-1] &= 15
        wanted[-1] &= 15
    assert np.array_equal(made["quantised"], wanted)


def test_chains_with_several_operands():
    x, y, z = (values(CHUNK_ELEMENTS * 2 + 5, SEED + i) for i in range(3))
    x, y, z = (np.nan_to_num(v, nan=0, posinf=3, neginf=-3) for v in (x, y, z))
    steps = (
        Step(function="add", operand="tensor"),
        Step(function="relu"),
        Step(function="multiply", operand="tensor"),
        Step(function="multiply", operand="scalar", constant=0.25),
    )
    with np.errstate(over="ignore"):
        wanted = (np.maximum(x + y, np.float16(0)) + np.float16(0)) * z * np.float16(0.25)
    assert_same(run(steps, x, operand0=y, operand2=z), wanted)


def test_everything_known_is_a_step():
    assert not knows(Step(function="acosh"))
    assert not knows(Step(function="pow", operand="scalar", constant=2.5))
    assert all(knows(Step(function=name)) for name in UNARY)
    assert all(knows(Step(function=name, operand="tensor")) for name in BINARY)


def test_nothing_is_executed_beyond_a_tensor():
    work = ElementwiseWork(elements=5000)
    program = work.program(MACHINE)
    short = {"in": np.zeros(4999, np.float16), "fp16": np.zeros(5000, np.float16)}
    with pytest.raises(ValueError, match="'in' are beyond its 9998 bytes"):
        execute_program(program, MACHINE, short)


def test_the_kernel_s_own_activation_is_what_is_executed():
    kernel = VectorKernel(config=BASELINE, vl=64)
    activation(kernel, "gelu", kernel.allocate())
    assert all(instruction.vd is not None for instruction in (*kernel.setup, *kernel.code))
