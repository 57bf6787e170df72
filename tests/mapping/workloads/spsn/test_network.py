"""Whole spiking networks as tasks."""

from dataclasses import replace

import numpy as np
import pytest

from lanewise.config import MachineConfig
from lanewise.mapping.functional import execute_program
from lanewise.mapping.kernels.price import price
from lanewise.mapping.simulate import network_cost, simulate_lowered
from lanewise.mapping.tables import table_tensors
from lanewise.mapping.workloads.spsn.network import NetworkShape, layer_work, lowered, step_by_step, warm_up
from lanewise.models.lfsr import lane_states
from lanewise.models.matrix_layout import column_constants
from lanewise.models.spsn.bits import GAIN, draws, firing_table, packed, spsn_spikes

MACHINE = MachineConfig()
SHAPE = NetworkShape(model="spsn", sizes=(700, 128, 128, 128, 20), steps=1000)


def test_tasks_and_macs():
    found = simulate_lowered(lowered(SHAPE, MACHINE), MACHINE, model="spsn")
    assert [task.kind for task in found.machine.tasks] == ["matmul", "spsn"] * 3 + ["matmul", "readout"]
    assert found.macs == 1000 * (700 * 128 + 2 * 128 * 128 + 128 * 20)
    assert found.macs / MACHINE.matrix.macs_per_clk < found.machine.cycles < found.baseline.cycles
    assert found.speedup > 1.5


def test_lif_uses_no_flex_sfu():
    shape = NetworkShape(model="lif", sizes=SHAPE.sizes, steps=200)
    found = simulate_lowered(lowered(shape, MACHINE), MACHINE, model="lif")
    assert found.machine.cycles == found.baseline.cycles
    assert found.machine.busy_clk["flex_sfu"] == 0
    one = network_cost(step_by_step(shape, MACHINE), MACHINE)
    assert 200 * one.cycles > 10 * found.machine.cycles


def test_segments_for_narrow_layers_of_long_sequences():
    long = NetworkShape(model="spsn", sizes=(80, 32, 10), steps=10_000)
    work = layer_work(long, 32, MACHINE)
    assert (work.segments, work.lines) == (4, 4)
    assert work.warm_up >= warm_up(0.9)
    assert work.line_steps + 3 * work.line_distance == 10_000
    assert layer_work(NetworkShape(model="spsn", sizes=(80, 32, 10), steps=200), 32, MACHINE).segments == 1
    assert price(work.program(MACHINE), MACHINE).cycles < 0.6 * price(
        layer_work(NetworkShape(model="lif", sizes=(80, 32, 10), steps=10_000), 32, MACHINE).program(MACHINE), MACHINE
    ).cycles  # fmt: skip


def test_a_products_results_are_a_layers_inputs():
    """Spikes of INT4, weights of INT4, FP16 results, spikes: two tasks on one memory."""
    steps, channels, neurons = 24, 12, 16
    shape = NetworkShape(model="spsn", sizes=(channels, neurons, 4), steps=steps)
    product, layer = (task.work for task in lowered(shape, MACHINE).tasks[:2])
    rng = np.random.default_rng(2)
    spikes, weights = rng.random((steps, channels)) < 0.4, rng.integers(-8, 8, (neurons, channels))
    order = np.arange(channels).reshape(2, -1).T.reshape(-1)  # a byte has neurons n and n + half
    nibbles = weights[:, order].astype(np.uint8) & 15
    multiplier, shift = 40_000, 22
    constants = column_constants(np.zeros(neurons), np.full(neurons, multiplier), MACHINE.matrix)
    memory = {
        "left": packed(spikes), "right": np.ascontiguousarray(nibbles[:, ::2] | nibbles[:, 1::2] << np.uint8(4)), "constants": constants,
        "fp16": np.zeros((steps, neurons), np.float16),
    }  # fmt: skip
    execute_program(replace(product, multiplier=1, shift=shift).program(MACHINE), MACHINE, memory)
    wanted = (spikes @ weights.T * (multiplier / 2.0**shift)).astype(np.float16)
    assert np.array_equal(memory["fp16"], wanted)
    assert np.abs(wanted).max() > 1 / GAIN
    seeds = lane_states(1, int(np.prod(layer.seeds_shape(MACHINE)))).reshape(layer.seeds_shape(MACHINE))
    program = layer.program(MACHINE)
    other = {"in": memory["fp16"], "out": np.zeros((steps, neurons // 2), np.uint8), "seeds": seeds}
    execute_program(program, MACHINE, other | table_tensors(program, MACHINE))
    layout = layer.layout(MACHINE)
    random = draws(
        layer.generator, seeds[0], steps, neurons, block=layout.block, samples=1, joint=layout.joint
    )
    fired = spsn_spikes(wanted, layer.current_decay, layer.voltage_decay, random[:, 0], firing_table())
    assert np.array_equal(other["out"], packed(fired))


def test_bad_shapes():
    with pytest.raises(ValueError, match="must be lif or spsn of three sizes at least"):
        NetworkShape(model="spsn", sizes=(3, 4), steps=1)
