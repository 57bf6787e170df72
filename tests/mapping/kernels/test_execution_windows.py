"""Windows executed from external memory to external memory: the bits of ``models.windows``, and what PyTorch computes."""

import dataclasses
from collections.abc import Callable, Iterable

import numpy as np
import pytest
import torch

from lanewise.config import MachineConfig, MatrixConfig, ScratchpadConfig
from lanewise.mapping.functional import execute_program
from lanewise.mapping.kernels import window_bands
from lanewise.mapping.kernels.epilogue import Step
from lanewise.mapping.kernels.window_axes import Axis, bands
from lanewise.mapping.kernels.windows import FUNCTIONS, WindowsWork
from lanewise.models.windows import depthwise, pooled, summed
from lanewise.sim.program import Instruction, Loop, Node, Program, Rotate, priced_only

Names = Callable[[Instruction], tuple[str, ...]]

SEED = 31
MACHINE = MachineConfig()


def machine(lanes: int, vlen_bits: int, size_kib: int, bits: int = 4) -> MachineConfig:
    return dataclasses.replace(
        MACHINE,
        vector=dataclasses.replace(MACHINE.vector, lanes=lanes, vlen_bits=vlen_bits),
        flex_sfu=dataclasses.replace(MACHINE.flex_sfu, lanes=lanes),
        scratchpad=ScratchpadConfig(size_kib=size_kib, banks=max(16, min(64, size_kib))),
        matrix=MatrixConfig(operand_bits=bits),
    )


MACHINES = {
    "machine": MACHINE,
    "1 lane": machine(1, 128, 64),
    "2 lanes": machine(2, 256, 32),
    "8 lanes": machine(8, 512, 16),
    "32 lanes": machine(32, 1024, 128, 8),
}


def spans(axes):
    """Every window as :mod:`lanewise.models.windows` wants it, from what PyTorch says of windows alone."""
    made = []
    for axis in axes:
        windows = []
        for result in range(axis.count):
            if axis.adaptive:
                start, stop = result * axis.size // axis.results, -(-(result + 1) * axis.size // axis.results)
                taps = [(position - start, position) for position in range(start, stop)]
                counted = len(taps)
            else:
                start = result * axis.stride - axis.padding
                places = [(tap, start + tap * axis.dilation) for tap in range(axis.kernel)]
                taps = [(tap, place) for tap, place in places if 0 <= place < axis.size]
                padded = min(start + axis.kernel, axis.size + axis.padding) - start
                counted = padded if axis.counts_padding else len(taps)
            windows.append((taps, counted))
        made.append(windows)
    return made


def values(rng, *shape: int) -> np.ndarray:
    x = rng.normal(0, 2, shape).astype(np.float16)
    x[rng.random(shape) < 0.01] = 0
    return x


