"""Kernels of the mapping on the core: small works, the memory that they start from, and what the engine says of them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import TypeAlias

import numpy as np

from lanewise.config import MachineConfig, MatrixConfig
from lanewise.mapping.functional import Memory, execute_program
from lanewise.mapping.kernels.builder import TABLE
from lanewise.mapping.kernels.copies import FILL, Copy, Level
from lanewise.mapping.kernels.elementwise import CHUNK_ELEMENTS, ElementwiseWork
from lanewise.mapping.kernels.epilogue import Step
from lanewise.mapping.kernels.fft import FftWork
from lanewise.mapping.kernels.fft_columns import ColumnsFftWork
from lanewise.mapping.kernels.generated import Generated
from lanewise.mapping.kernels.matmul import MatmulWork
from lanewise.mapping.kernels.movement import FillWork, LookUpWork, MovementWork
from lanewise.mapping.kernels.patches import Patches
from lanewise.mapping.kernels.price import priced
from lanewise.mapping.kernels.recipe_work import RecipeWork, Stream
from lanewise.mapping.kernels.rows import FUNCTIONS, ROWS_HELD, RowsWork
from lanewise.mapping.kernels.scan import ScanWork
from lanewise.mapping.kernels.window_axes import Axis
from lanewise.mapping.kernels.windows import FUNCTIONS as WINDOWS
from lanewise.mapping.kernels.windows import WindowsWork
from lanewise.mapping.tables import table_bytes
from lanewise.mapping.workloads.lsnn.step_work import GeneratingStepWork
from lanewise.mapping.workloads.spsn.layer import SpikingLayerWork
from lanewise.mapping.workloads.spsn.readout import ReadoutWork
from lanewise.models.fft_columns import Columns
from lanewise.models.recipe import Recipe
from lanewise.models.scan import OPERATORS
from lanewise.sim.engine import run
from lanewise.sim.program import Program, flatten_once, priced_only
from lanewise.verify.core_entries import Command, Entry
from lanewise.verify.core_outcomes import Clocks, Watched
from lanewise.verify.core_tiles import matrix_tables
from lanewise.verify.host import Host

Work: TypeAlias = (
    ElementwiseWork
    | RowsWork
    | MovementWork
    | LookUpWork
    | FillWork
    | ScanWork
    | FftWork
    | ColumnsFftWork
    | RecipeWork
    | WindowsWork
    | MatmulWork
    | SpikingLayerWork
    | ReadoutWork
    | GeneratingStepWork
)

_FAR = 32
"""Tensors begin so many bits apart where only their sizes are asked for."""
PAGE_BYTES = 4096
"""Tensors of external memory begin at multiples of it."""


@dataclass(frozen=True, kw_only=True)
class KernelRun:
    """A Program, what the core's streams are fed for it, and external memory before and after it."""

    name: str
    program: Program
    entries: list[Entry]
    before: bytes
    after: bytes


