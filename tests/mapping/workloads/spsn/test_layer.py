"""Spiking layers executed from memory to memory: the golden model's bits; what their loops take."""

from dataclasses import replace

import numpy as np
import pytest

from lanewise.config import FlexSfuConfig, MachineConfig, VectorConfig
from lanewise.mapping.functional import execute_program
from lanewise.mapping.kernels.price import price
from lanewise.mapping.tables import table_tensors
from lanewise.mapping.workloads.spsn.layer import SpikingLayerWork
from lanewise.mapping.workloads.spsn.readout import ReadoutWork
from lanewise.models.spsn.bits import GAIN, draws, firing_table, lif_spikes, packed, readout, spsn_spikes
from lanewise.sim.program import priced_only

SEED = 3
MACHINE = MachineConfig()
NARROW = replace(
    MACHINE, vector=VectorConfig(lanes=2, vlen_bits=128), flex_sfu=FlexSfuConfig(lanes=2, segments=8)
)
SHAPES = [(128, 77, 1), (128, 70, 2), (32, 33, 2), (16, 129, 1), (32, 65, 8), (4, 1, 1), (192, 9, 1)]


def tensors(work: SpikingLayerWork, config: MachineConfig) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(SEED)
    shape = work.steps, work.batch, work.neurons
    x = rng.normal(0.05, 0.3, shape) / (1 if work.model == "lif" else GAIN)
    memory = {"in": x.astype(np.float16)}
    memory["out"] = np.full(
        (work.rows, work.batch, work.neurons // 2), 0xEE, np.uint8
    )  # what is not stored is seen
    if work.model == "spsn":
        memory["seeds"] = rng.integers(1, 1 << 32, work.seeds_shape(config), dtype=np.uint32)
    return memory | table_tensors(work.program(config), config)


def random_integers(work: SpikingLayerWork, config: MachineConfig, seeds: np.ndarray) -> np.ndarray:
    layout = work.layout(config)
    groups = [
        draws(
            work.generator, one, work.line_steps, work.neurons, block=layout.block, samples=layout.samples, joint=layout.joint, fold=layout.fold
        )
        for one in seeds
    ]  # fmt: skip
    return np.concatenate(groups, 1)


def run(work: SpikingLayerWork, config: MachineConfig = MACHINE) -> dict[str, np.ndarray]:
    program, memory = work.program(config), tensors(work, config)
    assert priced_only(program) == ()
    execute_program(program, config, memory)
    return memory


@pytest.mark.parametrize("shape", SHAPES[:1] + SHAPES[2:])
def test_lif_bits(shape):
    neurons, steps, batch = shape
    work = SpikingLayerWork(model="lif", neurons=neurons, steps=steps, batch=batch)
    memory = run(work)
    fired = lif_spikes(memory["in"], work.current_decay, work.voltage_decay)
    assert not memory["out"][0].any()
    assert np.array_equal(memory["out"][1:], packed(fired))
    assert steps < 9 or 0.1 < fired.mean() < 0.8


@pytest.mark.parametrize("config", [MACHINE, NARROW], ids=["8x1024", "2x128"])
@pytest.mark.parametrize("shape", SHAPES[2:])
@pytest.mark.parametrize("generator", ["congruential", pytest.param("xorshift", marks=pytest.mark.full)])
def test_spsn_bits(shape, generator, config):
    neurons, steps, batch = shape
    if config is NARROW and neurons > 32:
        pytest.skip("more than the registers hold")
    work = SpikingLayerWork(model="spsn", neurons=neurons, steps=steps, batch=batch, generator=generator)
    memory = run(work, config)
    random = random_integers(work, config, memory["seeds"])
    table = firing_table(config.flex_sfu.segments, config.flex_sfu.degree)
    fired = spsn_spikes(memory["in"], work.current_decay, work.voltage_decay, random, table)
    assert np.array_equal(memory["out"], packed(fired))
    assert steps < 9 or 0.2 < fired.mean() < 0.9


@pytest.mark.full
@pytest.mark.parametrize("shape", SHAPES[:2])
def test_wide_bits(shape):
    test_spsn_bits(shape, "congruential", MACHINE)
    test_lif_bits(shape)


def test_xorshift_bits():
    test_spsn_bits((16, 19, 1), "xorshift", MACHINE)


def test_segments_of_time_are_the_whole():
    """After their warm-up segments have the same voltages: the spikes are those of the same random integers."""
    work = SpikingLayerWork(model="spsn", neurons=32, steps=4 * 300 - 3 * 108, segments=4, warm_up=108)
    memory = run(work)
    random = random_integers(work, MACHINE, memory["seeds"])
    joined = np.concatenate([random[:300, 0], *(random[108:, k] for k in (1, 2, 3))])
    # the last rows of a segment are written after the first of the next one
    fired = spsn_spikes(memory["in"][:, 0], work.current_decay, work.voltage_decay, joined, firing_table())
    assert np.array_equal(memory["out"][:, 0], packed(fired))


def test_software_fires_with_the_same_probability():
    """Without Flex-SFU: other roundings, the same comparison."""
    config = MACHINE.baseline()
    work = SpikingLayerWork(model="spsn", neurons=32, steps=65, batch=4)
    memory = run(work, config)
    random = random_integers(work, config, memory["seeds"])
    fired = spsn_spikes(memory["in"], work.current_decay, work.voltage_decay, random, firing_table())
    assert 0 < (memory["out"] != packed(fired)).mean() < 0.03


@pytest.mark.parametrize("config", [MACHINE, NARROW], ids=["8x1024", "2x128"])
@pytest.mark.parametrize(("columns", "steps"), [(20, 75), (1, 1), (70, 130)])
def test_readout_bits(columns, steps, config):
    work = ReadoutWork(columns=columns, steps=steps)
    x = np.random.default_rng(SEED).normal(0.1, 1, (steps, columns)).astype(np.float16)
    memory = {"in": x, "out": np.full(columns, 7, np.float32)}
    execute_program(work.program(config), config, memory)
    assert np.array_equal(memory["out"], readout(x, work.current_decay, work.voltage_decay))


def clocks_a_step(work: SpikingLayerWork, config: MachineConfig = MACHINE) -> float:
    return price(work.program(config), config).cycles / work.steps / work.batch


def test_loops_are_near_what_bounds_them():
    """Two multiply-adds an element, three with the random numbers; LIF of few neurons waits for its own loop of 11 clocks."""
    wide = SpikingLayerWork(model="lif", neurons=128, steps=4000)
    assert 16 <= clocks_a_step(wide) < 22
    assert 24 <= clocks_a_step(replace(wide, model="spsn")) < 29
    assert 11 <= clocks_a_step(replace(wide, neurons=4)) < 16
    assert 16 <= clocks_a_step(replace(wide, model="spsn", generator="quantiser")) < 22
    parts = replace(wide, model="spsn", neurons=32, steps=4 * 1000 - 3 * 108, segments=4, warm_up=108)
    assert 6 <= clocks_a_step(parts) < 9


def test_the_operand_path_makes_the_spikes():
    program = SpikingLayerWork(model="spsn", neurons=128, steps=200, generator="quantiser").program(MACHINE)
    assert set(priced_only(program)) == {"op.settings", "op.quantise"}
    assert price(program, MACHINE).busy_clk["operand_path"] >= 200 * 128 // MACHINE.operand_path.lanes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "gru"}, "model must be one of lif, spsn, not 'gru'"),
        ({"neurons": 6}, "neurons must be a multiple of 4, not 6"),
        ({"segments": 2}, "segments must be 1 for LIF and for a batch, not 2"),
        ({"steps": 0}, "steps and batch must be at least 1, not 0 and 1"),
        ({"generator": "dice"}, "generator must be one of congruential, xorshift, quantiser, not 'dice'"),
    ],
)
def test_bad_works(changes, message):
    with pytest.raises(ValueError, match=message):
        SpikingLayerWork(**{"model": "lif", "neurons": 8, "steps": 5} | changes)
