"""A recipe on the elements of several tensors at once: complex products, sums over planes, whatever is element by element.

Tensors come in groups: of each a group has some rows of ``width`` elements, all rows' elements of one place go through the recipe together. Groups go through
double buffers; tensors that every group shares are loaded once. The golden model is :func:`lanewise.models.recipe.evaluate`.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import ceil

from lanewise.config import MachineConfig
from lanewise.mapping.kernels.builder import STRIP, VectorKernel
from lanewise.mapping.kernels.price import price
from lanewise.mapping.kernels.recipes import RecipeCode
from lanewise.mapping.kernels.schedule import schedule
from lanewise.mapping.kernels.strips import load, store
from lanewise.models.recipe import Place, Recipe
from lanewise.sim.program import Address, Node, Program, Rotate, repeat


@dataclass(frozen=True, kw_only=True, slots=True)
class Stream:
    """A tensor of groups of ``rows`` rows."""

    name: str
    rows: int = 1
    bits: int = 32
    """Of an element: 8, 16 or 32."""
    shared: bool = False
    """Whether the tensor is one group, which every group of the others goes with."""


@dataclass(frozen=True, kw_only=True)
class RecipeWork:
    """``recipes``, one after the other, on ``groups`` groups of rows of ``width`` elements.

    Tensors: of each stream one of its name, shape ``(groups, rows, width)``, or ``(rows, width)`` if shared. What a later recipe loads of an output
    an earlier one has stored.

    Raises:
        ValueError: A recipe names a buffer that is no stream.
    """

    recipes: tuple[Recipe, ...]
    groups: int
    width: int
    inputs: tuple[Stream, ...]
    outputs: tuple[Stream, ...]

    def __post_init__(self) -> None:
        names = {stream.name for stream in (*self.inputs, *self.outputs)}
        for recipe in self.recipes:
            for step in recipe.steps:
                if step.place is not None and step.place.buffer not in names:
                    raise ValueError(
                        f"buffer must be one of {', '.join(sorted(names))}, not {step.place.buffer!r}"
                    )

    @property
    def macs(self) -> int:
        """None: the array is not used."""
        return 0

    def program(self, config: MachineConfig) -> Program:
        """Group after group, in the strips that take the fewest clocks.

        Raises:
            ValueError: The registers or the scratchpad do not hold it.
        """
        return _fastest(self, config)


@lru_cache(maxsize=256)
def _fastest(work: RecipeWork, config: MachineConfig) -> Program:
    best: tuple[int, Program] | None = None
    problem: ValueError | None = None
    widest = max(recipe.bits for recipe in work.recipes)
    register = config.vector.vlen_bits // widest
    alone = all(stream.rows == 1 for stream in (*work.inputs, *work.outputs))
    for group in (4, 2, 1):
        pieces = ceil(work.width / (group * register))
        vl = ceil(work.width / pieces)
        for ways in (1, 2, 4):
            exact = vl * ways * (pieces // ways) == work.width
            if ways > pieces or not (exact or alone):
                continue
            try:
                program = _program(work, config, vl, ways, widest)
            except ValueError as error:
                problem = error
                continue
            clocks = price(program, config).cycles
            if best is None or clocks < best[0]:
                best = clocks, program
    if best is None:
        raise problem or ValueError(f"width must be whole strips of several rows, not {work.width}")
    return best[1]


def _program(work: RecipeWork, config: MachineConfig, vl: int, ways: int, widest: int) -> Program:
    kernel = VectorKernel(config=config, vl=vl)
    streams = {stream.name: stream for stream in (*work.inputs, *work.outputs)}
    at = 0

    def place(where: Place) -> Address:
        stream = streams[where.buffer]
        size = stream.bits // 8
        start = (where.row * work.width + at * vl) * size
        return Address(f"@{_copy(stream)}", start).along(STRIP, ways * vl * size)

    writer = RecipeCode(kernel, place, widest)
    code: list[Node] = []
    strips = ceil(work.width / (vl * ways))
    for recipe in work.recipes:
        kernel.code = []
        for way in range(ways):
            at = way
            writer.emit(recipe)
        code += repeat(strips, *schedule(kernel.code, config), index=STRIP)
    before: list[Node] = [_move(work, stream, load) for stream in work.inputs if stream.shared]
    inner: list[Node] = [_move(work, stream, load) for stream in work.inputs if not stream.shared]
    inner += code
    inner += [_move(work, stream, store) for stream in work.outputs]
    inner += [
        Rotate(names=(f"@{name}.0", f"@{name}.1")) for name, stream in streams.items() if not stream.shared
    ]
    sizes: dict[str, int] = {}
    for stream in streams.values():
        size = ((stream.rows - 1) * work.width + strips * ways * vl) * stream.bits // 8
        for copy in ("",) if stream.shared else (".0", ".1"):
            sizes[f"@{stream.name}{copy}"] = size
    return Program(body=(*before, *repeat(work.groups, *inner, index="group")), buffers_bytes=sizes)


def _copy(stream: Stream) -> str:
    return stream.name if stream.shared else f"{stream.name}.0"


def _move(work: RecipeWork, stream: Stream, move: object) -> Node:
    size = stream.rows * work.width * stream.bits // 8
    outside = Address(stream.name)
    if not stream.shared:
        outside = outside.along("group", size)
    transfer = load if move is load else store
    return transfer(f"@{_copy(stream)}", 1, size, external=outside)
