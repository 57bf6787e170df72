"""The timing table against the closed forms that the RTL is held to: what networks are charged is what the RTL takes."""

import dataclasses
import random
from itertools import pairwise

import pytest

from lanewise.config import (
    FlexSfuConfig,
    MachineConfig,
    MatrixConfig,
    OperandPathConfig,
    multiply_add_latency_clk,
    reduction_stages_clk,
)
from lanewise.formats import FORMATS
from lanewise.isa.operations import OPERATIONS, Width
from lanewise.sim.engine import run
from lanewise.sim.flex_sfu import flex_sfu_clk, flex_sfu_load_clk
from lanewise.sim.mac_array import mac_array_clk
from lanewise.sim.matrix_stream import Command, MatrixStream
from lanewise.sim.matrix_unit import matrix_unit_clk
from lanewise.sim.operand_path import operand_path_tensors_clk
from lanewise.sim.program import Address, Instruction, Lines, Program, Tile
from lanewise.sim.row_sampler import row_sampler_clk
from lanewise.sim.timing import timing

SEED = 20230613


def starts(config, *body):
    seen = []
    program = Program(body=body, buffers_bytes=dict.fromkeys((f"@{name}" for name in "abcdefghi"), 1))
    result = run(program, config, summarise=False, watcher=lambda _, start, end: seen.append((start, end)))
    return result.cycles, seen


@pytest.mark.parametrize("segments", [4, 32, 64])
@pytest.mark.parametrize("elements", [1, 16, 33, 250])
@pytest.mark.parametrize(("formats", "bits"), [(("fp16",), 16), (tuple(FORMATS), 8), (tuple(FORMATS), 32)])
@pytest.mark.parametrize("degree", [1, 2])
def test_flex_sfu_takes_the_rtl_s_clocks(segments, elements, formats, bits, degree):
    unit = FlexSfuConfig(segments=segments, formats=formats, degree=degree)
    config = dataclasses.replace(MachineConfig(), flex_sfu=unit)
    execute = Instruction(
        opcode="sfu.execute", writes=("v1",), reads=("v0", "sfu.table.0"), vl=elements, sew_bits=bits
    )
    # operand registers before the unit, the register file behind it
    assert starts(config, execute)[0] == flex_sfu_clk(elements, config.flex_sfu, bits) + 2


@pytest.mark.parametrize("entries", [1, 31, 32])
def test_a_table_load_between_two_runs_takes_the_rtl_s_clocks(entries):
    config = MachineConfig()
    execute = [
        Instruction(opcode="sfu.execute", writes=(f"v{i}",), reads=("v0", "sfu.table.0"), vl=64)
        for i in (1, 2)
    ]
    load = Instruction(
        opcode="sfu.breakpoints", reads=("@a",), writes=("sfu.table.0",), vl=entries, sew_bits=32
    )
    seen = starts(config, execute[0], load, execute[1])[1]
    last_beat_before = seen[0][0] + 64 // config.flex_sfu.elements_per_clk() - 1
    # a table's word comes from the scratchpad: two clocks more
    assert seen[2][0] - last_beat_before == flex_sfu_load_clk(entries, config.flex_sfu) + 2


def test_the_int8_array_s_unit_takes_the_rtl_s_clocks():
    rng = random.Random(SEED)
    print(f"seed {SEED}")
    for rows, columns, lanes in ((1, 1, 1), (4, 4, 2), (8, 5, 2), (32, 32, 8)):
        config = dataclasses.replace(
            MachineConfig(),
            matrix=MatrixConfig(rows=rows, columns=columns, output_lanes=lanes, operand_bits=8),
        )
        leaves = config.matrix.leave_clk()
        for _ in range(50):
            steps = [rng.choice([1, 2, leaves, rng.randint(1, 2 * leaves)]) for _ in range(rng.randint(1, 8))]
            reloads = [tile for tile in range(len(steps)) if rng.random() < 0.4]
            tiles = [
                Instruction(
                    opcode="mm.tile",
                    reads=("@a",),
                    writes=(f"@{'bcdefghi'[i]}",),
                    steps=k,
                    reload=i in reloads,
                )
                for i, k in enumerate(steps)
            ]
            # a beat is in its buffer the clock after the unit hands it over
            assert starts(config, *tiles)[0] == matrix_unit_clk(steps, config.matrix, reloads) + 1


