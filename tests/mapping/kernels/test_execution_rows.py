"""Rows executed from external memory to external memory: the bits of ``models.rows``, whatever way the kernel takes."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from lanewise.config import MachineConfig, ScratchpadConfig
from lanewise.mapping.functional import execute_program, table_tensor
from lanewise.mapping.kernels.activations import SOFTWARE
from lanewise.mapping.kernels.builder import VectorKernel
from lanewise.mapping.kernels.epilogue import Step
from lanewise.mapping.kernels.execute import execute_kernel
from lanewise.mapping.kernels.price import banks
from lanewise.mapping.kernels.rows import RowsWork
from lanewise.models.fit import fit
from lanewise.models.flex_sfu import flex_sfu
from lanewise.models.reduction import reduced
from lanewise.models.reduction_tables import reduction_table
from lanewise.models.rows import _sum, layer_norm_bits, rms_norm_bits, softmax_bits
from lanewise.models.vector import pairwise_sum
from lanewise.sim.program import flatten_once, priced_only

SEED = 22
MACHINE = MachineConfig()
BASELINE = MACHINE.baseline()
SHAPES = [
    (1, 1),
    (3, 2),
    (50, 63),
    (33, 64),
    (21, 197),
    (9, 512),
    (5, 513),
    (7, 640),
    (3, 1000),
    (2, 1029),
    (2, 4096),
]


@cache
def table(name: str):
    if name.startswith("reduced "):
        return reduction_table(name.removeprefix("reduced "))
    return fit(name, segments=32).table()


def values(*shape: int, seed: int = SEED) -> np.ndarray:
    x = np.random.default_rng(seed).normal(0, 3, shape).astype(np.float16)
    x.reshape(-1)[x.size // 2] = 300  # its square is beyond FP16
    return x


def execute(work: RowsWork, x: np.ndarray, config: MachineConfig = MACHINE, **tensors: np.ndarray) -> dict:
    program = work.program(config)
    assert priced_only(program) == ()
    memory = {"in": x, **tensors}
    for form in work.outputs:
        bits = 16 if form == "fp16" else config.matrix.operand_bits
        memory[form] = np.full((work.rows, -(-work.result_length * bits // 8)), 0xA5, np.uint8)
    for instruction in flatten_once(program.body):
        if instruction.external is not None and (name := instruction.external.base).startswith("table "):
            memory[name] = table_tensor(config.flex_sfu, table(name.removeprefix("table ")))
    execute_program(program, config, memory)
    return memory


def result(
    work: RowsWork, x: np.ndarray, config: MachineConfig = MACHINE, **tensors: np.ndarray
) -> np.ndarray:
    return execute(work, x, config, **tensors)["fp16"].view(np.uint16)


def software_exp(x: np.ndarray) -> np.ndarray:
    kernel = VectorKernel(config=BASELINE, vl=64)
    source = kernel.allocate()
    made = SOFTWARE["exp"](kernel, source)
    state = execute_kernel(kernel, {source.names[0]: x.reshape(-1).view(np.float16)}, x.size)
    return state[made.names[0]].view(np.uint16).reshape(x.shape)


EXPONENTIALS = {
    "reduced": lambda x: reduced("exp_nonpositive", x, table("reduced exp_nonpositive")),
    "direct": lambda x: flex_sfu(x, table("exp")),
    "software": software_exp,
}


@pytest.mark.parametrize(("rows", "length"), SHAPES)
@pytest.mark.parametrize("exponential", EXPONENTIALS)
def test_softmax(rows, length, exponential):
    x = values(rows, length)
    if length > 1:
        x[:, 0] = -np.inf  # masked
    software = exponential == "software"
    work = RowsWork(
        function="softmax", rows=rows, length=length, exponential="direct" if software else exponential
    )
    got = result(work, x, BASELINE if software else MACHINE)
    assert np.array_equal(got, softmax_bits(x.view(np.uint16), EXPONENTIALS[exponential]))


@pytest.mark.parametrize("epsilon", [0.0, 1e-12, 1e-3, 2.0])
def test_norms_add_their_epsilon(epsilon):
    x = (values(6, 40) * np.float16(2e-3)).astype(np.float16)
    for function, bits in (("layer_norm", layer_norm_bits), ("rms_norm", rms_norm_bits)):
        got = result(RowsWork(function=function, rows=6, length=40, epsilon=epsilon), x)
        assert np.array_equal(got, bits(x.view(np.uint16), epsilon=epsilon))
    with pytest.raises(ValueError, match="epsilon must be a number of at least 0, not -1"):
        RowsWork(function="rms_norm", rows=6, length=40, epsilon=-1.0)


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize(("rows", "length"), SHAPES)
def test_norms(rows, length, affine):
    x, weight, bias = values(rows, length), values(length, seed=1), values(length, seed=2)
    bits = {"weight": weight.view(np.uint16), "bias": bias.view(np.uint16)} if affine else {}
    work = RowsWork(function="layer_norm", rows=rows, length=length, affine=affine)
    got = result(work, x, weight=weight, bias=bias)
    assert np.array_equal(got, layer_norm_bits(x.view(np.uint16), **bits))
    bits.pop("bias", None)
    work = RowsWork(function="rms_norm", rows=rows, length=length, affine=affine)
    assert np.array_equal(result(work, x, weight=weight), rms_norm_bits(x.view(np.uint16), **bits))


def whole_sum(x: np.ndarray) -> np.ndarray:
    """FP32 sums of rows of at most eight registers."""
    return pairwise_sum(x)


@pytest.mark.parametrize(("rows", "length"), SHAPES)
def test_reductions(rows, length):
    x = values(rows, length)
    got = {
        f: result(RowsWork(function=f, rows=rows, length=length), x)[:, 0].view(np.float16)
        for f in ("sum", "mean", "max")
    }
    assert np.array_equal(got["max"], x.max(axis=1))
    exact = x.astype(float).sum(axis=1)
    scale = np.abs(x.astype(float)).sum(axis=1)
    assert np.all(np.abs(got["sum"] - exact) <= 2.0**-11 * np.abs(exact) + 2.0**-20 * scale)
    assert np.all(
        np.abs(got["mean"] - exact / length)
        <= 2.0**-10 * np.abs(exact / length) + 2.0**-20 * scale / length + 2**-25
    )
    if length <= 512:
        assert np.array_equal(got["sum"], whole_sum(x).astype(np.float16))


@pytest.mark.parametrize("length", [63, 197, 1029])
def test_steps_and_quantised_rows_begin_at_a_byte(length):
    rows = 6
    x, other = values(rows, length), values(rows, length, seed=3)
    steps = (
        Step(function="add", operand="tensor"),
        Step(function="multiply", operand="scalar", constant=0.5),
    )
    work = RowsWork(
        function="rms_norm",
        rows=rows,
        length=length,
        steps=steps,
        outputs=("fp16", "quantised"),
        inverse_step=4.0,
    )
    made = execute(work, x, operand0=other)
    wanted = (rms_norm_bits(x.view(np.uint16)).view(np.float16) + other) * np.float16(0.5)
    assert np.array_equal(made["fp16"].view(np.uint16), wanted.view(np.uint16))
    numbers = np.clip(np.rint((wanted * np.float16(4)).astype(float)), -8, 7).astype(int)
    packed = made["quantised"].astype(int)
    both = np.stack([packed & 15, packed >> 4], axis=2).reshape(rows, -1)[:, :length]
    assert np.array_equal((both ^ 8) - 8, numbers)


@pytest.mark.parametrize("function", ["softmax", "layer_norm", "rms_norm"])
@pytest.mark.parametrize("size_kib", [32, 64])
def test_chunks_are_shorter_where_the_scratchpad_is_small(size_kib, function):
    small = replace(MACHINE, scratchpad=ScratchpadConfig(size_kib=size_kib, banks=64)).baseline()
    x, weight, bias = values(700, 33), values(33, seed=1), values(33, seed=2)
    affine = function != "softmax"
    work = RowsWork(
        function=function, rows=700, length=33, affine=affine, exponential="direct", outputs=("fp16", "quantised")
    )  # fmt: skip
    assert banks(work.program(small), small) <= small.scratchpad.banks
    found, wanted = (execute(work, x, config, weight=weight, bias=bias) for config in (small, BASELINE))
    assert all(np.array_equal(found[form], wanted[form]) for form in work.outputs)


SMALL = replace(MACHINE, scratchpad=ScratchpadConfig(size_kib=32, banks=64))
"""Rows of more than 2,730 elements are streamed."""
STREAMED = [(3, 2731), (2, 4096), (1, 5129)]


@pytest.mark.parametrize(("rows", "length"), STREAMED)
@pytest.mark.parametrize("exponential", EXPONENTIALS)
def test_streamed_softmax(rows, length, exponential):
    x = values(rows, length)
    x[:, 0] = -np.inf
    software = exponential == "software"
    work = RowsWork(
        function="softmax", rows=rows, length=length, exponential="direct" if software else exponential
    )
    assert work.streamed(SMALL)
    got = result(work, x, SMALL.baseline() if software else SMALL)
    assert np.array_equal(got, softmax_bits(x.view(np.uint16), EXPONENTIALS[exponential]))


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize(("rows", "length"), STREAMED)
def test_streamed_norms(rows, length, affine):
    x, weight, bias = values(rows, length), values(length, seed=1), values(length, seed=2)
    bits = {"weight": weight.view(np.uint16), "bias": bias.view(np.uint16)} if affine else {}
    work = RowsWork(function="layer_norm", rows=rows, length=length, affine=affine)
    got = result(work, x, SMALL, weight=weight, bias=bias)
    assert np.array_equal(got, layer_norm_bits(x.view(np.uint16), **bits))
    bits.pop("bias", None)
    work = RowsWork(function="rms_norm", rows=rows, length=length, affine=affine)
    assert np.array_equal(result(work, x, SMALL, weight=weight), rms_norm_bits(x.view(np.uint16), **bits))


@pytest.mark.parametrize("function", ["sum", "mean", "max"])
@pytest.mark.parametrize(("rows", "length"), [*STREAMED, (2, 20011)])
def test_streamed_reductions(rows, length, function):
    work = RowsWork(function=function, rows=rows, length=length)
    x = values(rows, length) * np.float16(0.001)
    spikes = x[
        :, : length - length % 260 : length // 260
    ]  # beside which small numbers are lost: the order of the sums shows
    spikes[:, ::2], spikes[:, 1::2] = 30000, -30000
    total = _sum(x, SMALL.vector.vlen_bits)[:, 0]
    wanted = {"sum": total, "mean": total * np.float32(1 / length), "max": x.max(axis=1)}[function]
    got = result(work, x, SMALL)[:, 0].view(np.float16)
    assert np.array_equal(got, wanted.astype(np.float16))


@pytest.mark.parametrize("length", [2731, 4101])
def test_streamed_steps_and_outputs(length):
    x, weight, bias, other = (
        values(*shape, seed=k) for k, shape in enumerate(((3, length), (length,), (length,), (3, length)))
    )
    steps = (
        Step(function="add", operand="tensor"),
        Step(function="multiply", operand="scalar", constant=0.5),
    )
    work = RowsWork(
        function="layer_norm", rows=3, length=length, affine=True, steps=steps, outputs=("fp16", "quantised"), inverse_step=4.0
    )  # fmt: skip
    assert banks(work.program(SMALL), SMALL) <= SMALL.scratchpad.banks
    tensors = {"weight": weight, "bias": bias, "operand0": other}
    found, wanted = (execute(work, x, config, **tensors) for config in (SMALL, MACHINE))
    assert all(np.array_equal(found[form], wanted[form]) for form in work.outputs)


@pytest.mark.parametrize("config", [SMALL, MACHINE], ids=["chunks", "whole rows"])
@pytest.mark.parametrize(
    ("groups", "channels", "positions"),
    [(1, 24, 221), (4, 24, 221), (3, 12, 1000), (2, 6, 1025), (8, 8, 700)],
)
def test_group_norm_of_channels_that_lie_innermost(groups, channels, positions, config):
    """Groups' channels side by side at every position, with a scale and an offset for each channel."""
    images, own = 2, channels // groups
    x, weight, bias = values(images, positions, channels), values(channels, seed=1), values(channels, seed=2)
    outputs = ("fp16", "quantised") if own % 2 == 0 else ("fp16",)
    work = RowsWork(
        function="layer_norm", rows=images * groups, length=positions * own, affine=True, groups=groups, channels=channels, outputs=outputs,
        inverse_step=2.0,
    )  # fmt: skip
    count = work.weight_elements(config)
    spread = {
        name: np.concatenate([np.resize(group, count) for group in each.reshape(groups, own)])
        for name, each in (("weight", weight), ("bias", bias))
    }
    made = execute(work, x, config, **spread)
    lines = x.reshape(images, positions, groups, own).transpose(0, 2, 1, 3).reshape(images, groups, -1)
    scales, offsets = (np.tile(each.reshape(groups, own), positions) for each in (weight, bias))
    wanted = np.stack(
        [
            layer_norm_bits(lines[:, g].view(np.uint16), weight=scales[g].view(np.uint16), bias=offsets[g].view(np.uint16))
            for g in range(groups)
        ],
        axis=1,
    )  # fmt: skip
    back = wanted.reshape(images, groups, positions, own).transpose(0, 2, 1, 3).reshape(-1)
    assert np.array_equal(made["fp16"].view(np.uint16).reshape(-1), back)
    if len(outputs) > 1:
        numbers = np.clip(np.rint((back.view(np.float16) * np.float16(2)).astype(float)), -8, 7).astype(int)
        packed = made["quantised"].reshape(-1).astype(int)
        assert np.array_equal((np.stack([packed & 15, packed >> 4], axis=1).reshape(-1) ^ 8) - 8, numbers)


def test_group_norm_of_groups_one_after_the_other_with_weights_of_their_own():
    groups, length = 3, 700
    x, weight, bias = (
        values(2 * groups, length),
        values(groups, length, seed=1),
        values(groups, length, seed=2),
    )
    work = RowsWork(function="layer_norm", rows=2 * groups, length=length, affine=True, groups=groups)
    got = result(work, x, weight=weight, bias=bias)
    for row in range(2 * groups):
        scale, offset = (each[row % groups].view(np.uint16) for each in (weight, bias))
        assert np.array_equal(
            got.reshape(-1, length)[row], layer_norm_bits(x[row].view(np.uint16), weight=scale, bias=offset)
        )


def test_streamed_rows_need_two_chunks():
    tiny = replace(MACHINE, scratchpad=ScratchpadConfig(size_kib=16, banks=16))
    steps = (Step(function="add", operand="tensor"),) * 9
    with pytest.raises(
        ValueError, match=r"scratchpad.size_kib must hold two chunks of 11 rows of 5000 elements, not 16"
    ):
        RowsWork(function="rms_norm", rows=1, length=5000, steps=steps).program(tiny)
