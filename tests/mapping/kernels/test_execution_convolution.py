"""Whole convolutions executed from external memory to external memory, against PyTorch's on integers."""

from math import prod

import numpy as np
import pytest
import torch

from lanewise.config import DmaConfig, MachineConfig, MatrixConfig, ScratchpadConfig
from lanewise.mapping.functional import execute_program
from lanewise.mapping.kernels.epilogue import Step
from lanewise.mapping.kernels.matmul import MatmulWork
from lanewise.mapping.kernels.patch_loads import ZEROS, zeros_bytes
from lanewise.mapping.kernels.patches import Patches
from lanewise.models.matrix_layout import column_constants, packed_lines, unpacked_lines
from lanewise.sim.program import flatten_once, priced_only

MACHINES = {
    "default": MachineConfig(),
    "small": MachineConfig(
        matrix=MatrixConfig(rows=8, columns=8, output_lanes=4), scratchpad=ScratchpadConfig(size_kib=32, banks=64), dma=DmaConfig(bytes_per_clk=8)
    ),
}  # fmt: skip


def convolution(x, weight, patches):
    """Sums (images * results, channels out) of an input (images, *size, channels) and a weight (channels out, channels of a group, *kernel)."""
    function = {1: torch.conv1d, 2: torch.conv2d, 3: torch.conv3d}[len(patches.size)]
    left = torch.from_numpy(np.moveaxis(x, -1, 1).astype(np.float64))  # exact: all sums are far below 2^53
    sums = function(
        left, torch.from_numpy(weight.astype(np.float64)), None, patches.stride, patches.padding, patches.dilation, patches.groups
    ).numpy()  # fmt: skip
    return np.moveaxis(sums, 1, -1).reshape(patches.lines, -1)


def laid_out(weight, groups, work, bits):
    """The weight as lines of the right operand of the products that are computed: (products, n, k), groups that are together on a diagonal."""
    channels, together = weight.shape[1], groups // work.batch
    each = np.moveaxis(weight, 1, -1).reshape(
        work.batch, together, work.n // together, *weight.shape[2:], channels
    )
    lines = np.zeros((*each.shape[:-1], work.patches.stored_channels(bits)), np.int64)
    for group in range(together):
        lines[:, group, ..., group * channels : (group + 1) * channels] = each[:, group]
    return lines.reshape(work.batch, work.n, work.k)


def stored_input(x, bits):
    """(images, *size, channels) as it lies in memory; a channel that is padding holds what is not zero."""
    odd = x.shape[-1] % 2 if bits == 4 else 0
    return packed_lines(np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, odd)], constant_values=5), bits)


