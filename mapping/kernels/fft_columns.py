"""Fourier transforms of the columns of arrays, as many columns side by side as a register has elements.

A slab of columns goes through double buffers. Its butterflies are straight-line code for the slab, whose twiddles are the instructions' constants;
two stages of radix 8 take 64 rows, so that a row is loaded and stored twice. Of a transform in two directions the second one's columns are the first
one's rows: DMA turns them, element by element, a clock each. Where one part is turned as it is stored and the other as it is loaded, that
takes less time than the butterflies. The golden model is :mod:`lanewise.models.fft_columns`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import ceil

from lanewise.config import MachineConfig
from lanewise.mapping.kernels.builder import VectorKernel
from lanewise.mapping.kernels.recipes import RecipeCode
from lanewise.mapping.kernels.schedule import schedule
from lanewise.mapping.kernels.strips import load, store
from lanewise.models.fft_columns import PARTS, Columns, stages
from lanewise.models.recipe import Place
from lanewise.sim.program import Address, Instruction, Node, Program, Rotate, repeat

ORDERS = ("prc", "rpc", "pcr", "cpr")
"""Axes of a tensor, outermost first: planes, rows (which are transformed), columns."""


@dataclass(frozen=True, kw_only=True)
class ColumnsFftWork:
    """The transform of every column of ``planes`` arrays of ``columns.length`` rows and ``width`` columns.

    Tensors: ``in real``, ``in imaginary``, ``out real`` and ``out imaginary``, their axes in the order that ``sources`` or ``results`` says for the part.
    What is real, the input of ``split`` and the result of ``join``, is one tensor, ``in`` or ``out``, of twice the planes: plane p goes with plane
    ``planes + p``. The two halves that ``split`` makes of them, and ``join`` takes, lie likewise in planes p and ``planes + p``.

    Raises:
        ValueError: An order is none of :data:`ORDERS`, or a slab across planes cannot be addressed so.
    """

    columns: Columns
    planes: int
    width: int
    sources: tuple[str, str] = ("prc", "prc")
    """Order of real and imaginary tensors of the input."""
    results: tuple[str, str] = ("prc", "prc")

    def __post_init__(self) -> None:
        for order in (*self.sources, *self.results):
            if order not in ORDERS:
                raise ValueError(f"order must be one of {', '.join(ORDERS)}, not {order!r}")
        real = (self.sources,) * self.columns.split + (self.results,) * self.columns.join
        if any(first != second for first, second in real):
            raise ValueError(f"orders of a real tensor must be one, not {real[0][0]} and {real[0][1]}")

    @property
    def macs(self) -> int:
        """None: the array is not used."""
        return 0

    @property
    def merged(self) -> bool:
        """Whether slabs may reach from plane to plane."""
        paired = self.columns.join or self.columns.split
        return not paired and {*self.sources, *self.results} <= {"rpc", "pcr"}

    def program(self, config: MachineConfig) -> Program:
        """Slab after slab.

        Raises:
            ValueError: The registers or the scratchpad do not hold it.
        """
        return _written(self, config)


@lru_cache(maxsize=128)
def _written(work: ColumnsFftWork, config: MachineConfig) -> Program:
    return _Writer(work, config).program()


@lru_cache(maxsize=64)
def code_of(columns: Columns, vl: int, config: MachineConfig) -> tuple[Instruction, ...]:
    """Straight-line code of a slab of ``vl`` columns."""
    kernel = VectorKernel(config=config, vl=vl)
    doubled = {name for name, _ in (*columns.sources, *columns.results)}

    def place(at: Place) -> Address:
        buffer = f"@{at.buffer}.0" if at.buffer in doubled else f"@{at.buffer}"
        return Address(buffer, at.row * vl * columns.bits // 8)

    made: list[Instruction] = []
    writer = RecipeCode(kernel, place, columns.bits)
    for stage in stages(columns):
        kernel.code = []
        for recipe in stage:
            writer.emit(recipe)
        made += schedule(kernel.code, config)
    return tuple(made)


class _Writer:
    """Writes the Program of a work."""

    def __init__(self, work: ColumnsFftWork, config: MachineConfig) -> None:
        self.work, self.config, self.columns = work, config, work.columns
        self.size = work.columns.bits // 8
        self.total = work.planes * work.width if work.merged else work.width
        most = config.vector.vlen_bits // work.columns.bits
        self.vl = min(self.total, most)
        if not work.merged:  # equal slabs of a plane
            self.vl = ceil(work.width / ceil(work.width / most))

    def program(self) -> Program:
        """The loop over planes and slabs, the rest of a plane behind it."""
        work, columns = self.work, self.columns
        code = code_of(columns, self.vl, self.config)
        planes = 1 if work.merged else work.planes
        whole, rest = divmod(self.total, self.vl)
        doubled = [name for name, _ in (*columns.sources, *columns.results)]
        turn = [Rotate(names=(f"@{name}.0", f"@{name}.1")) for name in doubled]
        inner: list[Node] = []
        for count, width, first in ((whole, self.vl, 0), (1, rest, whole * self.vl)):
            if count and width:
                slab = [*self._loads(width, first), *code, *self._stores(width, first), *turn]
                inner += repeat(count, *slab, index="slab")
        rows = dict((*columns.sources, *columns.results))
        sizes = {f"@{name}.{copy}": rows[name] * self.vl * self.size for name in doubled for copy in "01"}
        middle = {
            address.base for i in code if (address := i.address) is not None and address.base not in sizes
        }
        sizes |= dict.fromkeys(sorted(middle), columns.length * self.vl * self.size)
        return Program(body=repeat(planes, *inner, index="plane"), buffers_bytes=sizes)

    def _loads(self, width: int, first: int) -> Iterator[Node]:
        for name, rows in self.columns.sources:
            order = self.work.sources[name.endswith(PARTS[1])]
            yield from self._transfer(load, name, order, rows, (width, first), real=self.columns.split)

    def _stores(self, width: int, first: int) -> Iterator[Node]:
        for name, rows in self.columns.results:
            order = self.work.results[name.endswith(PARTS[1])]
            yield from self._transfer(store, name, order, rows, (width, first), real=self.columns.join)

    def _transfer(
        self, transfer: Callable[..., Instruction], name: str, order: str, rows: int, slab: tuple[int, int], *, real: bool
    ) -> Sequence[Node]:  # fmt: skip
        """Between a tensor and a buffer: by rows, or element by element where rows lie innermost."""
        (width, first), size = slab, self.size
        side, part = name.split()
        second = part == PARTS[1] if real else side.endswith("1")
        tensor = side.rstrip("01") if real else f"{side.rstrip('01')} {part}"
        paired = self.columns.join or self.columns.split
        extents = {"p": self.work.planes * (1 + paired), "r": rows, "c": self.work.width}
        steps, step = {}, size
        for axis in reversed(order):
            steps[axis] = step
            step *= extents[axis]
        outside = Address(tensor, second * self.work.planes * steps["p"] + first * steps["c"])
        outside = outside.along("slab", self.vl * steps["c"]).along("plane", steps["p"])
        pitch = self.vl * size
        if steps["c"] == size:
            one = transfer(
                f"@{name}.0",
                rows,
                width * size,
                external=outside,
                distance_bytes=steps["r"],
                stride_bytes=pitch,
            )
            return (one,)
        one = transfer(
            Address(f"@{name}.0").along("column", size), rows, size, external=outside.along("column", steps["c"]),
            distance_bytes=steps["r"], stride_bytes=pitch,
        )  # fmt: skip
        return repeat(width, one, index="column")
