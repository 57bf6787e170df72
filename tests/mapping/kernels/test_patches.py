"""The commands that bring a convolution's patches, executed, against im2col."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from lanewise.config import MachineConfig
from lanewise.mapping.functional import execute_program
from lanewise.mapping.kernels.patch_loads import ZEROS, patch_blocks, patch_loads, zeros_bytes
from lanewise.mapping.kernels.patches import Patches
from lanewise.mapping.kernels.place import Place
from lanewise.mapping.kernels.strips import load, store
from lanewise.sim.program import Address, Instruction, Loop, Program, flatten_once

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


def random_patches(rng, bits):
    axes = int(rng.integers(1, 4))
    most = {1: 60, 2: 14, 3: 6}[axes]

    def drawn(low, high):
        return tuple(int(v) for v in rng.integers(low, high + 1, axes))

    kernel, dilation, padding = drawn(1, 4), drawn(1, 3), drawn(0, 3)
    if rng.random() < 0.3:
        kernel, padding = (1,) * axes, (0,) * axes
    least = [max(1, d * (k - 1) + 1 - 2 * p) for k, d, p in zip(kernel, dilation, padding)]
    size = tuple(int(rng.integers(low, max(low, most) + 1)) for low in least)
    groups, channels = int(rng.choice([1, 1, 1, 2, 3])), int(rng.integers(1, 6))
    channels += bits == 4 and groups > 1 and channels % 2
    return Patches(
        images=int(rng.integers(1, 4)), channels=channels, groups=groups, size=size, kernel=kernel, stride=drawn(1, 3),
        dilation=dilation if rng.random() < 0.4 else (1,) * axes, padding=padding,
    )  # fmt: skip


def random_input(rng, patches, bits):
    """Channels that are padding are zero."""
    shape = (patches.images, *patches.size, patches.groups, patches.stored_channels(bits))
    x = rng.integers(0, 1 << bits, shape)
    x[..., patches.channels :] = 0
    return x


def execute(nodes, memory, size, patches, bits):
    """Execute them on a buffer that is not zero."""
    dirt, zeros = np.full(size, 0x5A, np.uint8), np.zeros(zeros_bytes(patches, bits), np.uint8)
    body = (load("@left", 1, size, external=Address("dirt")), *nodes)
    execute_program(
        Program(body=body, buffers_bytes={"@left": size}), MACHINE, {**memory, "dirt": dirt, ZEROS: zeros}
    )


@pytest.mark.parametrize("bits", [4, 8, 16])
@pytest.mark.parametrize("seed", range(60))
def test_loads_are_im2col(seed, bits):
    """Of random lines, of one group, in lines further apart than they are long; and of a random part of k."""
    rng = np.random.default_rng([seed, bits])
    patches = random_patches(rng, bits)
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
    patches = random_patches(rng, bits)
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


def commands(nodes):
    return sum(
        node.count * commands(node.body) if isinstance(node, Loop) else isinstance(node, Instruction)
        for node in nodes
    )


def test_blocks_are_loops():
    """Seven blocks of 32 lines are four rows of 56. With borders the first two blocks and the last five touch an outer row; more images are no more nodes."""
    made = {}
    for name, patches in {
        "1 x 1": square(56, 64, 1), "borders": square(56, 64, 3, padding=1), "images": square(56, 64, 3, padding=1, images=8),
        "images that are no whole blocks": square(7, 512, 3, padding=1, images=8),
    }.items():  # fmt: skip
        nodes = patch_blocks(
            patches, 32, lambda first, lines: (store("@left", 1, lines, external=first.address("out")),)
        )
        made[name] = len(list(flatten_once(nodes))), commands(nodes)
        out = np.zeros(patches.lines, np.uint8)
        program = Program(body=nodes, buffers_bytes={"@left": 32})
        execute_program(replace(program, body=(load("@left", 1, 32, external=Address("ones")), *nodes)), MACHINE, {
            "out": out, "ones": np.ones(32, np.uint8),
        })  # fmt: skip
        assert out.all(), name
    assert made == {
        "1 x 1": (1, 98), "borders": (14, 98), "images": (14, 784), "images that are no whole blocks": (13, 13),
    }  # fmt: skip


def test_commands_of_rows():
    """Three a row of results, one for each kernel row; with borders one more for what each end of a row has, and one for its zeros."""
    (rows,) = patch_loads("@left", square(16, 32, 3), 4, 0, 14 * 14, 144)
    assert isinstance(rows, Loop)
    assert (rows.count, len(rows.body)) == (14, 3)
    assert [(i.runs, i.run_bytes, i.distance_bytes, i.stride_bytes) for i in rows.body] == [
        (14, 48, 16, 144)
    ] * 3
    first, *_, inner = patch_loads("@left", square(16, 32, 3, padding=1), 4, 0, 16 * 15, 144)
    assert (first.external.base, first.runs, first.run_bytes) == (ZEROS, 16, 48)
    assert (inner.count, len(inner.body)) == (14, 7)
    kinds = sorted((i.external.base, i.runs, i.run_bytes) for i in inner.body)
    assert kinds == [*[("left", 3, 32)] * 2, *[("left", 14, 48)] * 3, *[(ZEROS, 3, 16)] * 2]


def test_a_pointwise_convolution_is_one_run():
    (only,) = patch_loads("@left", square(20, 64, 1, images=3), 4, 100, 700, 32)
    assert (only.runs, only.run_bytes, only.external.offset_bytes) == (1, 700 * 32, 3200)


def test_the_last_byte_of_everything_is_used():
    """Nothing is read beyond the tensor, and ``zeros`` is as large as it must be: both are a byte too small by the execution's own check."""
    patches = square(9, 4, 3, padding=1)
    x, zeros = np.zeros(patches.input_bytes(4), np.uint8), np.zeros(zeros_bytes(patches, 4), np.uint8)
    program = Program(
        body=patch_loads("@left", patches, 4, 0, patches.lines, 18), buffers_bytes={"@left": 18 * 81}
    )
    execute_program(program, MACHINE, {"left": x, ZEROS: zeros})
    for short in ({"left": x[:-1], ZEROS: zeros}, {"left": x, ZEROS: zeros[:-1]}):
        with pytest.raises(ValueError, match="are beyond its"):
            execute_program(program, MACHINE, short)


