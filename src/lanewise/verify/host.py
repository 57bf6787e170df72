"""The host of the core: a Program of the mapping as what its streams are fed, addresses and counts worked out."""

from collections.abc import Mapping

from lanewise.config import MachineConfig
from lanewise.isa.encoding import decode
from lanewise.isa.operations import OPERATIONS, Latency, Unit
from lanewise.isa.vtype import Vtype
from lanewise.mapping.assemble import scalar_bits, word
from lanewise.mapping.kernels.price import priced
from lanewise.mapping.walk import ProgramWalk
from lanewise.rtl.tags import TAGS
from lanewise.sim.dma import Transfer
from lanewise.sim.program import Address, Instruction, Program
from lanewise.verify.core_programs import Command, Entry, Issue
from lanewise.verify.tag_counts import TagCounts


class Host(ProgramWalk):
    """Walks a Program.

    Args:
        program: Without what is set of vl and vtype.
        config: The machine.
        tensors: Where each tensor of external memory begins.

    Raises:
        ValueError: The core has no stream for an instruction, or too few tags, or the counts of a buffer would come round; or
            as :class:`~lanewise.mapping.walk.ProgramWalk`.
    """

    def __init__(self, *, program: Program, config: MachineConfig, tensors: Mapping[str, int]) -> None:
        super().__init__(priced(program, config), config)
        if len(self.buffers) > TAGS:
            raise ValueError(f"program must have at most {TAGS} buffers, not {len(self.buffers)}")
        self.tensors = tensors
        self.entries: list[Entry] = []
        self._counts = TagCounts()
        self._vtype, self._vl = Vtype.decode(0), 0
        self.walk()

    def step(self, instruction: Instruction) -> None:
        """Append what its stream is fed."""
        if instruction.opcode in OPERATIONS:
            self._vector(instruction)
        elif instruction.opcode in ("dma.load", "dma.store"):
            self._transfer(instruction)
        else:
            raise ValueError(f"{instruction.opcode} must be of a stream of the core")

    def _located(self, address: Address) -> tuple[int, int]:
        """Place and tag."""
        return self.place(address), self.buffers[address.base].number

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
            rs1, region = self._located(instruction.address)
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
        scratch, region = self._located(instruction.address)
        stream = instruction.opcode.removeprefix("dma.")
        reads, writes = self._counts.add(region, write=stream == "load", load=stream == "load")
        external = self.tensors[instruction.external.base] + instruction.external.at(self.counters)
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
