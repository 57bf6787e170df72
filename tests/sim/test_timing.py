"""The timing table against the closed forms that the RTL is held to: what networks are charged is what the RTL takes."""

import dataclasses
import random

import pytest

from lanewise.config import (
    FlexSfuConfig,
    MachineConfig,
    MatrixConfig,
    OperandPathConfig,
    multiply_add_latency_clk,
)
from lanewise.formats import FORMATS
from lanewise.sim.engine import run
from lanewise.sim.flex_sfu import flex_sfu_clk, flex_sfu_load_clk
from lanewise.sim.mac_array import mac_array_clk
from lanewise.sim.matrix_unit import matrix_unit_clk
from lanewise.sim.operand_path import operand_path_tensors_clk
from lanewise.sim.program import Instruction, Program
from lanewise.sim.row_sampler import row_sampler_clk
from lanewise.sim.timing import opcode_base, timing

SEED = 20230613


def starts(config, *body):
    seen = []
    program = Program(body=body, buffers_bytes={"@a": 1, "@b": 1, "@c": 1, "@d": 1})
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
        opcode="sfu.execute", writes=("v1",), reads=("v0", "sfu.table"), vl=elements, sew_bits=bits
    )
    assert starts(config, execute)[0] == flex_sfu_clk(elements, config.flex_sfu, bits)


@pytest.mark.parametrize("entries", [1, 31, 32])
def test_a_table_load_between_two_runs_takes_the_rtl_s_clocks(entries):
    config = MachineConfig()
    execute = [
        Instruction(opcode="sfu.execute", writes=(f"v{i}",), reads=("v0", "sfu.table"), vl=64) for i in (1, 2)
    ]
    load = Instruction(opcode="sfu.load", writes=("sfu.table",), vl=entries)
    seen = starts(config, execute[0], load, execute[1])[1]
    last_beat_before = seen[0][0] + 64 // config.flex_sfu.elements_per_clk() - 1
    assert seen[2][0] - last_beat_before == flex_sfu_load_clk(entries, config.flex_sfu)


def test_the_matrix_unit_takes_the_rtl_s_clocks():
    rng = random.Random(SEED)
    print(f"seed {SEED}")
    for rows, columns, lanes in ((1, 1, 1), (4, 4, 2), (8, 5, 2), (32, 32, 8)):
        config = dataclasses.replace(
            MachineConfig(), matrix=MatrixConfig(rows=rows, columns=columns, output_lanes=lanes)
        )
        leaves = config.matrix.leave_clk()
        for _ in range(50):
            steps = [rng.choice([1, 2, leaves, rng.randint(1, 2 * leaves)]) for _ in range(rng.randint(1, 8))]
            reloads = [tile for tile in range(len(steps)) if rng.random() < 0.4]
            tiles = [
                Instruction(
                    opcode="mm.tile",
                    reads=("@a",),
                    writes=(f"@{'bcd'[i % 3]}",),
                    steps=k,
                    reload=i in reloads,
                )
                for i, k in enumerate(steps)
            ]
            # a beat is in its buffer the clock after the unit hands it over
            assert starts(config, *tiles)[0] == matrix_unit_clk(steps, config.matrix, reloads) + 1


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
                Instruction(opcode="mm.tile", reads=("@a",), writes=(f"@{'bcd'[i % 3]}",), steps=k)
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
    assert timing(add, MachineConfig()).latency_clk == multiply_add_latency_clk([FORMATS["fp16"]])


@pytest.mark.parametrize(
    ("opcode", "base"),
    [
        ("vfmadd.vf", "vfmadd"),
        ("vfncvt.f.f.w", "vfncvt.f.f"),
        ("vle16.v", "vle"),
        ("vmv.v.v", "vmv"),
        ("dma.load", "dma.load"),
    ],
)
def test_mnemonics(opcode, base):
    assert opcode_base(opcode) == base


def test_what_the_machine_does_not_have_is_refused():
    with pytest.raises(ValueError, match=r"opcode must be one that the timing table has, not 'vfoo\.vv'"):
        timing(Instruction(opcode="vfoo.vv"), MachineConfig())
    with pytest.raises(ValueError, match=r"sfu\.execute needs a machine with flex_sfu\.enabled = true"):
        timing(Instruction(opcode="sfu.execute", vl=1), MachineConfig().baseline())