def test_the_matrix_stream_takes_the_rtl_s_clocks():
    """The recurrence that the RTL is held to, and what waits for the buffers that its commands read and write."""
    rng = random.Random(SEED)
    print(f"seed {SEED}")
    for rows, columns, lanes in ((1, 1, 1), (2, 2, 1), (4, 4, 2), (3, 5, 2), (32, 32, 8)):
        config = dataclasses.replace(
            MachineConfig(), matrix=MatrixConfig(rows=rows, columns=columns, output_lanes=lanes)
        )
        for _ in range(50):
            stream, body, expected = MatrixStream(config.matrix), [], []
            for _ in range(rng.randint(1, 8)):
                ends = rng.random() < 0.7
                k = rng.choice([1, 2, config.matrix.block_steps, rng.randint(1, 100)])
                command = Command(
                    k=k, passes=rng.choice([1, 2, 4]), last=ends, reload=ends and rng.random() < 0.4
                )
                times = stream.start(command, expected[-1][0] + 1 if expected else 0)
                expected.append((times.start, (times.results_written if ends else times.operands_read) + 1))
                body.append(
                    Instruction(
                        opcode="mm.tile" if ends else "mm.accumulate", reads=("@a",), writes=(f"@{'bcdefghi'[len(body)]}",) * ends,
                        steps=k, passes=command.passes, reload=command.reload,
                    )
                )  # fmt: skip
            assert starts(config, *body)[1] == expected


@pytest.mark.parametrize("reload", [False, True])
@pytest.mark.parametrize("told", [False, True])
def test_a_writer_of_a_command_s_buffers_waits_for_its_own_last_read(reload, told):
    config = MachineConfig()
    times = MatrixStream(config.matrix).start(Command(k=64, reload=reload), 0)
    reads = ("@a", "@b", "@c", *("@d",) * (told and reload))
    tile = Tile(
        left=Lines(address=Address("@a"), stride_bytes=32, lines=32), right=Lines(address=Address("@b"), stride_bytes=32, lines=32),
        scales=Address("@c"), constants=Address("@d") if reload else None, results=Address("@e"),
    )  # fmt: skip
    command = Instruction(
        opcode="mm.tile", reads=reads, writes=("@e",), steps=64, reload=reload, tile=tile if told else None
    )
    loads = [Instruction(opcode="dma.load", writes=(name,), runs=1, run_bytes=32) for name in reads]
    reader = Instruction(opcode="vle16.v", reads=("@e",), writes=("v1",), vl=1)
    ends = {"@a": times.operands_read, "@b": times.operands_read, "@c": times.scales_read}
    if reload:
        ends["@d" if told else "@b"] = times.constants_read
    for load, name in zip(loads, reads, strict=True):
        assert starts(config, command, load)[1][1][0] == ends[name] + 1
    assert starts(config, command, reader)[1][1][0] == times.results_written + 1
    assert starts(config, command, command)[1][1][0] == times.results_written + 1


def test_a_buffer_of_two_roles_is_read_until_the_later_end():
    times = MatrixStream(MatrixConfig()).start(Command(k=64), 0)
    command = Instruction(opcode="mm.tile", reads=("@a", "@b", "@a"), writes=("@e",), steps=64)
    load = Instruction(opcode="dma.load", writes=("@a",), runs=1, run_bytes=32)
    assert starts(MachineConfig(), command, load)[1][1][0] == times.scales_read + 1 > times.operands_read + 1


def test_the_fp16_array_takes_the_rtl_s_clocks():
    rng = random.Random(SEED)
    print(f"seed {SEED}")
    for rows in (1, 4, 16):
        config = dataclasses.replace(
            MachineConfig(), matrix=MatrixConfig(rows=rows, columns=4, operand_bits=16)
        )
        for _ in range(50):
            steps = [rng.choice([1, 2, rows, rng.randint(1, 2 * rows)]) for _ in range(rng.randint(1, 8))]
            tiles = [
                Instruction(opcode="mm.tile", reads=("@a",), writes=(f"@{'bcdefghi'[i]}",), steps=k)
                for i, k in enumerate(steps)
            ]
            assert starts(config, *tiles)[0] == mac_array_clk(steps, config.matrix) + 1


def test_the_operand_path_takes_the_rtl_s_clocks():
    rng = random.Random(SEED)
    print(f"seed {SEED}")
    for lanes in (8, 16, 64):
        config = dataclasses.replace(MachineConfig(), operand_path=OperandPathConfig(lanes=lanes))
        for _ in range(50):
            tensors = [
                (8 * rng.randint(1, 30), rng.choice(config.operand_path.blocks))
                for _ in range(rng.randint(1, 5))
            ]
            body = []
            for beats, block in tensors:
                body.append(Instruction(opcode="op.settings", reads=("op.path",), writes=("op.settings",)))
                body.append(
                    Instruction(
                        opcode="op.quantise", reads=("@a", "op.settings"), writes=("@b", "op.path"), vl=beats * lanes, block=block
                    )
                )  # fmt: skip
            assert starts(config, *body)[0] == operand_path_tensors_clk(tensors, config.operand_path) + 1