def test_joined_groups_are_the_channels_side_by_side():
    rng = np.random.default_rng(5)
    patches = square(6, 4, 3, padding=1, groups=6)
    x = random_input(rng, patches, 4)
    joined = patches.joined(3)
    together = im2col(x.reshape(1, 6, 6, 2, 12), joined, 1).reshape(36, 9, 3, 4)
    for group in range(3):
        assert np.array_equal(together[:, :, group].reshape(36, -1), im2col(x, patches, 3 + group))
    assert (joined.groups, joined.k(4), joined.input_bytes(4)) == (2, 108, patches.input_bytes(4))
    odd = square(6, 3, 3, groups=3)
    assert not odd.whole_bytes(4)
    assert (odd.joined(3).k(4), odd.position_bytes(4), odd.joined(3).position_bytes(4)) == (9 * 10, 5, 5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kernel": (3,)}, "size must be of one to three axes"),
        ({"images": 0}, "images must be at least 1, not 0"),
        ({"padding": (-1, 0)}, "padding must be at least 0"),
        ({"kernel": (9, 3)}, "kernel must be at most the padded input"),
    ],
)
def test_bad_patches(change, message):
    with pytest.raises(ValueError, match=message):
        replace(square(6, 4, 3), **change)


def test_bad_loads():
    patches = square(6, 4, 3, images=2)
    with pytest.raises(ValueError, match="lines must be of 32, not 3 from 30 on"):
        patch_loads("@left", patches, 4, 30, 3, 18)
    with pytest.raises(ValueError, match="part must be whole bytes of 36 elements"):
        patch_loads("@left", patches, 4, 0, 1, 18, part=(1, 2))
    with pytest.raises(ValueError, match="channels of a group must be whole bytes, not 3 of 4 bits"):
        patch_loads("@left", square(6, 3, 3, groups=2), 4, 0, 1, 18)
    for step in (6, 20):
        with pytest.raises(ValueError, match=f"or by whole planes, not by {step} lines"):
            patch_loads("@left", patches, 4, Place().along("i", step), 1, 18)
    with pytest.raises(ValueError, match="groups must be a divisor of 1, not 2"):
        patches.joined(2)
