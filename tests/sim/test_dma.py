"""Clocks of DMA (the RTL's own test holds the bytes)."""

import dataclasses

import numpy as np
import pytest

from lanewise.config import DmaConfig, MachineConfig
from lanewise.sim.dma import (
    Transfer,
    data_beats,
    dma_beats,
    dma_finished_clk,
    dma_read_clk,
    dma_starts_clk,
    memory_clk,
)
from lanewise.sim.program import Instruction
from lanewise.sim.timing import timing


def test_beats_are_the_words_that_are_touched():
    rng = np.random.default_rng(5)
    for _ in range(300):
        count = 1 << int(rng.integers(2, 10))
        transfer = Transfer(
            external=int(rng.integers(1 << 40)), runs=int(rng.integers(1, 900)),
            run_bytes=int(rng.integers(1, 3 * count)), external_stride=int(rng.integers(-5000, 5000)),
        )  # fmt: skip
        words = 0
        for run in range(transfer.runs):
            first = transfer.external + run * transfer.external_stride
            words += (first + transfer.run_bytes - 1) // count - first // count + 1
        assert data_beats(transfer, count) == words


@pytest.mark.parametrize(("runs", "run_bytes"), [(1, 32), (1, 5), (7, 64), (16, 100), (1, 4096), (3, 20_000)])
@pytest.mark.parametrize("opcode", ["dma.load", "dma.store"])
def test_aligned_runs_equal_the_timing_table(opcode, runs, run_bytes):
    for config in (
        MachineConfig(),
        MachineConfig(dma=DmaConfig(bytes_per_clk=8, latency_clk=30, descriptor_clk=1)),
    ):
        clocks = timing(Instruction(opcode=opcode, runs=runs, run_bytes=run_bytes), config)
        stride = 1 << 20
        transfer = Transfer(external=1 << 30, runs=runs, run_bytes=run_bytes, external_stride=stride)
        assert dma_beats(transfer, config.dma) == clocks.beats
        # not chained: a reader may start when the last beat has landed
        assert dma_finished_clk(0, transfer, config.dma) + 1 == clocks.last_clk


def test_commands_follow_each_other_or_wait_for_their_offer():
    config = DmaConfig(bytes_per_clk=32, descriptor_clk=4)
    one = Transfer(external=0, runs=1, run_bytes=32, external_stride=0)
    assert dma_starts_clk([0, 0, 3, 100], [one] * 4, config) == [0, 5, 10, 100]
    assert dma_read_clk(10, one, config) == 15


def test_the_latency_has_room_for_the_engine():
    assert memory_clk(DmaConfig(latency_clk=5)) == 1
    with pytest.raises(ValueError, match=r"^latency_clk must be 5 to 4096, not 4$"):
        DmaConfig(latency_clk=4)


@pytest.mark.parametrize("name", ["runs", "run_bytes"])
def test_nothing_to_move_is_refused(name):
    one = Transfer(external=0, runs=1, run_bytes=1, external_stride=0)
    with pytest.raises(ValueError, match=rf"^{name} must be at least 1, not 0$"):
        dataclasses.replace(one, **{name: 0})
