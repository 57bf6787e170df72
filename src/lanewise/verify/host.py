"""The host of the core: a Program of the mapping as what its streams are fed, addresses and counts worked out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil

from lanewise.config import MachineConfig
from lanewise.isa.encoding import decode
from lanewise.isa.operations import OPERATIONS, Latency, Unit
from lanewise.isa.vtype import Vtype
from lanewise.mapping.assemble import scalar_bits, word
from lanewise.mapping.kernels.price import priced
from lanewise.rtl.tags import TAGS
from lanewise.sim.dma import Transfer
from lanewise.sim.program import Address, Instruction, Loop, Node, Program, Rotate
from lanewise.verify.core_programs import Command, Entry, Issue
from lanewise.verify.tag_counts import TagCounts


@dataclass(kw_only=True)
class Host:
    """Walks a Program.

    Args:
        program: Without what is set of vl and vtype.
        config: The machine.
        tensors: Where each tensor of external memory begins.

    Raises:
        ValueError: The core has no stream for an instruction, or too few tags, or the counts of a buffer would come round.
    """

    program: Program
    config: MachineConfig
    tensors: Mapping[str, int]
    entries: list[Entry] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.program = priced(self.program, self.config)
        bank, first = self.config.scratchpad.bank_bytes, 0
        self._places: dict[str, tuple[int, int]] = {}
        """Of each buffer its first byte and its tag, which go round with its name."""
        for tag, (name, size) in enumerate(self.program.buffers_bytes.items()):
            self._places[name] = (first, tag)
            first += ceil(size / bank) * bank
        if len(self._places) > TAGS:
            raise ValueError(f"program must have at most {TAGS} buffers, not {len(self._places)}")
        self._counts = TagCounts()
        self._counters: dict[str, int] = {}
        self._vtype, self._vl = Vtype.decode(0), 0
        self._walk(self.program.body)

    def _walk(self, body: Sequence[Node]) -> None:
        for node in body:
            if isinstance(node, Loop):
                for count in range(node.count):
                    if node.index:
                        self._counters[node.index] = count
                    self._walk(node.body)
                self._counters.pop(node.index, None)
            elif isinstance(node, Rotate):
                moved = [self._places[name] for name in (*node.names[1:], node.names[0])]
                self._places.update(zip(node.names, moved, strict=True))
            elif node.opcode in OPERATIONS:
                self._vector(node)
            elif node.opcode in ("dma.load", "dma.store"):
                self._transfer(node)
            else:
                raise ValueError(f"{node.opcode} must be of a stream of the core")

    def _place(self, address: Address) -> tuple[int, int]:
        first, tag = self._places[address.base]
        return first + address.at(self._counters), tag

    def _vector(self, instruction: Instruction) -> None:
        operation, code = OPERATIONS[instruction.opcode], word(instruction, self.config)
        decoded = decode(code)
        if operation.unit is Unit.SET:
            assert decoded.vtype is not None
            self._vtype = decoded.vtype
            self._vl = min(instruction.vl, self._vtype.vlmax(self.config.vector.vlen_bits))
            rs1 = instruction.vl
        else:
            rs1 = scalar_bits(instruction, operation)
        region, reads, writes = None, 0, 0
        if instruction.address is not None:
            rs1, region = self._place(instruction.address)
            reads, writes = self._counts.add(region, write=operation.stores)
        self.entries.append(
            Issue(
                decoded=decoded, word=code, vtype=self._vtype, vl=self._vl, rs1=rs1 % 2**32, rs2=instruction.stride_bytes % 2**32,
                region=region, reads=reads, writes=writes,
            )
        )  # fmt: skip
        assert operation.latency is not Latency.TABLE or region is not None

    def _transfer(self, instruction: Instruction) -> None:
        if instruction.indexed or instruction.address is None or instruction.external is None:
            raise ValueError(f"{instruction.opcode} must have addresses, and runs at a distance")
        scratch, region = self._place(instruction.address)
        stream = instruction.opcode.removeprefix("dma.")
        reads, writes = self._counts.add(region, write=stream == "load", load=stream == "load")
        external = self.tensors[instruction.external.base] + instruction.external.at(self._counters)
        transfer = Transfer(
            external=external, runs=instruction.runs, run_bytes=instruction.run_bytes,
            external_stride=instruction.distance_bytes or instruction.run_bytes,
        )  # fmt: skip
        self.entries.append(
            Command(
                stream=stream, transfer=transfer, scratch=scratch, region=region, reads=reads, writes=writes,
                scratch_stride=instruction.stride_bytes or instruction.run_bytes,
            )
        )  # fmt: skip
