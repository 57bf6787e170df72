"""The commands that bring a convolution's patches, executed, against im2col."""

from itertools import product

import numpy as np
import pytest

from lanewise.config import MachineConfig
from lanewise.mapping.functional import execute_program
from lanewise.mapping.kernels.patch_loads import ZEROS, patch_blocks, patch_loads, zeros_bytes
from lanewise.mapping.kernels.patches import Patches
from lanewise.mapping.kernels.place import Place
from lanewise.mapping.kernels.strips import store
from lanewise.sim.program import Address, Loop, Program

MACHINE = MachineConfig()


def pack(x, bits):
    """Elements (.., n) as they lie in memory: bytes (.., n * bits / 8)."""
    if bits == 4:
        return (x[..., ::2] | x[..., 1::2] << 4).astype(np.uint8)
    return np.ascontiguousarray(x.astype(f"<u{bits // 8}")).view(np.uint8)


def im2col(x, patches, group):
    """Lines (images * results, taps * channels) of an input (images, *size, groups, channels)."""
    borders = [(0, 0), *((p, p) for p in patches.padding), (0, 0)]
    padded = np.pad(x[..., group, :], borders)
    lines = []
    for image in padded:
        for place in product(*map(range, patches.out)):
            first = [p * s for p, s in zip(place, patches.stride)]
            lines.append(
                [
                    image[tuple(f + t * d for f, t, d in zip(first, tap, patches.dilation))]
                    for tap in product(*map(range, patches.kernel))
                ]
            )
    return np.array(lines).reshape(patches.lines, -1)


def random_patches(rng):
    axes = int(rng.integers(1, 4))
    most = {1: 60, 2: 14, 3: 6}[axes]

    def drawn(low, high):
        return tuple(int(v) for v in rng.integers(low, high + 1, axes))

    kernel, dilation, padding = drawn(1, 4), drawn(1, 3), drawn(0, 3)
    if rng.random() < 0.3:
        kernel, padding = (1,) * axes, (0,) * axes
    least = [max(1, d * (k - 1) + 1 - 2 * p) for k, d, p in zip(kernel, dilation, padding)]
    size = tuple(int(rng.integers(low, max(low, most) + 1)) for low in least)
    return Patches(
        images=int(rng.integers(1, 4)), channels=int(rng.integers(1, 6)), groups=int(rng.choice([1, 1, 1, 2, 3])),
        size=size, kernel=kernel, stride=drawn(1, 3), dilation=dilation if rng.random() < 0.4 else (1,) * axes,
        padding=padding,
    )  # fmt: skip


def random_input(rng, patches, bits):
    """Channels that are padding are zero."""
    shape = (patches.images, *patches.size, patches.groups, patches.stored_channels(bits))
    x = rng.integers(0, 1 << bits, shape)
    x[..., patches.channels :] = 0
    return x


def execute(nodes, memory, size, patches, bits):
    zeros = np.zeros(zeros_bytes(patches, bits), np.uint8)
    execute_program(
        Program(body=tuple(nodes), buffers_bytes={"@left": size}), MACHINE, {**memory, ZEROS: zeros}
    )


@pytest.mark.parametrize("bits", [4, 8, 16])
@pytest.mark.parametrize("seed", range(60))
def test_loads_are_im2col(seed, bits):
    """Of random lines, of one group, in lines further apart than they are long; and of a random part of k."""
    rng = np.random.default_rng([seed, bits])
    patches = random_patches(rng)
    x = random_input(rng, patches, bits)
    group = int(rng.integers(patches.groups))
    wanted = pack(im2col(x, patches, group), bits)
    first = int(rng.integers(patches.lines))
    lines = int(rng.integers(1, patches.lines - first + 1)) if rng.random() < 0.7 else patches.lines - first
    unit = max(1, bits // 8)
    begin, end = 0, wanted.shape[1]
    if rng.random() < 0.4:
        begin, end = (unit * np.sort(rng.choice(end // unit + 1, 2, replace=False))).tolist()
    length = end - begin
    part = (begin * 8 // bits, length * 8 // bits) if length < wanted.shape[1] else None
    stride = length + int(rng.integers(0, 9))
    loads = patch_loads("@left", patches, bits, first, lines, stride, group=group, part=part)
    nodes = (*loads, store("@left", lines, length, external=Address("out"), stride_bytes=stride))
    out = np.full((lines, length), 0xA5, np.uint8)
    execute(nodes, {"left": pack(x, bits), "out": out}, lines * stride, patches, bits)
    assert np.array_equal(out, wanted[first : first + lines, begin:end]), (seed, bits, patches)


@pytest.mark.parametrize("bits", [4, 8, 16])
@pytest.mark.parametrize("seed", range(60))
def test_blocks_are_all_lines_of_all_groups(seed, bits):
    rng = np.random.default_rng([seed, bits, 1])
    patches = random_patches(rng)
    x = random_input(rng, patches, bits)
    block = int(rng.integers(1, 12)) if rng.random() < 0.7 else int(rng.integers(1, patches.lines + 1))
    length = patches.k(bits) * bits // 8

    def make(first, lines):
        loads = patch_loads("@left", patches, bits, first, lines, length, group=Place().along("group", 1))
        to = (first.times(length).along("group", length * patches.lines)).address("out")
        return *loads, store("@left", 1, lines * length, external=to)

    nodes = (Loop(patches.groups, patch_blocks(patches, block, make), "group"),)
    out = np.full((patches.groups, patches.lines, length), 0xA5, np.uint8)
    execute(nodes, {"left": pack(x, bits), "out": out}, block * length, patches, bits)
    for group in range(patches.groups):
        assert np.array_equal(out[group], pack(im2col(x, patches, group), bits)), (seed, bits, patches)


def square(size, channels, kernel, stride=1, padding=0, images=1, groups=1):
    return Patches(
        images=images, channels=channels, groups=groups, size=(size, size), kernel=(kernel, kernel), stride=(stride, stride),
        dilation=(1, 1), padding=(padding, padding),
    )  # fmt: skip


def blocks(patches, block):
    """Lines of each block's node, once a loop, and in all."""
    once = []

    def make(first, lines):
        once.append(lines)
        return (store("@left", 1, lines, external=first.address("out")),)

    nodes = patch_blocks(patches, block, make)
    out = np.zeros(patches.lines, np.uint8)
    program = Program(body=nodes, buffers_bytes={"@left": block})
    execute_program(program, MACHINE, {"out": out})
    return once


def test_blocks_are_loops():
    """56 = 7 x 8: seven blocks of 32 are four rows; the rows at the borders stand alone."""
    assert blocks(square(56, 64, 1), 32) == [32]  # 98 blocks: one row in memory
    assert blocks(square(56, 64, 3), 32) == [32] * 14 + [32] * 0 or len(blocks(square(56, 64, 3), 32)) < 16
    assert len(blocks(square(56, 64, 3, 1, 1, images=8), 32)) == len(blocks(square(56, 64, 3, 1, 1), 32))


def test_commands_of_a_row():
    """3 x 3 with borders: a command a kernel row, one for what each end has, one for each end's zeros; without: a command a kernel row."""
    loop, rest = patch_loads("@left", square(16, 32, 3), 4, 0, 14 * 13 + 3, 144)[0], ()
    assert (loop.count, len(loop.body)) == (13, 3)
    first, rows, last = patch_loads("@left", square(16, 32, 3, padding=1), 4, 16, 16 * 14, 144), (), ()
    del first, rows, last, rest
