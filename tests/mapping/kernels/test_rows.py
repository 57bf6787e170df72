"""Row kernels run on values: softmax and norms give the bits of the golden models."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from lanewise.config import FlexSfuConfig, MachineConfig
from lanewise.mapping.kernels import rows as kernels
from lanewise.mapping.kernels.builder import VectorKernel
from lanewise.mapping.kernels.execute import execute_kernel
from lanewise.mapping.kernels.long_row import LongRow
from lanewise.mapping.kernels.price import price
from lanewise.mapping.kernels.row import RowKernel
from lanewise.mapping.kernels.rows import RowsWork
from lanewise.mapping.kernels.schedule import schedule
from lanewise.models.fit import fit
from lanewise.models.flex_sfu import flex_sfu
from lanewise.models.reduction import reduced
from lanewise.models.reduction_tables import reduction_table
from lanewise.models.rows import layer_norm_bits, rms_norm_bits, softmax_bits
from lanewise.sim.program import Instruction, Loop

SEED = 5
MACHINE = MachineConfig()
LENGTHS = [1, 2, 63, 64, 197, 384, 511, 512, 640, 768, 1024, 4096]


@cache
def table(name):
    return fit("exp", segments=32).table() if name == "exp" else reduction_table("exp_nonpositive")


class Tables(dict):
    """Made when they are wanted."""

    def __missing__(self, name):
        return table(name)


def row(length):
    x = np.random.default_rng(SEED).normal(0, 3, length).astype(np.float16)
    x[length // 2] = 300  # its square is beyond FP16
    return x.view(np.uint16)


def unrolled(nodes):
    for node in nodes:
        if isinstance(node, Loop):
            for _ in range(node.count):
                yield from unrolled(node.body)
        elif isinstance(node, Instruction):
            yield node


def execute_row(work, config, x, affine):
    """The row's result by the instructions of the kernel that the simulator prices."""
    if 16 * work.length <= 8 * config.vector.vlen_bits:
        kernel = VectorKernel(config=config, vl=work.length)
        RowKernel(work, kernel, ()).emit()
        kernel.code = schedule(kernel.code, config)
        step = work.length
    else:
        long_row = LongRow(work, config)
        nodes = long_row.emit()
        kernel, step = long_row.kernel, long_row.kernel.vl
        assert work.length % step == 0  # a shorter strip is priced as a whole one, so it cannot be run
        kernel.code = list(unrolled(nodes))
    strips = np.split(x, range(step, work.length, step))
    passes = 1 if step == work.length else 2
    weights = {
        name: np.split(numbers, range(step, work.length, step)) for name, numbers in zip(work.weights, affine)
    }
    memory = {"@in.0": strips * passes, **weights}
    if work.function == "rms_norm" and passes == 2:
        memory["@in.0"] = strips
    execute_kernel(kernel, {}, kernel.vl, memory, Tables())
    assert not memory["@in.0"]
    return np.concatenate(memory["@fp16.0"]).view(np.uint16)


@pytest.mark.parametrize(
    ("length", "exponential"),
    [(length, kind) for length in LENGTHS for kind in ("reduced", "direct")]
    + [(length, "software") for length in LENGTHS if length < 150 or length > 512],
)
def test_softmax(length, exponential):
    x = row(length)
    x[0] = 0xFC00 if length > 1 else x[0]  # masked
    config = MACHINE
    if exponential == "reduced":
        golden = softmax_bits(x, lambda d: reduced("exp_nonpositive", d, table("reduced exp_nonpositive")))
    elif exponential == "direct":
        golden = softmax_bits(x, lambda d: flex_sfu(d, table("exp")))
    else:
        config = MACHINE.baseline()
        golden = None
    work = RowsWork(
        function="softmax",
        rows=1,
        length=length,
        exponential="direct" if exponential == "direct" else "reduced",
    )
    got = execute_row(work, config, x, ())
    values = got.view(np.float16).astype(float)
    if golden is not None:
        assert np.array_equal(got, golden)
    exact = np.exp(x.view(np.float16).astype(float) - float(x.view(np.float16).max()))
    assert np.abs(values - exact / exact.sum()).max() < 2e-3
    assert abs(values.sum() - 1) < 5e-3


@pytest.mark.parametrize("config", [MACHINE, MACHINE.baseline()])
def test_softmax_gives_a_nan_no_weight(config):
    x = row(64)
    work = RowsWork(function="softmax", rows=1, length=64, exponential="reduced")
    masked, invalid = x.copy(), x.copy()
    masked[[3, 40]], invalid[[3, 40]] = 0xFC00, 0x7E00
    got = execute_row(work, config, invalid, ())
    assert not got[[3, 40]].any()
    assert np.array_equal(got, execute_row(work, config, masked, ()))


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("function", ["layer_norm", "rms_norm"])
def test_norms(function, length):
    x = row(length)
    rng = np.random.default_rng(SEED + 1)
    weight, bias = (rng.normal(1, 0.2, length).astype(np.float16).view(np.uint16) for _ in range(2))
    work = RowsWork(function=function, rows=1, length=length, affine=True)
    got = execute_row(work, MACHINE, x, (weight, bias))
    if function == "layer_norm":
        assert np.array_equal(got, layer_norm_bits(x, weight=weight, bias=bias))
    else:
        assert np.array_equal(got, rms_norm_bits(x, weight=weight))
    v, w, b = (a.view(np.float16).astype(float) for a in (x, weight, bias))
    centred = v - v.mean() if function == "layer_norm" else v
    exact = centred / np.sqrt((centred**2).mean() + 1e-5) * w + (b if function == "layer_norm" else 0)
    if length > 2:  # of two elements, the rounded mean is most of the error
        assert np.abs(got.view(np.float16) - exact).max() < 2e-3 * np.abs(exact).max() + 1e-3


@pytest.mark.parametrize("length", range(16, 513, 31))
def test_a_row_that_fits_8_registers_is_held_in_them(length):
    """Only then are the sums in the golden models' order."""
    for function in ("softmax", "layer_norm", "rms_norm"):
        work = RowsWork(function=function, rows=1, length=length, affine=function != "softmax")
        for config in (MACHINE, MACHINE.baseline()):
            way = kernels.way_of(work, config, 1)
            code, ways = way.code, way.ways
            assert ways == 1
            assert not any(isinstance(node, Loop) for node in code) or function == "softmax"
            assert "@scratch" not in {name for i in unrolled(code) for name in i.writes}


def test_a_wrong_exponential_is_refused():
    with pytest.raises(ValueError, match="exponential must be one of reduced, direct, not 'fast'"):
        RowsWork(function="softmax", rows=1, length=8, exponential="fast")


@pytest.mark.parametrize("segments", [8, 32])
def test_how_often_softmax_looks_up(segments):
    config = replace(MACHINE, flex_sfu=FlexSfuConfig(segments=segments))
    work = RowsWork(function="softmax", rows=64, length=512)
    busy = {
        exponential: price(replace(work, exponential=exponential).program(config), config).busy_clk[
            "flex_sfu"
        ]
        for exponential in ("reduced", "direct")
    }
    once = 64 * 512 / config.flex_sfu.elements_per_clk()
    assert busy == {"direct": once, "reduced": (2 if segments == 32 else 1) * once}