@pytest.mark.parametrize("rows", [1, 1000])
def test_the_row_sampler_takes_the_rtl_s_clocks(rows):
    sample = Instruction(opcode="op.sample", reads=("@a",), writes=("@b",), vl=rows)
    assert starts(MachineConfig(), sample)[0] == row_sampler_clk(rows) + 1


def test_a_block_that_the_operand_path_does_not_have_is_refused():
    config = dataclasses.replace(MachineConfig(), operand_path=OperandPathConfig(largest_block=16))
    with pytest.raises(ValueError, match=r"block must be one of \(1, 8, 16\), not 64"):
        timing(Instruction(opcode="op.quantise", vl=64, block=64), config)


def test_the_vector_multiply_add_is_the_rtl_s():
    add = Instruction(opcode="vfmadd.vv", writes=("v1",), reads=("v0",), vl=64)
    assert timing(add, MachineConfig()).lands_clk == 2 + multiply_add_latency_clk(FORMATS.values())


# opcode, widest bits: beats of 200 elements (8 lanes), first beat, last beat, words, where a reader may start
CLOCKS = {
    ("vadd.vv", 8): (7, 3, 9, 7, 3),
    ("vfadd.vv", 16): (13, 8, 20, 13, 8),
    ("vfadd.vv", 32): (25, 8, 32, 25, 8),
    ("vfwmul.vv", 32): (25, 8, 32, 25, 8),
    ("vfncvt.f.f.w", 32): (25, 8, 32, 13, 20),
    ("vfncvt.x.f.w", 16): (13, 8, 20, 7, 14),
    ("vzext.vf2", 16): (13, 3, 15, 13, 3),
    ("vmflt.vv", 16): (13, 3, 15, 1, 15),
    ("vmand.mm", 8): (1, 3, 3, 1, 3),
    ("vle16.v", 16): (13, 4, 16, 13, 4),
    ("vse32.v", 32): (25, 4, 28, 25, 4),
    ("vlse16.v", 16): (200, 4, 203, 13, 191),
    ("vfredusum.vs", 32): (25, 24 + 2 + reduction_stages_clk(8, 1024), 24 + 2 + reduction_stages_clk(8, 1024), 1, 24 + 2 + reduction_stages_clk(8, 1024)),
    ("vrgather.vv", 16): (201, 4, 203, 13, 203),
    ("vcompress.vm", 16): (200, 3, 202, 13, 202),
    ("vslidedown.vx", 16): (13, 3, 15, 13, 3),
    ("sfu.execute", 16): (13, 12, 24, 13, 12),
    ("sfu.breakpoints", 32): (200, 3, 202, 1, 202),
    ("vmv.s.x", 16): (1, 3, 3, 1, 3),
    ("vsetvli", 16): (1, 1, 1, 1, 1),
}  # fmt: skip


@pytest.mark.parametrize(("opcode", "bits"), CLOCKS)
def test_the_contract_s_clocks(opcode, bits):
    clocks = timing(Instruction(opcode=opcode, vl=200, sew_bits=bits), MachineConfig())
    got = clocks.beats, clocks.lands_clk, clocks.last_clk, clocks.words, clocks.ready_clk
    assert got == CLOCKS[opcode, bits]


@pytest.mark.parametrize("opcode", OPERATIONS)
def test_every_instruction_has_its_clocks(opcode):
    operation = OPERATIONS[opcode]
    double = Width.DOUBLE in (operation.vd, operation.vs2)
    for sew in operation.sews if not operation.eew_bits else (16,):
        clocks = timing(Instruction(opcode=opcode, vl=24, sew_bits=sew << double), MachineConfig())
        assert clocks.unit == operation.unit
        assert clocks.stream == "vector"
        assert 1 <= clocks.beats <= 25
        assert 1 <= clocks.lands_clk <= clocks.ready_clk <= clocks.last_clk


def clocks(*body: Instruction) -> list[tuple[int, int]]:
    return starts(MachineConfig(), *body)[1]


def test_a_dependent_instruction_starts_at_the_first_beat_of_its_source():
    add = Instruction(opcode="vfadd.vv", reads=("v0", "v0"), writes=("v1",), vl=64)
    maximum = Instruction(opcode="vfmax.vv", reads=("v1", "v1"), writes=("v2",), vl=64)
    # 64 FP16 elements are 4 beats of 256 bits; the first sum can be read after the FMA's 8 clocks
    assert clocks(add, maximum) == [(0, 12), (8, 15)]


def test_a_unit_takes_one_instruction_at_a_time():
    add, other = (Instruction(opcode="vfadd.vv", reads=("v0",), writes=(f"v{i}",), vl=64) for i in (1, 2))
    assert [start for start, _ in clocks(add, other)] == [0, 4]