def execute(work, config, left, weight, bias, multiplier, bits, **tensors):
    done = work.on(config)
    program = work.program(config)
    assert priced_only(program) == ()
    columns = done.tile_shape(config)[1]
    constants = [
        column_constants(b, m, config.matrix, columns)
        for b, m in zip(bias.reshape(done.batch, -1), multiplier.reshape(done.batch, -1))
    ]
    channels = work.batch * work.n
    form = work.outputs[0]
    out = (
        np.zeros((work.m, channels), np.uint16)
        if form == "fp16"
        else np.zeros((work.m, -(-channels // 2)), np.uint8)
    )
    memory = {
        "left": left, "right": packed_lines(laid_out(weight, work.batch, done, bits), bits), ZEROS: np.zeros(zeros_bytes(done.patches, bits), np.uint8),
        "constants": np.ascontiguousarray(np.stack(constants)), form: out, **tensors,
    }  # fmt: skip
    execute_program(program, config, memory)
    return out, program


def random_patches(rng, axes):
    def drawn(low, high):
        return tuple(int(v) for v in rng.integers(low, high + 1, axes))

    kernel, padding = drawn(1, 3), drawn(0, 2)
    dilation = drawn(1, 2) if rng.random() < 0.4 else (1,) * axes
    most = {1: 40, 2: 11, 3: 5}[axes]
    size = tuple(
        int(rng.integers(max(1, d * (k - 1) + 1 - 2 * p), most + 1))
        for k, d, p in zip(kernel, dilation, padding)
    )
    return Patches(
        images=int(rng.integers(1, 3)), channels=int(rng.integers(1, 7)), groups=int(rng.choice([1, 1, 2, 3, 4])), size=size, kernel=kernel,
        stride=drawn(1, 2), dilation=dilation, padding=padding,
    )  # fmt: skip


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("seed", range(15))
def test_random_convolutions(seed, bits, machine):
    rng = np.random.default_rng([seed, bits, 2])
    config, patches = MACHINES[machine], random_patches(rng, axes=1 + seed % 3)
    n = int(rng.integers(1, 12))
    x, weight, bias, multiplier = operands(rng, patches, n, bits)
    work = product(patches, n, bits, shift=2 * bits + 4)
    left = stored_input(x, bits)
    out, _ = execute(work, config, left, weight, bias, multiplier, bits)
    scaled = (convolution(x, weight, patches) + bias) * multiplier * 2.0**-work.shift
    assert np.array_equal(out.view(np.float16), scaled.astype(np.float16)), (seed, bits, patches, n)


def operands(rng, patches, n, bits=4):
    half, channels = 1 << (bits - 1), patches.groups * patches.channels
    x = rng.integers(-half, half, (patches.images, *patches.size, channels))
    weight = rng.integers(-half, half, (patches.groups * n, patches.channels, *patches.kernel))
    return x, weight, rng.integers(-1000, 1000, patches.groups * n), rng.integers(0, 256, patches.groups * n)


def product(patches, n, bits=4, **more):
    return MatmulWork(
        m=patches.lines, k=patches.channels * prod(patches.kernel), n=n, batch=patches.groups, patches=patches, left_bits=bits, right_bits=bits,
        **more,
    )  # fmt: skip


def square(size, channels, kernel, stride=1, padding=0, groups=1, images=1):
    return Patches(
        images=images, channels=channels, groups=groups, size=(size, size), kernel=(kernel, kernel), stride=(stride, stride), dilation=(1, 1),
        padding=(padding, padding),
    )  # fmt: skip


NESTS = {
    "left stays": (square(16, 16, 3, padding=1), 400, ("mm.tile",)),
    "right stays": (square(20, 16, 3, padding=1), 20, ("mm.tile",)),
    "chunks of k": (square(6, 300, 3, 2, 1), 12, ("mm.accumulate", "mm.tile")),
    "chunks of k, groups": (square(5, 300, 3, padding=1, groups=2), 9, ("mm.accumulate", "mm.tile")),
    "joined groups": (square(10, 4, 3, padding=1, groups=12), 4, ("mm.tile",)),
}


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("name", NESTS)
def test_nests(name, bits):
    """Each of the loop nests, in blocks of lines that begin and end anywhere in a row."""
    patches, n, opcodes = NESTS[name]
    config = MACHINES["small"]
    x, weight, bias, multiplier = operands(np.random.default_rng(7), patches, n, bits)
    work = product(patches, n, bits, shift=2 * bits + 4)
    out, program = execute(work, config, stored_input(x, bits), weight, bias, multiplier, bits)
    scaled = (convolution(x, weight, patches) + bias) * multiplier * 2.0**-work.shift
    assert np.array_equal(out.view(np.float16), scaled.astype(np.float16))
    made = {i.opcode for i in flatten_once(program.body)}
    assert {opcode for opcode in made if opcode.startswith("mm.")} == set(opcodes)
    loads = [i.writes[0] for i in flatten_once(program.body) if i.opcode == "dma.load"]
    if name.endswith("stays"):
        assert loads[0] == f"@{name.split()[0]}.0"
        assert program.buffers_bytes["@left.0"] < patches.lines * patches.k(bits) * bits // 8
    assert work.on(config).batch == {"chunks of k, groups": 2, "joined groups": 6}.get(name, 1)


@pytest.mark.parametrize("between", [3, 8, 40])
def test_a_convolution_reads_what_another_has_stored(between):
    """INT4 results, three of them in two bytes, with borders: no task in between."""
    rng = np.random.default_rng(between)
    first = square(12, 3, 3, 2, 1, images=2)
    second = square(6, between, 3, 1, 1, images=2)
    x, weight, bias, _ = operands(rng, first, between)
    work = product(first, between, outputs=("quantised",), shift=6)
    ones = np.ones(between, np.int64)
    middle, _ = execute(work, MACHINES["default"], stored_input(x, 4), weight, 0 * bias, ones, 4)
    rounded = np.clip(np.rint(convolution(x, weight, first) / 64), -8, 7)
    assert np.array_equal(unpacked_lines(middle, 4, between), rounded)
    _, weight, bias, multiplier = operands(rng, second, 7)
    work = product(second, 7, shift=12)
    out, _ = execute(work, MACHINES["default"], middle, weight, bias, multiplier, 4)
    sums = convolution(rounded.reshape(2, 6, 6, between), weight, second)
    assert np.array_equal(out.view(np.float16), ((sums + bias) * multiplier / 4096).astype(np.float16))


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(("groups", "channels", "n"), [(4, 3, 3), (3, 1, 3), (6, 1, 2), (2, 5, 9), (3, 4, 3)])
def test_groups_that_are_no_whole_bytes(groups, channels, n, machine):
    """As many together as begin with a byte, operands and INT4 results."""
    rng, config = np.random.default_rng([groups, n]), MACHINES[machine]
    patches = square(7, channels, 3, padding=1, groups=groups)
    x, weight, bias, _ = operands(rng, patches, n)
    work = product(patches, n, outputs=("quantised",), shift=4)
    out, _ = execute(work, config, stored_input(x, 4), weight, 0 * bias, np.ones_like(bias), 4)
    rounded = np.clip(np.rint(convolution(x, weight, patches) / 16), -8, 7)
    assert np.array_equal(unpacked_lines(out, 4, groups * n), rounded)


@pytest.mark.parametrize("machine", MACHINES)
def test_what_is_added_lies_as_the_results_do(machine):
    """A residual and a ReLU behind groups, whose columns are a part of each position."""
    rng, config, patches = np.random.default_rng(11), MACHINES[machine], square(7, 6, 3, padding=1, groups=3)
    x, weight, bias, multiplier = operands(rng, patches, 6)
    steps = (Step(function="add", operand="tensor"), Step(function="relu"))
    work = product(patches, 6, shift=12, steps=steps)
    residual = rng.normal(0, 10, (49, 18)).astype(np.float16)
    out, _ = execute(work, config, stored_input(x, 4), weight, bias, multiplier, 4, operand0=residual)
    scaled = ((convolution(x, weight, patches) + bias) * multiplier / 4096).astype(np.float16)
    assert np.array_equal(out.view(np.float16), np.maximum(scaled + residual, np.float16(0)))


def test_products_do_not_depend_on_what_padded_channels_hold():
    """The weight's zeros meet whatever is there."""
    patches = square(6, 3, 3, padding=1)
    x, weight, bias, multiplier = operands(np.random.default_rng(13), patches, 5)
    left = stored_input(x, 4)
    clean = left.copy()
    clean[..., 1] &= 15
    assert not np.array_equal(left, clean)
    one, other = (
        execute(product(patches, 5), MACHINES["default"], data, weight, bias, multiplier, 4)[0] for data in (left, clean)
    )  # fmt: skip
    assert np.array_equal(one, other)
