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
from lanewise.models.rows import layer_norm_bits, rms_norm_bits, softmax_bits
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