def test_a_slower_producer_holds_its_consumer_back():
    strided = Instruction(opcode="vlse16.v", reads=("@a",), writes=("v1",), vl=64)
    add = Instruction(opcode="vfadd.vv", reads=("v1",), writes=("v2",), vl=64)
    assert clocks(strided, add)[1][0] == 4 + 63 - 3  # the last of 4 beats when the last element has landed


def test_a_slide_waits_for_all_of_its_source():
    add = Instruction(opcode="vfadd.vv", reads=("v0",), writes=("v1",), vl=64)
    slide = Instruction(opcode="vslidedown.vx", reads=("v1",), writes=("v2",), vl=64)
    assert clocks(add, slide)[1][0] == 8 + 3


def test_a_later_register_of_a_group_is_not_read_early():
    group = tuple(f"v{i}" for i in range(8, 12))
    add = Instruction(opcode="vfadd.vv", reads=("v0",), writes=group, vl=256)
    slower = Instruction(opcode="vfwmul.vv", reads=("v11",), writes=("v2", "v3"), vl=64, sew_bits=32)
    assert (
        clocks(add, slower)[1][0] == 8 + 3 * 4
    )  # v11's first word is the thirteenth; its reads take twice as long
    assert (
        clocks(add, dataclasses.replace(slower, opcode="vfmax.vv", reads=group, vl=256, sew_bits=16))[1][0]
        == 8
    )


def test_buffers_are_neither_chained_nor_written_early():
    load = Instruction(opcode="vle16.v", reads=("@a",), writes=("v1",), vl=64)
    store = Instruction(opcode="vse16.v", reads=("v1",), writes=("@b",), vl=64)
    send = Instruction(opcode="dma.store", reads=("@b",), writes=("external",), runs=1, run_bytes=128)
    fill = Instruction(opcode="dma.load", writes=("@a",), runs=1, run_bytes=128)
    (_, _), (stored, _), (sent, _), (filled, _) = clocks(load, store, send, fill)
    assert stored == 4
    assert sent == stored + 4 + 3  # the count of writes goes up 4 clocks after the last of 4 beats
    assert filled == 0 + 4 + 1  # and that of reads a clock after them
    assert clocks(store, store)[1][0] == 0 + 4 + 3


def test_flex_sfu_s_tables_wait_for_each_other():
    tables = [
        Instruction(opcode=opcode, reads=("@a",), writes=("sfu.table.0",), vl=vl, sew_bits=32)
        for opcode, vl in (("sfu.breakpoints", 31), ("sfu.coefficients", 64))
    ]
    execute = Instruction(opcode="sfu.execute", reads=("v1", "sfu.table.0"), writes=("v2",), vl=64)
    seen = [start for start, _ in clocks(*tables, execute, tables[0])]
    assert seen == [0, 33, 33 + 66, 33 + 66 + 4 + 5]  # landed; landed; 4 beats out of the tree's 5 levels


def test_a_load_and_a_store_overlap_but_two_loads_share_the_channel():
    load = Instruction(opcode="dma.load", writes=("@a",), runs=1, run_bytes=320)
    other = Instruction(opcode="dma.load", writes=("@b",), runs=1, run_bytes=320)
    store = Instruction(opcode="dma.store", reads=("@c",), writes=("external",), runs=1, run_bytes=320)
    assert [start for start, _ in clocks(load, other, store)] == [0, 14, 0]


def test_short_tiles_wait_for_the_drain():
    tiles = [Instruction(opcode="mm.tile", reads=("@a",), writes=(f"@{o}",), steps=10) for o in "bcdefghi"]
    seen = clocks(*tiles)
    begun, ends = [start for start, _ in seen], [end for _, end in seen]
    assert begun[:2] == [0, 32]  # whole blocks; in the feed there is room
    assert begun[7] - begun[6] == 128  # 32 rows of 4 beats
    assert [later - end for end, later in pairwise(ends)] == [128] * 7


def test_what_the_machine_does_not_have_is_refused():
    with pytest.raises(ValueError, match=r"opcode must be one that the timing table has, not 'vfoo\.vv'"):
        timing(Instruction(opcode="vfoo.vv"), MachineConfig())
    with pytest.raises(ValueError, match=r"SEW of vfredusum\.vs must be one of \(32,\), not 16"):
        timing(Instruction(opcode="vfredusum.vs", vl=1), MachineConfig())
    with pytest.raises(ValueError, match=r"sfu\.execute needs a machine with flex_sfu\.enabled = true"):
        timing(Instruction(opcode="sfu.execute", vl=1), MachineConfig().baseline())
