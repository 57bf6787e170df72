"""What the host feeds to the core for the matrix commands of a Program."""

import re
from dataclasses import replace

import pytest

from lanewise.config import MachineConfig, MatrixConfig
from lanewise.models.matrix_commands import Operand
from lanewise.rtl.core import matrix_layout
from lanewise.sim.program import Address, Instruction, Lines, Loop, Program, Rotate, Tile
from lanewise.verify.core_entries import MatrixCommand
from lanewise.verify.host import Host
from lanewise.verify.tag_counts import TagCounts

MACHINE = replace(MachineConfig(), matrix=MatrixConfig(rows=4, columns=4, output_lanes=2))
BUFFERS = {"@left.0": 64, "@left.1": 64, "@right": 128, "@results": 64}
LEFT = Lines(address=Address("@left.0", 4), stride_bytes=8, lines=3)
RIGHT = Lines(address=Address("@right"), stride_bytes=16, lines=4, bits=8, turned=True)
TILE = Tile(
    left=LEFT, right=RIGHT, results=Address("@results", 0, (("tile", 16),)), results_stride_bytes=4, form="int8", multiplier=3,
    shift_bits=9, scales=Address("@right", 96), constants=Address("@right", 100),
)  # fmt: skip


def mm_tile(tile=TILE, **fields):
    reads = ("@left.0", "@right")
    fields = {"steps": 8, "passes": 2, "reload": True} | fields
    return Instruction(opcode="mm.tile", reads=reads, writes=("@results",), tile=tile, **fields)


def mm_accumulate():
    tile = Tile(left=LEFT, right=RIGHT, first=1, shift=True)
    return Instruction(
        opcode="mm.accumulate", reads=("@left.0", "@right"), steps=6, passes=1, tile=tile
    )  # fmt: skip


def entries(*body, machine=MACHINE):
    program = Program(body=body, buffers_bytes=BUFFERS)
    return Host(program=program, config=machine, tensors={}).entries


def waits(command):
    return {role: (access.tag, access.reads, access.writes) for role, access in command.roles.items()}


def test_each_role_counts_its_own_access():
    accumulate, tile, again = entries(
        mm_accumulate(), mm_tile(), mm_tile(replace(TILE, constants=None), reload=False)
    )
    assert waits(accumulate) == {"left": (0, 0, 0), "right": (2, 0, 0)}
    assert waits(tile) == {
        "left": (0, 1, 0), "right": (2, 1, 0), "constants": (2, 2, 0), "scales": (2, 3, 0), "results": (3, 0, 0),
    }  # fmt: skip
    assert waits(again) == {
        "left": (0, 2, 0), "right": (2, 4, 0), "scales": (2, 5, 0), "results": (3, 0, 1),
    }  # fmt: skip


def test_addresses_follow_loops_and_rotations():
    loop = Loop(2, (mm_tile(), Rotate(names=("@left.0", "@left.1"))), "tile")
    first, second = entries(loop)
    bank = MACHINE.scratchpad.bank_bytes
    assert first.products.left == Operand(address=4, stride=8, lines=3)
    assert second.products.left == Operand(address=bank + 4, stride=8, lines=3)
    assert [command.output.address for command in (first, second)] == [3 * bank, 3 * bank + 16]
    assert waits(second)["left"] == (1, 0, 0)


def test_payloads_say_what_the_command_says():
    accumulate, tile = entries(mm_accumulate(), mm_tile())
    layout = matrix_layout(MACHINE)
    said = layout.from_bits(accumulate.payload(MACHINE)).command
    operands = said.operands
    assert (operands.k, operands.first, operands.final, operands.shift, operands.last) == (6, 1, 1, 1, 0)
    assert (operands.w.wide, operands.w.turned, operands.a.wide, operands.a.turned) == (1, 1, 0, 0)
    fields = layout.from_bits(tile.payload(MACHINE))
    said, bank = fields.command, MACHINE.scratchpad.bank_bytes
    assert (said.operands.last, said.scale.reload, said.own_scales, said.stride) == (1, 1, 1, 4)
    assert (said.scales, said.constants, said.address) == (2 * bank + 96, 2 * bank + 100, 3 * bank)
    assert (fields.requests.scales.tag, fields.requests.scales.reads) == (2, 3)
    common = entries(mm_tile(replace(TILE, scales=None)))[0]
    scale = layout.from_bits(common.payload(MACHINE)).command.scale
    assert (scale.multiplier, scale.shift, scale.form, scale.stochastic) == (3, 9, 1, 0)


def test_noise_changes_only_what_a_command_has_not():
    (command,) = entries(mm_accumulate())
    noisy = replace(command, noise=5)
    layout = matrix_layout(MACHINE)
    plain, other = (layout.from_bits(each.payload(MACHINE)) for each in (command, noisy))
    assert plain.command.operands.as_bits() == other.command.operands.as_bits()
    assert plain.requests.left.as_bits() == other.requests.left.as_bits()
    assert plain.requests.results.as_bits() == 0
    assert other.requests.results.as_bits() != 0


@pytest.mark.parametrize(
    ("instruction", "machine", "message"),
    [
        (mm_tile(replace(TILE, results=Address("@right", 0))), MACHINE,
         "results of mm.tile must be in a buffer that it does not read, not in that of tag 2"),
        (mm_tile(replace(TILE, results=None)), MACHINE, "results of mm.tile must be an address, not None"),
        (mm_tile(None), MACHINE, "mm.tile cannot be executed: it is priced and no more"),
        (mm_tile(reload=False), MACHINE,
         "constants must be an address where reload is True, and only there, not @right + 100"),
        (mm_tile(), replace(MACHINE, matrix=MatrixConfig(operand_bits=8)), "mm.tile must be of a stream of the core"),
    ],
)  # fmt: skip
def test_what_the_core_does_not_take_is_refused(instruction, machine, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        entries(instruction, machine=machine)


def test_what_a_field_has_no_room_for_is_refused():
    (command,) = entries(mm_tile(steps=(1 << 20) - 1))
    assert matrix_layout(MACHINE).from_bits(command.payload(MACHINE)).command.operands.k == (1 << 20) - 1
    for k in (1 << 20, (1 << 20) + 8):  # not 0 and 8 of them
        (command,) = entries(mm_tile(steps=k))
        with pytest.raises(ValueError, match=f"^k must fit its field, not be {k}$"):
            command.payload(MACHINE)
    load = Instruction(
        opcode="dma.load", writes=("@results",), runs=1 << 20, run_bytes=1, address=Address("@results"), external=Address("x"),
        distance_bytes=-8,
    )  # fmt: skip
    program = Program(body=(load, replace(load, runs=3)), buffers_bytes=BUFFERS)
    many, few = Host(program=program, config=MACHINE, tensors={"x": 64}).entries
    few.payload(MACHINE)
    with pytest.raises(ValueError, match=f"^runs must fit its field, not be {1 << 20}$"):
        many.payload(MACHINE)


def test_commands_come_back_with_the_counts_of_another_place():
    tile = entries(mm_tile(), mm_tile())[1]
    assert isinstance(tile, MatrixCommand)
    (first,) = entries(mm_tile())
    assert tile.recounted(TagCounts()) == first
