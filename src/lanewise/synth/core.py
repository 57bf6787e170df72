"""Area of the core, part by part: each is synthesised on its own, and what is left of what they make up."""

import dataclasses
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from amaranth.lib import wiring

from lanewise.config import MachineConfig
from lanewise.rtl.core import Core
from lanewise.rtl.matrix_stream import MatrixStream
from lanewise.rtl.scratchpad import Scratchpad
from lanewise.rtl.vector_unit import VectorUnit
from lanewise.rtl.verilog import emit_verilog
from lanewise.synth.black_box import Opened, black_box
from lanewise.synth.block import Block
from lanewise.synth.component import Synthesis, Synthesiser

OPENED = (Core, VectorUnit, MatrixStream)
"""Components whose sub-components are synthesised one by one."""
VECTOR_UNIT = "core/vector_unit"
FLEX_SFU = f"{VECTOR_UNIT}/flex_sfu"
MULTIPLY_ADD = f"{FLEX_SFU}/unit/multiply_add"


@dataclass(frozen=True, kw_only=True)
class Macro:
    """Equal memories that are not of standard cells, but SRAM."""

    path: str
    instances: int
    words: int
    bits: int
    """Of a word."""
    read_ports: int
    write_ports: int

    @property
    def bytes(self) -> int:
        """Of all instances."""
        return self.instances * self.words * self.bits // 8

    def as_dict(self) -> dict[str, Any]:
        """Everything but the path, for JSON."""
        values = dataclasses.asdict(self) | {"bytes": self.bytes}
        del values["path"]
        return values


@dataclass(frozen=True, kw_only=True)
class CoreArea:
    """A core's standard cells by block, and its macros, which have no area here."""

    blocks: tuple[Block, ...]
    """The core first, each block after the one it is in."""
    macros: tuple[Macro, ...]
    parts: dict[str, Synthesis]
    """What was synthesised, by path; of a component that others make up, the rest."""

    @property
    def area_um2(self) -> float:
        """Standard cells of the whole, the scratchpad's rotation and address logic among them, its SRAM not."""
        return self.blocks[0].area_um2

    def block(self, path: str) -> Block | None:
        """The block at ``path``, if there is one."""
        return next((block for block in self.blocks if block.path == path), None)

    @property
    def slowest(self) -> Block | None:
        """The block with the longest combinational path within it, as the mapper estimates it."""
        timed = [block for block in self.blocks if block.abc_delay_ps is not None]
        return max(timed, key=lambda block: block.abc_delay_ps or 0.0, default=None)


def core_area(config: MachineConfig, run: Synthesiser) -> CoreArea:
    """Synthesise the core of a machine, with Flex-SFU if it has one.

    Equal parts of two machines are synthesised once, for the same Verilog is found again.

    Raises:
        SynthesisError, UserError: As :class:`~lanewise.synth.component.Synthesiser`.
    """

    def make() -> tuple[dict[str, Synthesis], Any]:
        macros: list[Macro] = []
        parts = dict(_parts("core", Core(config), run, macros))
        return parts, [dataclasses.asdict(macro) for macro in macros]

    parts, macros = run.remembered(f"core {config!r}", make)
    return CoreArea(
        blocks=_composed("core", parts), macros=tuple(Macro(**values) for values in macros), parts=parts
    )


def name_of(kind: type[wiring.Component]) -> str:
    """The name under which components of a class are synthesised, wherever they are.

    >>> from lanewise.rtl.requantiser import Requantiser, RequantiserLane
    >>> name_of(Requantiser), name_of(RequantiserLane)
    ('requantiser', 'requantiser_lane')
    """
    return re.sub(r"(?<=.)(?=[A-Z])", "_", kind.__name__).lower()


def _parts(
    path: str, component: wiring.Component, run: Synthesiser, macros: list[Macro]
) -> Iterator[tuple[str, Synthesis]]:
    name = name_of(type(component))
    if isinstance(component, OPENED):
        opened = Opened(component)
        inner = dict(opened.parts)
        yield path, run.verilog(opened.glue(name), name)
        for part, sub_component in inner.items():
            yield from _parts(f"{path}/{part}", sub_component, run, macros)
    elif isinstance(component, Scratchpad):
        macros.append(
            Macro(
                path=f"{path}/column", instances=component.columns, words=component.rows, bits=8,
                read_ports=len(component.clients), write_ports=sum(client.writes for client in component.clients),
            )
        )  # fmt: skip
        yield path, run.verilog(black_box(emit_verilog(component, name), f"{name}_column"), name)
    else:
        yield path, run(component, name)


def _composed(top: str, parts: dict[str, Synthesis]) -> tuple[Block, ...]:
    """Blocks of all parts in one hierarchy."""
    blocks: dict[str, Block] = {}
    for path, part in parts.items():
        root = part.blocks[0].path
        for block in part.blocks:
            place = path + block.path.removeprefix(root)
            blocks[place] = dataclasses.replace(block, path=place)
    for path, part in parts.items():  # what is in a part that is opened is not in its own synthesis
        outer = path.rpartition("/")[0]
        while outer:
            blocks[outer] = _with(blocks[outer], part.blocks[0])
            outer = outer.rpartition("/")[0]
    return tuple(_in_order(top, blocks))


def _with(block: Block, inner: Block) -> Block:
    """The block with another one in it."""
    return dataclasses.replace(
        block,
        area_um2=round(block.area_um2 + inner.area_um2, 3),
        sequential_area_um2=round(block.sequential_area_um2 + inner.sequential_area_um2, 3),
        cells=block.cells + inner.cells,
        flip_flops=block.flip_flops + inner.flip_flops,
    )


def _in_order(path: str, blocks: dict[str, Block]) -> Iterator[Block]:
    yield blocks[path]
    for inner in sorted(other for other in blocks if other.rpartition("/")[0] == path):
        yield from _in_order(inner, blocks)