def memory_of(work: WindowsWork, rng, config: MachineConfig) -> dict[str, np.ndarray]:
    results = (work.images, *(axis.count for axis in work.axes))
    memory = {"in": values(rng, work.images, *(axis.size for axis in work.axes), work.channels)}
    if work.function == "depthwise":
        memory["weights"] = values(rng, work.taps + 1, work.channels)
    for index, step in enumerate(work.steps):
        if step.operand == "tensor":
            memory[f"operand{index}"] = values(rng, *results, work.channels)
        elif step.operand == "channel":
            memory[f"operand{index}"] = values(rng, work.channels)
    for form in work.outputs:
        bits = 16 if form == "fp16" else config.matrix.operand_bits
        memory[form] = np.full((*results, -(-work.channels * bits // 8)), 0xA5, np.uint8)
    return memory


def golden(work: WindowsWork, memory: dict[str, np.ndarray]) -> np.ndarray:
    x = memory["in"]
    if work.whole_images:
        flat = summed(x.reshape(work.images, -1, work.channels), work.function, work.divisor)
        result = flat.reshape(work.images, *(1 for _ in work.axes), work.channels)
    elif work.function == "depthwise":
        weights = memory["weights"][:-1].reshape(*(axis.taps for axis in work.axes), work.channels)
        result = depthwise(x, weights, memory["weights"][-1], spans(work.axes))
    else:
        result = pooled(x, spans(work.axes), work.function, work.divisor)
    for index, step in enumerate(work.steps):
        other = memory.get(f"operand{index}")
        if step.function == "relu":
            result = np.maximum(result, np.float16(0)) + np.float16(0)
        else:
            result = {"add": np.add, "multiply": np.multiply}[step.function](result, other)
    return result


def packed(x: np.ndarray, bits: int) -> np.ndarray:
    limit = 1 << (bits - 1)
    numbers = np.clip(np.rint(x.astype(float)), -limit, limit - 1).astype(int) & (1 << bits) - 1
    if bits == 8:
        return numbers.astype(np.uint8)
    if numbers.shape[-1] % 2:
        numbers = np.concatenate([numbers, np.zeros_like(numbers[..., :1])], axis=-1)
    return (numbers[..., ::2] | numbers[..., 1::2] << 4).astype(np.uint8)


def check(work: WindowsWork, config: MachineConfig, rng) -> dict[str, np.ndarray]:
    program = work.program(config)
    assert priced_only(program) == ()
    memory = memory_of(work, rng, config)
    execute_program(program, config, memory)
    wanted = golden(work, memory)
    if "fp16" in work.outputs:
        assert np.array_equal(memory["fp16"].view(np.uint16), wanted.view(np.uint16)), work
    if "quantised" in work.outputs:
        bits, found = config.matrix.operand_bits, memory["quantised"].copy()
        if work.channels % 2 and bits == 4:
            found[..., -1] &= 15
        assert np.array_equal(found, packed(wanted, bits)), work
    return memory


def axis_of(rng, largest: int, function: str) -> Axis:
    if function != "depthwise" and rng.random() < 0.2:
        return Axis(size=int(rng.integers(1, largest + 1)), results=int(rng.integers(1, 6)), adaptive=True)
    kernel, dilation = int(rng.integers(1, 6)), int(rng.integers(1, 3))
    if function in ("average", "sum"):
        dilation = 1
    padding = int(rng.integers(0, kernel if function == "depthwise" else kernel // 2 + 1))
    least = max(1, dilation * (kernel - 1) + 1 - 2 * padding)
    size, stride = int(rng.integers(least, max(least, largest) + 1)), int(rng.integers(1, 4))
    whole = (size + 2 * padding - dilation * (kernel - 1) - 1) / stride
    results = int(whole) + 1
    if (
        function != "depthwise"
        and whole != int(whole)
        and (results * stride) < size + padding
        and rng.random() < 0.5
    ):
        results += 1  # as ceil_mode has it
    counts = bool(rng.integers(0, 2))
    return Axis(
        size=size, kernel=kernel, stride=stride, dilation=dilation, padding=padding, results=results, counts_padding=counts
    )  # fmt: skip


STEPS = (
    (),
    (Step(function="relu"),),
    (Step(function="add", operand="tensor"), Step(function="relu")),
    (Step(function="multiply", operand="channel"), Step(function="add", operand="tensor")),
)
OUTPUTS = (("fp16",), ("quantised",), ("fp16", "quantised"))


@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_random_windows(function, name):
    rng = np.random.default_rng([SEED, FUNCTIONS.index(function), list(MACHINES).index(name)])
    print(f"seed {SEED}")
    for case in range(6):
        rank = int(rng.choice([1, 2, 2, 2, 3]))
        axes = tuple(axis_of(rng, {1: 40, 2: 10, 3: 5}[rank], function) for _ in range(rank))
        work = WindowsWork(
            function=function, images=int(rng.integers(1, 3)), axes=axes, channels=int(rng.choice([1, 2, 3, 16, 37, 70])),
            steps=STEPS[case % 4], outputs=OUTPUTS[case % 3],
        )  # fmt: skip
        check(work, MACHINES[name], rng)


def square(size: int, kernel: int, stride: int = 1, padding: int = 0, **more) -> tuple[Axis, Axis]:
    axis = Axis(size=size, kernel=kernel, stride=stride, padding=padding, **more)
    return axis, axis


LARGE = {
    "several bands": (square(16, 3, 1, 1), 40, "8 lanes", 1),
    "bands of several images": (square(9, 3, 2, 1), 80, "8 lanes", 3),
    "tiles of channels": (square(9, 3, 1, 1), 390, "8 lanes", 1),
    "tiles and borders of a wide window": (square(6, 7, 1, 3), 140, "8 lanes", 1),
    "strided bands": (square(17, 5, 2, 2), 40, "8 lanes", 1),
    "a long axis": ((Axis(size=200, kernel=31, padding=15),), 40, "8 lanes", 1),
    "a long axis without padding": ((Axis(size=199, kernel=4),), 130, "8 lanes", 2),
    "a column": ((Axis(size=100, kernel=3, padding=1), Axis(size=1)), 33, "8 lanes", 1),
    "volumes": ((Axis(size=4, kernel=3, padding=1), *square(10, 3, 2, 1)), 40, "8 lanes", 1),
    "windows without a tap": (square(3, 2, 1, 3, dilation=5), 20, "machine", 1),
}


@pytest.mark.parametrize("case", LARGE)
@pytest.mark.parametrize("function", ["max", "depthwise"])
def test_windows_of_several_bands_and_tiles(function, case):
    axes, channels, name, images = LARGE[case]
    steps = (Step(function="relu"), Step(function="add", operand="tensor"))
    work = WindowsWork(
        function=function,
        images=images,
        axes=axes,
        channels=channels,
        steps=steps,
        outputs=("fp16", "quantised"),
    )
    check(work, MACHINES[name], np.random.default_rng(SEED))


def test_constants_that_are_read_too_often_are_loaded_again(monkeypatch):
    work = WindowsWork(function="depthwise", axes=square(12, 7, 1, 3), channels=40)
    config, rng = MACHINES["8 lanes"], np.random.default_rng(SEED)
    assert "@weights.1" not in work.program(config).buffers_bytes
    monkeypatch.setattr(window_bands, "MOST_ACCESSES", 700)
    program = work.program(config)
    assert "@weights.1" in program.buffers_bytes
    assert max(counted_reads(program).values()) <= 700
    check(work, config, rng)


def test_a_band_has_no_more_stores_than_the_core_can_count():
    work = WindowsWork(function="max", axes=square(290, 1), channels=1)
    assert max(counted_stores(work.program(MACHINE)).values()) < 1 << 15


def counted_reads(program: Program) -> dict[str, int]:
    """Vector loads of each buffer between two writes of it, at most."""
    return counted(program, lambda i: i.writes, lambda i: () if i.opcode == "dma.store" else i.reads)


def counted_stores(program: Program) -> dict[str, int]:
    """Vector stores to each buffer between two reads of it, at most."""
    return counted(program, lambda i: i.reads, lambda i: () if i.opcode == "dma.load" else i.writes)


def counted(program: Program, clears: Names, counts: Names) -> dict[str, int]:
    most: dict[str, int] = {}
    now: dict[str, int] = {}

    def walk(body: Iterable[Node]) -> None:
        for node in body:
            if isinstance(node, Loop):
                for _ in range(node.count):
                    walk(node.body)
            elif isinstance(node, Rotate):
                moved = [now.pop(name, 0) for name in (*node.names[1:], node.names[0])]
                now.update(zip(node.names, moved, strict=True))
            else:
                now.update(dict.fromkeys(clears(node), 0))
                for name in counts(node):
                    if name.startswith("@"):
                        now[name] = now.get(name, 0) + 1
                        most[name] = max(most.get(name, 0), now[name])

    walk(program.body)
    return most


@pytest.mark.parametrize("taps", [1, 15, 16, 17, 100, 900])
@pytest.mark.parametrize("function", ["max", "average", "sum"])
def test_sums_of_whole_images(function, taps):
    rng = np.random.default_rng([SEED, taps])
    for channels, images, name in ((40, 3, "machine"), (100, 1, "1 lane"), (33, 2, "2 lanes")):
        work = WindowsWork(
            function=function, images=images, axes=(Axis(size=taps, kernel=taps),), channels=channels,
            steps=(Step(function="add", operand="channel"), Step(function="multiply", operand="tensor")), outputs=("fp16", "quantised"),
        )  # fmt: skip
        assert work.whole_images
        check(work, MACHINES[name], rng)


def test_an_average_of_many_is_near_their_average():
    rng = np.random.default_rng(SEED)
    x = np.abs(values(rng, 1, 112 * 112, 32)) + np.float16(1)
    exact = x.astype(np.float64).mean(axis=1)
    assert np.abs(summed(x, "average") / exact - 1).max() < 2**-9


def test_the_largest_of_numbers_and_nans_is_the_number():
    x = np.array([[np.nan, 1, -np.inf, np.nan, np.nan, 3]], np.float16).reshape(1, 6, 1)
    work = WindowsWork(function="max", axes=(Axis(size=6, kernel=2, stride=2),), channels=1)
    result = np.zeros((3,), np.float16)
    execute_program(work.program(MACHINE), MACHINE, {"in": x, "fp16": result})
    assert result[0] == 1
    assert result[1] == -np.inf
    assert result[2] == 3


def nchw(x: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.moveaxis(x, -1, 1).astype(np.float32))


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding"), [(3, 2, 1), (2, 2, 0), (3, 1, 1), (4, 3, 2), (5, 2, 2)]
)
def test_pools_are_pytorch_s(kernel, stride, padding, ceil_mode):
    rng = np.random.default_rng(SEED)
    x = values(rng, 2, 9, 12, 24)
    for function, counts in (("max", True), ("average", True), ("average", False)):
        if function == "max":
            wanted = torch.nn.functional.max_pool2d(nchw(x), kernel, stride, padding, ceil_mode=ceil_mode)
        else:
            wanted = torch.nn.functional.avg_pool2d(nchw(x), kernel, stride, padding, ceil_mode, counts)
        axes = tuple(
            Axis(
                size=size,
                kernel=kernel,
                stride=stride,
                padding=padding,
                results=results,
                counts_padding=counts,
            )
            for size, results in zip(x.shape[1:3], wanted.shape[2:], strict=True)
        )
        work = WindowsWork(function=function, images=2, axes=axes, channels=24)
        made = check_values(work, x)
        assert np.abs(nchw(made) - wanted).max() <= (0 if function == "max" else 0.02)


@pytest.mark.parametrize("results", [(1, 1), (3, 5), (9, 12), (14, 7), (6, 6)])
def test_adaptive_pools_are_pytorch_s(results):
    rng = np.random.default_rng(SEED)
    x = values(rng, 2, 9, 12, 24)
    for function in ("max", "average"):
        pool = getattr(torch.nn.functional, f"adaptive_{function[:3].replace('ave', 'avg')}_pool2d")
        axes = tuple(
            Axis(size=size, results=count, adaptive=True)
            for size, count in zip(x.shape[1:3], results, strict=True)
        )
        made = check_values(WindowsWork(function=function, images=2, axes=axes, channels=24), x)
        assert np.abs(nchw(made) - pool(nchw(x), results)).max() <= (0 if function == "max" else 0.02)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation"), [(3, 1, 1, 1), (3, 2, 1, 1), (5, 1, 4, 2), (7, 1, 3, 1)]
)
def test_depthwise_convolutions_are_pytorch_s(kernel, stride, padding, dilation):
    rng = np.random.default_rng(SEED)
    x, weights = values(rng, 1, 9, 10, 40), values(rng, kernel * kernel + 1, 40)
    wanted = torch.nn.functional.conv2d(
        nchw(x), torch.from_numpy(weights[:-1].T.reshape(40, 1, kernel, kernel).astype(np.float32)),
        torch.from_numpy(weights[-1].astype(np.float32)), stride, padding, dilation, 40,
    )  # fmt: skip
    axes = tuple(
        Axis(size=size, kernel=kernel, stride=stride, padding=padding, dilation=dilation)
        for size in x.shape[1:3]
    )
    made = check_values(WindowsWork(function="depthwise", axes=axes, channels=40), x, weights=weights)
    assert made.shape[1:3] == tuple(wanted.shape[2:])
    assert np.abs(nchw(made) - wanted).max() <= 2**-10 * kernel * kernel * 16


def check_values(work: WindowsWork, x: np.ndarray, **more: np.ndarray) -> np.ndarray:
    result = np.zeros((work.images, *(axis.count for axis in work.axes), work.channels), np.float16)
    execute_program(work.program(MACHINE), MACHINE, {"in": x, "fp16": result, **more})
    return result


def test_bands_are_all_results_once():
    rng = np.random.default_rng(SEED)
    for _ in range(300):
        axis = axis_of(rng, 40, str(rng.choice(["max", "depthwise"])))
        size, together = int(rng.integers(1, 9)), int(rng.integers(1, 5))
        seen: list[tuple[int, int]] = []
        for band in bands(axis, size, together):
            for repetition in range(band.count):
                for group in band.groups:
                    for turn in range(group.count):
                        for place, span in enumerate(group.spans):
                            number = (
                                group.result
                                + turn * len(group.spans)
                                + place
                                + repetition * len(band.results)
                            )
                            seen.append((number, span.start + turn * group.step + repetition * band.step))
        assert seen == [(result, axis.span(result).start) for result in range(axis.count)]


@pytest.mark.parametrize("name", ["size", "kernel", "stride", "dilation"])
def test_an_axis_has_positive_numbers(name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, not 0"):
        Axis(**{"size": 4, name: 0})


def test_a_window_fits_its_axis():
    with pytest.raises(ValueError, match="kernel must fit the padded axis, not 5 x 2 on 4"):
        Axis(size=4, kernel=5, dilation=2, padding=1)


def test_a_band_that_the_scratchpad_does_not_hold_is_refused():
    work = WindowsWork(function="max", axes=(Axis(size=9, kernel=3), Axis(size=5000, kernel=3)), channels=64)
    with pytest.raises(ValueError, match=r"scratchpad\.size_kib must hold two bands of the input"):
        work.program(MACHINES["8 lanes"])


def test_programs_are_legal_streams(check_stream):
    work = WindowsWork(
        function="depthwise",
        axes=square(14, 5, 1, 2),
        channels=70,
        steps=(Step(function="silu"),),
        outputs=("fp16", "quantised"),
    )
    check_stream(work.program(MACHINE), MACHINE)
