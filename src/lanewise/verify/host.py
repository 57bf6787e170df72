"""The host of the core: a Program of the mapping as what its streams are fed, addresses and counts worked out."""

from collections.abc import Mapping

from lanewise.config import MachineConfig
from lanewise.isa.encoding import decode
from lanewise.isa.operations import OPERATIONS, Latency, Unit
from lanewise.isa.vtype import Vtype
from lanewise.mapping.assemble import scalar_bits, word
from lanewise.mapping.kernels.price import priced
from lanewise.mapping.matrix_commands import output_of, products_of
from lanewise.mapping.walk import ProgramWalk
from lanewise.models.weight_generator import block_seed
from lanewise.rtl.tags import TAGS
from lanewise.sim.dma import Transfer
from lanewise.sim.program import Address, Instruction, Program
from lanewise.verify.core_entries import Command, Entry, Generate, Issue, MatrixCommand
from lanewise.verify.tag_counts import Access, TagCounts


class Host(ProgramWalk):
    """Walks a Program.

    Args:
        program: Without what is set of vl and vtype.
        config: The machine.
        tensors: Where each tensor of external memory begins.
        counts: Of the buffers' accesses by the Programs before, if the core has not been reset since.

    Raises:
        ValueError: The core has no stream for an instruction, or too few tags, or the counts of a buffer would come round; a matrix
            command is priced alone, or writes to a buffer that it reads; or as :class:`~lanewise.mapping.walk.ProgramWalk`.
    """

    def __init__(
        self, *, program: Program, config: MachineConfig, tensors: Mapping[str, int], counts: TagCounts | None = None
    ) -> None:  # fmt: skip
        super().__init__(priced(program, config), config)
        if len(self.buffers) > TAGS:
            raise ValueError(f"program must have at most {TAGS} buffers, not {len(self.buffers)}")
        self.tensors = tensors
        self.entries: list[Entry] = []
        self._counts = TagCounts() if counts is None else counts
        self._counts.idle()
        self._vtype, self._vl = Vtype.decode(0), 0
        self.walk()

    def step(self, instruction: Instruction) -> None:
        """Append what its stream is fed."""
        if instruction.opcode in OPERATIONS:
            self._vector(instruction)
        elif instruction.opcode in ("dma.load", "dma.store"):
            self._transfer(instruction)
        elif instruction.opcode == "dma.generate" and self.config.weight_generator.enabled:
            self._generate(instruction)
        elif instruction.opcode in ("mm.tile", "mm.accumulate") and self.config.matrix.splits:
            self._matrix(instruction)
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
        access = None
        if instruction.address is not None:
            rs1, tag = self._located(instruction.address)
            access = Access.counted(self._counts, tag, "vector", stores=operation.stores)
        self.entries.append(
            Issue(
                decoded=decoded, word=code, vtype=self._vtype, vl=self._vl, rs1=rs1 % 2**32, rs2=instruction.stride_bytes % 2**32,
                access=access,
            )
        )  # fmt: skip
        assert operation.latency is not Latency.TABLE or access is not None

    def _transfer(self, instruction: Instruction) -> None:
        if instruction.indexed or instruction.address is None or instruction.external is None:
            raise ValueError(f"{instruction.opcode} must have addresses, and runs at a distance")
        scratch, tag = self._located(instruction.address)
        stream = instruction.opcode.removeprefix("dma.")
        loads = stream == "load"
        access = Access.counted(self._counts, tag, stream, stores=loads)
        external = self.tensors[instruction.external.base] + instruction.external.at(self.counters)
        transfer = Transfer(
            external=external, runs=instruction.runs, run_bytes=instruction.run_bytes,
            external_stride=instruction.distance_bytes or instruction.run_bytes,
        )  # fmt: skip
        self.entries.append(
            Command(
                stream=stream, transfer=transfer, scratch=scratch, access=access,
                scratch_stride=instruction.stride_bytes or instruction.run_bytes,
            )
        )  # fmt: skip

    def _generate(self, instruction: Instruction) -> None:
        if instruction.address is None or instruction.indices is None:
            raise ValueError(f"{instruction.opcode} must have an address and a block's number")
        scratch, tag = self._located(instruction.address)
        access = Access.counted(self._counts, tag, "generate", stores=True)
        seed = block_seed(instruction.seed, instruction.indices.at(self.counters))
        self.entries.append(Generate(scratch=scratch, size=instruction.run_bytes, seed=seed, access=access))

    def _matrix(self, instruction: Instruction) -> None:
        products = products_of(instruction, self.place)
        output = output_of(instruction, self.place) if instruction.opcode == "mm.tile" else None
        tile = instruction.tile
        assert tile is not None
        addresses = {
            "left": tile.left.address, "right": tile.right.address, "constants": tile.constants, "scales": tile.scales,
            "results": tile.results,
        }  # fmt: skip
        tags = {
            role: self.buffers[address.base].number
            for role, address in addresses.items()
            if address is not None
        }
        self.entries.append(MatrixCommand.counted(self._counts, products, output, tags))
