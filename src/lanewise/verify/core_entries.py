"""What the host gives the core's streams: instructions and commands, each with the accesses of buffers that it waits for."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

import numpy as np
from amaranth.lib import data

from lanewise.config import REQUANTISER_FORMATS, MachineConfig
from lanewise.isa.encoding import Decoded, assembly
from lanewise.isa.operations import Operation
from lanewise.isa.vtype import Vtype
from lanewise.models.matrix_commands import Operand, Output, Products
from lanewise.rtl.core import ROLES, command_layout, generate_command_layout, matrix_layout
from lanewise.rtl.lfsr import load_signature
from lanewise.rtl.vector_sequencer import INSTRUCTION
from lanewise.sim import matrix_stream
from lanewise.sim.decoded import instruction_of
from lanewise.sim.dma import Transfer
from lanewise.sim.program import Address, Instruction, Lines, Tile
from lanewise.verify.tag_counts import Access, TagCounts

_NONE = {"tag": 0, "reads": 0, "writes": 0}


@dataclass(frozen=True, kw_only=True, slots=True)
class Issue:
    """An instruction of the vector stream, and the state in which it executes."""

    decoded: Decoded
    word: int
    vtype: Vtype
    vl: int
    rs1: int = 0
    rs2: int = 0
    turns: tuple[int, int] = (0, 0)
    """How often an address and a stride go round the scratchpad before they are what ``rs1`` and ``rs2`` say."""
    access: Access | None = None

    def __str__(self) -> str:
        state = f"vl {self.vl}, e{self.vtype.sew_bits}, m{self.vtype.lmul}{', altfmt' * self.vtype.altfmt}"
        scalars = f"rs1 {self.rs1:#x}, rs2 {self.rs2:#x}"
        return f"{assembly(self.word)} ({state}; {scalars}; {self.access})"

    @property
    def operation(self) -> Operation:
        """What it does."""
        return self.decoded.operation

    @property
    def stream(self) -> str:
        """The stream that it belongs to."""
        return "vector"

    @property
    def accesses(self) -> tuple[Access, ...]:
        """Of buffers, in Program order."""
        return () if self.access is None else (self.access,)

    def recounted(self, counts: TagCounts) -> Self:
        """The same behind other accesses."""
        return (
            self if self.access is None else dataclasses.replace(self, access=self.access.recounted(counts))
        )

    def payload(self, config: MachineConfig) -> int:
        """The word of its stream."""
        size = config.scratchpad.bytes
        rs1, rs2 = (
            (value + turns * size) % 2**32
            for value, turns in zip((self.rs1, self.rs2), self.turns, strict=True)
        )
        request = _NONE if self.access is None else self.access.request
        return INSTRUCTION.const({"word": self.word, "rs1": rs1, "rs2": rs2, "request": request}).as_bits()

    def instruction(self) -> Instruction:
        """As the engine sees it."""
        buffer = "" if self.access is None else self.access.buffer
        return instruction_of(self.decoded, self.vtype, self.vl, buffer)


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """A DMA command."""

    stream: str
    """``load`` or ``store``."""
    transfer: Transfer
    scratch: int
    scratch_stride: int
    access: Access

    def __str__(self) -> str:
        t = self.transfer
        return (
            f"dma.{self.stream} {t.runs} x {t.run_bytes} bytes, external {t.external:#x} + {t.external_stride} k, "
            f"scratch {self.scratch:#x} + {self.scratch_stride} k ({self.access})"
        )

    @property
    def accesses(self) -> tuple[Access, ...]:
        """Of buffers, in Program order."""
        return (self.access,)

    def recounted(self, counts: TagCounts) -> Self:
        """The same behind other accesses."""
        return dataclasses.replace(self, access=self.access.recounted(counts))

    def payload(self, config: MachineConfig) -> int:
        """The word of its stream.

        Raises:
            ValueError: A field has not the bits for what it says.
        """
        descriptor = dataclasses.asdict(self.transfer) | {
            "scratch": self.scratch, "scratch_stride": self.scratch_stride,
        }  # fmt: skip
        return _word(command_layout(config), {"descriptor": descriptor, "request": self.access.request})

    def instruction(self) -> Instruction:
        """As the engine sees it, which is told what it takes."""
        buffer = self.access.buffer
        if self.stream == "load":
            return Instruction(opcode="dma.load", writes=(buffer,), runs=1, run_bytes=1)
        return Instruction(opcode="dma.store", reads=(buffer,), writes=("external",), runs=1, run_bytes=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Generate:
    """A command of the weight generator."""

    scratch: int
    size: int
    """Bytes."""
    seed: int
    """State that its stream begins with, not 0."""
    access: Access

    @property
    def stream(self) -> str:
        """The stream that it belongs to."""
        return "generate"

    def __str__(self) -> str:
        return f"dma.generate {self.size} bytes of {self.seed:#x}, scratch {self.scratch:#x} ({self.access})"

    @property
    def accesses(self) -> tuple[Access, ...]:
        """Of buffers, in Program order."""
        return (self.access,)

    def recounted(self, counts: TagCounts) -> Self:
        """The same behind other accesses."""
        return dataclasses.replace(self, access=self.access.recounted(counts))

    def payload(self, config: MachineConfig) -> int:
        """The word of its stream.

        Raises:
            ValueError: A field has not the bits for what it says.
        """
        descriptor = {"scratch": self.scratch, "size": self.size, "seed": self.seed}
        return _word(
            generate_command_layout(config), {"descriptor": descriptor, "request": self.access.request}
        )

    def instruction(self) -> Instruction:
        """As the engine sees it."""
        return Instruction(opcode="dma.generate", writes=(self.access.buffer,), runs=1, run_bytes=self.size)


@dataclass(frozen=True, kw_only=True, slots=True)
class MatrixCommand:
    """A command of the matrix stream: ``mm.tile``, or ``mm.accumulate`` if it has no output."""

    products: Products
    output: Output | None
    roles: Mapping[str, Access]
    """Those of :data:`lanewise.rtl.core.ROLES` that it has."""
    noise: int = 0
    """Seed of what stands where the command has nothing to say; 0: zeros."""

    @property
    def stream(self) -> str:
        """The stream that it belongs to."""
        return "matrix"

    @property
    def opcode(self) -> str:
        """Mnemonic."""
        return "mm.accumulate" if self.output is None else "mm.tile"

    @property
    def accesses(self) -> tuple[Access, ...]:
        """Of buffers, in Program order."""
        return tuple(self.roles.values())

    def __str__(self) -> str:
        roles = ", ".join(f"{role}: {access}" for role, access in self.roles.items())
        return f"{self.opcode} {self.products}, {self.output} ({roles})"

    def recounted(self, counts: TagCounts) -> Self:
        """The same behind other accesses."""
        again = {role: access.recounted(counts) for role, access in self.roles.items()}
        return dataclasses.replace(self, roles=again)

    @classmethod
    def counted(
        cls, counts: TagCounts, products: Products, output: Output | None, tags: Mapping[str, int], noise: int = 0
    ) -> Self:  # fmt: skip
        """The next command of the Program whose accesses are counted; ``tags``: of its roles.

        Raises:
            ValueError: It would write to a buffer that it reads, and so wait for itself; or the counts would come round.
        """
        has = set(ROLES[:2])
        if output is not None:
            has |= {"results"} | {
                role for role in ("constants", "scales") if getattr(output, role) is not None
            }
            if tags["results"] in {tags[role] for role in has - {"results"}}:
                raise ValueError(
                    f"results of mm.tile must be in a buffer that it does not read, not in that of tag {tags['results']}"
                )
        roles = {
            role: Access.counted(counts, tags[role], "matrix", stores=role == "results")
            for role in ROLES if role in has
        }  # fmt: skip
        return cls(products=products, output=output, roles=roles, noise=noise)

    def payload(self, config: MachineConfig) -> int:
        """The word of its stream.

        Raises:
            ValueError: A field has not the bits for what it says.
        """
        layout = matrix_layout(config)
        rng = np.random.default_rng(self.noise)
        noise = int.from_bytes(rng.bytes(-(-layout.size // 8)), "little") % (1 << layout.size)
        fields = layout.from_bits(noise if self.noise else 0)
        requests: dict[str, Any] = {role: _plain(fields.requests[role]) for role in ROLES}
        requests |= {role: access.request for role, access in self.roles.items()}
        command = _plain(fields.command) | self._command(config)
        if self.output is not None:
            command |= self._output(self.output, config, command)
        return _word(layout, {"command": command, "requests": requests})

    def _command(self, config: MachineConfig) -> dict[str, Any]:
        products, size = self.products, config.scratchpad.bytes

        def side(operand: Operand) -> dict[str, int]:
            return {
                "address": operand.address % size, "stride": operand.stride % size, "lines": operand.lines, "wide": int(operand.bits == 8),
                "turned": int(operand.turned),
            }  # fmt: skip

        return {
            "operands": {
                "a": side(products.left), "w": side(products.right), "k": products.k, "first": products.first,
                "final": products.first + products.passes - 1, "shift": int(products.shift), "last": int(self.output is not None),
            },
        }  # fmt: skip

    def _output(self, output: Output, config: MachineConfig, noise: Mapping[str, Any]) -> dict[str, Any]:
        size, own = config.scratchpad.bytes, output.scales is not None
        scale = {
            "form": REQUANTISER_FORMATS.index(output.form), "stochastic": int(output.stochastic), "reload": int(output.constants is not None),
        }  # fmt: skip
        if not own:
            scale |= {"multiplier": output.multiplier, "shift": output.shift_bits}
        places = {
            role: address % size
            for role, address in (("constants", output.constants), ("scales", output.scales))
            if address is not None
        }
        return {
            "scale": noise["scale"] | scale, "own_scales": int(own), "address": output.address % size, "stride": output.stride % size,
            **places,
        }  # fmt: skip

    @property
    def timing(self) -> matrix_stream.Command:
        """What decides its clocks."""
        return matrix_stream.Command(
            k=self.products.k, passes=self.products.passes, last=self.output is not None, reload="constants" in self.roles
        )  # fmt: skip

    def instruction(self) -> Instruction:
        """As the engine sees it."""
        products, output = self.products, self.output

        def address(role: str, offset: int) -> Address:
            return Address(self.roles[role].buffer, offset)

        def lines(role: str, operand: Operand) -> Lines:
            return Lines(
                address=address(role, operand.address), stride_bytes=operand.stride, lines=operand.lines, bits=operand.bits,
                turned=operand.turned,
            )  # fmt: skip

        tile = Tile(
            left=lines("left", products.left), right=lines("right", products.right), first=products.first, shift=products.shift
        )  # fmt: skip
        if output is not None:
            tile = dataclasses.replace(
                tile, results=address("results", output.address), results_stride_bytes=output.stride, form=output.form,
                stochastic=output.stochastic, multiplier=output.multiplier, shift_bits=output.shift_bits,
                scales=None if output.scales is None else address("scales", output.scales),
                constants=None if output.constants is None else address("constants", output.constants),
            )  # fmt: skip
        reads = dict.fromkeys(access.buffer for access in self.accesses if not access.stores)
        return Instruction(
            opcode=self.opcode, reads=tuple(reads), writes=tuple(access.buffer for access in self.accesses if access.stores),
            steps=products.k, passes=products.passes, reload="constants" in self.roles, tile=tile,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Seed:
    """A lane's random state, which the matrix stream is given before its first tile."""

    lane: int
    state: int

    @property
    def stream(self) -> str:
        """The stream that it belongs to."""
        return "seed"

    @property
    def accesses(self) -> tuple[Access, ...]:
        """None."""
        return ()

    def recounted(self, _: TagCounts) -> Self:
        """The same."""
        return self

    def payload(self, config: MachineConfig) -> int:
        """The word of its stream."""
        layout = load_signature(config.matrix.requantiser_lanes).members["payload"].shape
        return int(layout.const({"lane": self.lane, "state": self.state}).as_bits())


Entry: TypeAlias = Issue | Command | Generate | MatrixCommand | Seed


def _plain(constant: Any) -> Any:
    """A constant of a layout as what makes it."""
    if isinstance(constant, int):
        return constant
    return {name: _plain(constant[name]) for name in constant.shape().members}


def _word(layout: data.StructLayout, values: Mapping[str, Any]) -> int:
    """A layout's bits; a constant of Amaranth would drop those for which a field has no room."""
    made = layout.const(values)
    _check_fits(values, made)
    return int(made.as_bits())


def _check_fits(values: Mapping[str, Any], made: Any) -> None:
    for name, value in values.items():
        if isinstance(value, Mapping):
            _check_fits(value, made[name])
        elif made[name] != value:
            raise ValueError(f"{name} must fit its field, not be {value}")