def works(config: MachineConfig) -> Iterator[tuple[str, Work]]:
    """Works of every kind of kernel that the core's streams can run, at several sizes."""
    functions = (
        ("gelu", "silu", "tanh", "sigmoid", "exp", "relu")
        if config.flex_sfu.enabled
        else ("gelu", "exp", "mish", "relu")
    )
    for function in functions:
        for elements in (1, 37, 700):
            yield (
                f"{function} of {elements}",
                ElementwiseWork(elements=elements, steps=(Step(function=function),)),
            )
    chain = (
        Step(function="multiply", operand="scalar", constant=0.3), Step(function="add", operand="tensor"), Step(function="silu"),
        Step(function="multiply", operand="tensor"),
    )  # fmt: skip
    yield "chain of 500", ElementwiseWork(elements=500, steps=chain)
    yield "unaligned chunks", ElementwiseWork(elements=2 * CHUNK_ELEMENTS + 77, outputs=("quantised",))
    yield "quantised 600", ElementwiseWork(elements=600, outputs=("fp16", "quantised"))
    for function in FUNCTIONS:
        for rows, length in ((3, 8), (5, 33), (2, 700)):
            affine = function.endswith("norm")
            yield (
                f"{function} of {rows} x {length}",
                RowsWork(function=function, rows=rows, length=length, affine=affine),
            )
    long = config.scratchpad.bytes // (2 * ROWS_HELD) + 39
    yield f"layer norm of {long}, streamed", RowsWork(function="layer_norm", rows=1, length=long, affine=True)
    pieces = RowsWork(function="layer_norm", rows=4, length=75, affine=True, groups=2, channels=6)
    yield "group norm of 4 x 75, in pieces", pieces
    yield from _movements(config)
    yield "zeros", FillWork(elements=300)
    for operator in OPERATORS:
        for bits, rows, length in ((16, 1, 75), (32, 5, 23)):
            for outermost in (False, True):
                work = ScanWork(
                    operator=operator,
                    rows=rows,
                    length=length,
                    bits=bits,
                    decay=0.75,
                    time_outermost=outermost,
                )
                yield f"scan {operator} of {rows} x {length}{' over time' * outermost}", work
    for batch, length, inverse in ((1, 8, False), (9, 8, True), (2, 32, True), (1, 64, False)):
        yield f"fft of {batch} x {length}", FftWork(batch=batch, length=length, inverse=inverse)
    yield from _spiking(config)
    for orbits, angle in ((3, False), (config.vector.vlen_bits // 32 + 1, True)):
        step = GeneratingStepWork(sizes=(4, 10, 5, 1), orbits=orbits, steps=2, iterations=1, angle=angle)
        yield f"generating step of {orbits} orbits", step
    yield from _columns()
    yield "recipe", every_operation()
    yield from _windows()
    if config.matrix.splits:
        yield from _products(config.matrix)
        if config.weight_generator.enabled:
            yield from _generated(config.matrix)


def _spiking(config: MachineConfig) -> Iterator[tuple[str, Work]]:
    """Layers of spiking neurons: a mask a step and two, lines side by side, segments of time, both generators; the sums of outputs."""
    half = config.vector.vlen_bits // 16
    for model, neurons, batch in (
        ("lif", 4, 1),
        ("lif", 2 * half, 1),
        ("lif", half, 4),
        ("spsn", 2 * half, 2),
        ("spsn", 4, 1),
    ):
        yield (
            f"{model} of {neurons}, batch {batch}",
            SpikingLayerWork(model=model, neurons=neurons, steps=69, batch=batch),
        )
    parts = SpikingLayerWork(
        model="spsn", neurons=half, steps=67, segments=2, warm_up=11, generator="xorshift"
    )
    yield "spsn in segments", parts
    yield "readout", ReadoutWork(columns=half + 3, steps=69)


def _movements(config: MachineConfig) -> Iterator[tuple[str, MovementWork | LookUpWork]]:
    """Copies: contiguous, at distances, backwards, the same again, of more levels than a command has, transposed; fills; rows by their numbers."""

    def copies(*given: Copy, form: str = "fp16") -> MovementWork:
        return MovementWork(copies=given, form=form)

    yield "copy", copies(Copy(run=3001))
    yield "transposition", copies(Copy(levels=(Level(33, 20, 1), Level(20, 1, 33))))
    yield "transposed matrices", copies(Copy(levels=(Level(3, 300, 300), Level(12, 25, 1), Level(25, 1, 12))))
    yield "slice", copies(Copy(levels=(Level(7, 101, 45),), run=45, first=4))
    parts = (Level(7, 45, 96),), (Level(7, 51, 96),)
    yield (
        "concatenation",
        copies(Copy(levels=parts[0], run=45), Copy(levels=parts[1], run=51, source="in1", target=45)),
    )
    windows = (Level(2, 336, 168), Level(3, 28, 28), Level(2, 84, 84), Level(2, 168, 336))
    yield "windows", copies(Copy(levels=windows, run=26))
    yield "backwards", copies(Copy(levels=(Level(6, -14, 14), Level(7, 2, 2)), run=2, first=70))
    yield "repetition", copies(Copy(levels=(Level(40, 0, 24),), run=24))
    yield "repetition of parts", copies(Copy(levels=(Level(5, 9, 63), Level(7, 0, 9)), run=9))
    borders = Copy(source=FILL, run=23), Copy(source=FILL, levels=(Level(5, 0, 22),), run=3, target=42)
    yield "padding", copies(Copy(levels=(Level(6, 19, 22),), run=19, target=23), *borders)
    if config.matrix.splits:
        yield (
            "operands",
            copies(Copy(levels=(Level(9, 30, 18), Level(2, 300, 200)), run=18), form="quantised"),
        )


def _products(matrix: MatrixConfig) -> Iterator[tuple[str, MatmulWork]]:
    """Matrix products: widths, layouts, ends of tiles, what is done to the results; most of these in a range that shows the sums."""
    plain = MatmulWork(m=9, k=21, n=10, multiplier=3, shift=20)
    yield "product", plain
    yield "product of INT8", replace(plain, left_bits=8, right_bits=8, shift=28)
    chunks = replace(plain, m=matrix.rows, k=9000, n=matrix.columns, left_bits=8, shift=30)
    yield "product of INT8 and INT4, k in chunks", chunks
    yield "product of INT8, k in chunks", replace(chunks, k=6000, right_bits=8, shift=34)
    heads = replace(
        plain, k=8, batch=3, weights=False, left_pitch=24, left_step=8, right_pitch=24, right_step=8, result_pitch=30,
        result_step=10,
    )  # fmt: skip
    yield "products of heads side by side", heads
    yield "products of two operands", replace(plain, batch=3, weights=False, multiplier=40_000)
    turned = replace(plain, m=10, n=8, left_transposed=True, right_transposed=True)
    yield "product of transposed operands", turned
    yield "product to INT4", replace(plain, outputs=("quantised",), shift=26)
    steps = (Step(function="add", operand="tensor"), Step(function="relu"))
    yield "product and steps", replace(plain, steps=steps, outputs=("fp16", "quantised"))
    patches = Patches(
        images=1, channels=4, size=(5, 6), kernel=(3, 3), stride=(1, 2), dilation=(1, 1), padding=(1, 1)
    )
    yield "convolution", replace(plain, m=patches.lines, k=patches.k(4), patches=patches)


def _generated(matrix: MatrixConfig) -> Iterator[tuple[str, MatmulWork]]:
    """Weights from a seed: blocks as wide as the array and less, a last one that is not whole, several products, a convolution."""
    lines = matrix.columns
    plain = MatmulWork(
        m=9, k=21, n=3 * lines - 1, multiplier=3, shift=20, generated=Generated(seed=7, lines=lines)
    )
    yield "product with generated weights", plain
    narrow = next(d for d in range(max(1, lines - 1), 0, -1) if lines % d == 0)
    blocks = Generated(seed=2**32 - 1, lines=narrow)
    yield "products with generated weights in small blocks", replace(plain, batch=2, k=20, generated=blocks)
    patches = Patches(
        images=1, channels=4, size=(5, 6), kernel=(3, 3), stride=(1, 2), dilation=(1, 1), padding=(1, 1)
    )
    convolution = replace(
        plain, m=patches.lines, k=patches.k(4), patches=patches, outputs=("quantised",), shift=24
    )
    yield "convolution with generated filters", convolution


def _columns() -> Iterator[tuple[str, Work]]:
    """Transforms of columns: every radix and order, rows that are zero or not wanted, FP16, real planes."""
    yield (
        "fft of columns",
        ColumnsFftWork(columns=Columns(length=8), planes=2, width=5, results=("cpr", "rpc")),
    )
    some = Columns(length=32, filled=3, kept=5)
    yield "fft of columns, in part", ColumnsFftWork(columns=some, planes=3, width=3, sources=("rpc", "pcr"), results=("rpc", "pcr"))  # fmt: skip
    yield "fft of columns, FP16", ColumnsFftWork(columns=Columns(length=16, bits=16), planes=1, width=9, results=("pcr", "prc"))  # fmt: skip
    for half in ("split", "join"):
        real, halves = ("rpc", "rpc"), ("cpr", "prc")
        sources, results = (real, halves) if half == "split" else (halves, real)
        columns = Columns(length=8, split=half == "split", join=half == "join")
        yield f"fft of columns, {half}", ColumnsFftWork(columns=columns, planes=2, width=4, sources=sources, results=results)  # fmt: skip


def every_operation(bits: int = 32) -> RecipeWork:
    """Every operation that a recipe has, its sources wanted again or not."""
    recipe = Recipe(bits)
    a, b, c = recipe.load("a"), recipe.load("b", 1), recipe.load("half", bits=16)
    first = recipe.subtract(recipe.add(a, b), recipe.times(0.3, c))
    assert first is not None
    second = recipe.add_times(first, -0.7, a)  # all wanted again
    assert second is not None
    third = recipe.product_subtract(second, first, recipe.subtract_product(second, b, c))
    fourth = recipe.add_product(recipe.constant(0.5), third, recipe.reciprocal(recipe.plus(2.5, b)))
    last = recipe.times_subtract(1.5, recipe.multiply(fourth, second), first)
    recipe.store(last, "out")
    recipe.store(third, "narrow", bits=16)
    recipe.store_integer(fourth, "integer")
    inputs = (Stream(name="a", bits=bits), Stream(name="b", rows=2, bits=bits), Stream(name="half", bits=16, shared=True))  # fmt: skip
    outputs = (Stream(name="out", bits=bits), Stream(name="narrow", bits=16), Stream(name="integer", bits=8))
    return RecipeWork(recipes=(recipe.pruned(),), groups=3, width=12, inputs=inputs, outputs=outputs)


def _windows() -> Iterator[tuple[str, Work]]:
    """Windows of every function: bands and borders, an axis, a volume, uneven windows, whole images."""
    square = (Axis(size=9, kernel=3, padding=1), Axis(size=11, kernel=3, stride=2, padding=1))
    for function in WINDOWS:
        steps = (Step(function="relu"), Step(function="add", operand="tensor"))
        yield (
            f"{function} of windows",
            WindowsWork(
                function=function,
                images=2,
                axes=square,
                channels=20,
                steps=steps,
                outputs=("fp16", "quantised"),
            ),
        )
        yield (
            f"{function} along an axis",
            WindowsWork(function=function, axes=(Axis(size=150, kernel=7),), channels=37),
        )
    wide = Axis(size=7, kernel=7, padding=3)
    yield "depthwise of wide windows", WindowsWork(function="depthwise", axes=(wide, wide), channels=70)
    volume = (Axis(size=3, kernel=2, padding=1), Axis(size=4, kernel=3), Axis(size=5, kernel=2, stride=2))
    yield "average of volumes", WindowsWork(function="average", axes=volume, channels=18)
    uneven = (Axis(size=7, results=3, adaptive=True), Axis(size=5, results=4, adaptive=True))
    yield "adaptive average", WindowsWork(function="average", axes=uneven, channels=16)
    for function in ("max", "average", "sum"):
        whole = (Axis(size=5, kernel=5), Axis(size=7, kernel=7))
        yield f"{function} of whole images", WindowsWork(function=function, images=2, axes=whole, channels=40)


def kernel_runs(config: MachineConfig, rng: np.random.Generator) -> Iterator[KernelRun]:
    """Every work of :func:`works` with random values.

    Raises:
        ValueError: A Program has instructions that cannot be executed.
    """
    for name, work in works(config):
        program = work.program(config)
        if missing := priced_only(program):
            raise ValueError(f"{name}: the Program must have operands for {', '.join(missing)}")
        yield _run_of(name, program, config, rng)


def _run_of(name: str, program: Program, config: MachineConfig, rng: np.random.Generator) -> KernelRun:
    externals = dict.fromkeys(i.external.base for i in flatten_once(program.body) if i.external is not None)
    far = {tensor: number << _FAR for number, tensor in enumerate(externals)}
    sizes = dict.fromkeys(externals, 0)
    for entry in Host(program=program, config=config, tensors=far).entries:  # how much of each it touches
        if isinstance(entry, Command):
            transfer = entry.transfer
            end = transfer.external + (transfer.runs - 1) * transfer.external_stride + transfer.run_bytes
            tensor = list(externals)[transfer.external >> _FAR]
            sizes[tensor] = max(sizes[tensor], end - far[tensor])
    memory = {tensor: _initial(tensor, size, config, rng) for tensor, size in sizes.items()}
    places, size = paged(memory)
    before = image(memory, places, size)
    entries = Host(program=program, config=config, tensors=places).entries
    execute_program(program, config, memory)
    return KernelRun(
        name=name, program=program, entries=entries, before=before, after=image(memory, places, size)
    )


def paged(memory: Memory) -> tuple[dict[str, int], int]:
    """Where each tensor of external memory begins, one after the other, and how many bytes that is."""
    places, at = {}, 0
    for tensor, values in memory.items():
        places[tensor] = at
        at += -(-values.nbytes // PAGE_BYTES) * PAGE_BYTES
    return places, at


def image(memory: Memory, places: Mapping[str, int], size: int) -> bytes:
    """External memory of ``size`` bytes with its tensors in their places."""
    whole = np.zeros(size, np.uint8)
    for tensor, values in memory.items():
        whole[places[tensor] : places[tensor] + values.nbytes] = values.reshape(-1).view(np.uint8)
    return whole.tobytes()


def _initial(tensor: str, size: int, config: MachineConfig, rng: np.random.Generator) -> np.ndarray:
    if tensor.startswith(TABLE):
        return table_bytes(tensor, config.flex_sfu)
    if tensor == "constants":
        matrix = config.matrix
        one = matrix.constants_bytes
        tables = matrix_tables(matrix, rng, -(-size // one))
        return np.concatenate([*islice(tables, -(-size // one))])[:size]
    if tensor in ("left", "right"):
        return rng.integers(0, 256, size, np.uint8)
    values = rng.normal(0, 3, -(-size // 2)).astype(np.float16)
    special = rng.random(values.size) < 0.05
    values[special] = rng.choice(
        np.array([0, -0.0, np.inf, -np.inf, np.nan, 6e-8, 65504], np.float16), int(special.sum())
    )
    return values.view(np.uint8)[:size].copy()


def simulated(config: MachineConfig, program: Program) -> Clocks:
    """Every start and end of the Program as the engine prices it, by the timing table alone."""
    watched = Watched()
    run(priced(program, config), config, summarise=False, watcher=watched.add)
    return watched.clocks
