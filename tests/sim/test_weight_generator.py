"""The timing table's clocks of the weight generator against the closed forms that the RTL is held to."""

import dataclasses

import pytest

from lanewise.config import MachineConfig, WeightGeneratorConfig
from lanewise.sim.engine import run
from lanewise.sim.program import Instruction, Program
from lanewise.sim.timing import timing
from lanewise.sim.weight_generator import weight_generator_finished_clk, weight_generator_starts_clk


@pytest.mark.parametrize("width", [4, 32, 64])
@pytest.mark.parametrize("sizes", [(1, 1), (63, 64, 65), (4608, 5, 1000)])
def test_the_engine_takes_the_rtl_s_clocks(width, sizes):
    unit = WeightGeneratorConfig(enabled=True, bytes_per_clk=width)
    config = dataclasses.replace(MachineConfig(), weight_generator=unit)
    made = [
        Instruction(opcode="dma.generate", writes=(f"@{k}",), runs=1, run_bytes=size)
        for k, size in enumerate(sizes)
    ]
    read = Instruction(opcode="vle16.v", reads=(f"@{len(sizes) - 1}",), writes=("v1",), vl=16)
    seen = []
    program = Program(body=(*made, read), buffers_bytes={f"@{k}": size for k, size in enumerate(sizes)})
    result = run(program, config, summarise=False, watcher=lambda _, start, end: seen.append((start, end)))
    starts = weight_generator_starts_clk([0] * len(sizes), sizes, unit)
    # one start a clock: a command of a single word leaves no gap
    assert [start for start, _ in seen[:-1]] == starts
    finished = [weight_generator_finished_clk(start, size, unit) for start, size in zip(starts, sizes)]
    assert [end - 2 for _, end in seen[:-1]] == finished
    assert seen[-1][0] == finished[-1] + 1
    assert result.loaded_bytes == 0


def test_a_machine_without_one_has_no_such_instruction():
    with pytest.raises(
        ValueError, match=r"dma.generate needs a machine with weight_generator.enabled = true"
    ):
        timing(Instruction(opcode="dma.generate", writes=("@a",), runs=1, run_bytes=4), MachineConfig())


def test_hash_of_a_machine_without_one_is_as_before():
    machine = MachineConfig()
    other = dataclasses.replace(machine, weight_generator=WeightGeneratorConfig(bytes_per_clk=64))
    assert other.hash == machine.hash
    assert "weight_generator" in machine.as_dict()
    on = dataclasses.replace(machine, weight_generator=WeightGeneratorConfig(enabled=True))
    assert on.hash != machine.hash
