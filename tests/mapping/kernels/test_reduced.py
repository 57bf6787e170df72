"""The kernels' instructions give the golden model's bits."""

from dataclasses import replace

import numpy as np
import pytest

from lanewise.config import FlexSfuConfig, MachineConfig
from lanewise.formats import FORMATS
from lanewise.mapping.kernels.builder import VectorKernel
from lanewise.mapping.kernels.execute import execute_kernel
from lanewise.mapping.kernels.reduced import (
    REDUCED_KERNELS,
    REDUCED_KERNELS_32,
    normal_reciprocal,
    normal_rsqrt,
)
from lanewise.mapping.kernels.schedule import schedule
from lanewise.models import reduction
from lanewise.models.numbers import decode
from lanewise.models.reduction import REDUCED, reduced
from lanewise.models.reduction_tables import reduction_table

SEED = 11
EVERY = np.arange(1 << 16, dtype=np.uint16)


def machine(segments=32, double_buffered=False, formats=("fp16", "fp32")):
    sfu = FlexSfuConfig(segments=segments, double_buffered=double_buffered, formats=formats)
    return replace(MachineConfig(), flex_sfu=sfu)


def run_kernel(emit, function, x, table, scheduled=False):
    """The results' bits; checks that the operand is not destroyed."""
    bits = table.form.bits
    kernel = VectorKernel(config=machine(table.segments), vl=64)
    source = kernel.allocate(bits)
    used = set(kernel.used)
    result = emit(kernel, source)
    strips = (
        kernel.used - used - {r for g in kernel.splats.values() for r in range(g.first, g.first + g.length)}
    )
    assert strips == set(range(result.first, result.first + result.length))  # all else is given back
    if scheduled:
        kernel.code = schedule(kernel.code, kernel.config)
    name = "reduced sin" if function == "cos" else f"reduced {function}"
    state = execute_kernel(kernel, {source.names[0]: x}, x.size, tables={name: table})
    assert np.array_equal(state[source.names[0]], x)
    return state[result.names[0]].view(x.dtype)


@pytest.mark.parametrize("scheduled", [False, True])
@pytest.mark.parametrize("segments", [16, 32, 64])
@pytest.mark.parametrize("function", REDUCED)
def test_fp16_kernels_give_the_golden_bits(function, segments, scheduled):
    table = reduction_table(function, segments=segments)
    got = run_kernel(REDUCED_KERNELS[function], function, EVERY, table, scheduled)
    assert np.array_equal(got, reduced(function, EVERY, table))


@pytest.mark.parametrize("function", REDUCED_KERNELS_32)
def test_fp32_kernels_give_the_golden_bits(function):
    rng = np.random.default_rng(SEED)
    x = rng.integers(0, 1 << 32, 5000, dtype=np.uint32)
    corners = np.array(
        [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45, 1e-39, 1.0, -1.0, 88.7, -87, 1e5], np.float32
    )
    x = np.concatenate(
        [x, corners.view(np.uint32), rng.normal(0, 30, 5000).astype(np.float32).view(np.uint32)]
    )
    table = reduction_table(function, format="fp32")
    got = run_kernel(REDUCED_KERNELS_32[function], function, x, table)
    assert np.array_equal(got, reduced(function, x, table))


@pytest.mark.parametrize("format", ["fp16", "fp32"])
@pytest.mark.parametrize("emit", [normal_reciprocal, normal_rsqrt])
def test_short_forms_give_the_golden_bits(emit, format):
    function = emit.__name__.removeprefix("normal_")
    form = FORMATS[format]
    x = np.random.default_rng(SEED).integers(0, 1 << form.bits, 4000).astype(f"uint{form.bits}")
    table = reduction_table(function, format=format)
    got = run_kernel(lambda kernel, source: emit(kernel, source, form.bits), function, x, table)
    assert np.array_equal(got, getattr(reduction, emit.__name__)(x, table))


def test_exp_needs_no_clamp_of_its_operand_anywhere():
    table = reduction_table("exp")
    x = decode(EVERY, FORMATS["fp16"])
    y = run_kernel(REDUCED_KERNELS["exp"], "exp", EVERY, table).view(np.float16)
    assert np.all(y[x < -17.5] == 0)
    assert np.all(np.isposinf(y[x >= 11.11]))


def test_two_functions_need_two_tables():
    kernel = VectorKernel(config=machine(double_buffered=True), vl=64)
    x = kernel.allocate()
    REDUCED_KERNELS["exp"](kernel, x)
    REDUCED_KERNELS["log"](kernel, x)
    loads = [(i.opcode, *i.reads, *i.writes) for i in kernel.setup if "table" in i.writes[0]]
    assert loads == [
        part
        for i in "01"
        for part in (
            ("dma.load", f"@table.{i}"),
            ("sfu.breakpoints", f"@table.{i}", f"sfu.table.{i}"),
            ("sfu.coefficients", f"@table.{i}", f"sfu.table.{i}"),
        )
    ]
    used = [i.reads[-1] for i in kernel.code if i.opcode == "sfu.execute"]
    assert used == ["sfu.table.0", "sfu.table.0", "sfu.table.1"]
    message = "function must be 'reduced exp' or 'reduced log', what the unit's tables hold, not 'gelu'"
    with pytest.raises(ValueError, match=message):
        kernel.load_table("gelu")
    single = VectorKernel(config=machine(), vl=64)
    single.load_table("gelu")
    with pytest.raises(ValueError, match="function must be 'gelu', what the unit's tables hold, not 'exp'"):
        single.load_table("exp")


def test_two_functions_on_two_tables_compute_both():
    kernel = VectorKernel(config=machine(double_buffered=True), vl=64)
    x = kernel.allocate()
    logarithm = REDUCED_KERNELS["log"](kernel, x)
    result = REDUCED_KERNELS["exp"](kernel, logarithm)
    tables = {f"reduced {name}": reduction_table(name) for name in ("exp", "log")}
    state = execute_kernel(kernel, {x.names[0]: EVERY}, EVERY.size, tables=tables)
    expected = reduced("exp", reduced("log", EVERY, tables["reduced log"]), tables["reduced exp"])
    assert np.array_equal(state[result.names[0]].view(np.uint16), expected)
