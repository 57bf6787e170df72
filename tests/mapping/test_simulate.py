"""Networks on machines: bounds that no schedule can break, and the comparisons that reports make."""

import dataclasses

import pytest

from lanewise.config import DmaConfig, MachineConfig, MatrixConfig, VectorConfig
from lanewise.mapping.simulate import simulate
from lanewise.mapping.trace import trace_model

CONFIG = MachineConfig()


@pytest.fixture(scope="module")
def minilm():
    return trace_model("hf:minilm", sequence=64)


@pytest.fixture(scope="module")
def resnet():
    return trace_model("timm:resnet18", resolution=64)


def test_bounds(minilm, resnet):
    for graph in (minilm, resnet):
        result = simulate(graph, CONFIG)
        assert result.macs == graph.macs
        assert result.machine.cycles >= graph.macs / CONFIG.matrix.macs_per_clk
        assert all(0 <= share <= 1 for share in result.machine.utilisation.values())
        assert result.baseline.cycles >= result.machine.cycles


def test_flex_sfu_buys_nothing_where_nothing_bends(minilm, resnet):
    assert simulate(resnet, CONFIG).speedup == 1.0
    assert simulate(resnet, CONFIG).machine.busy_clk["flex_sfu"] == 0
    assert simulate(minilm, CONFIG).speedup > 1.1


def test_without_flex_sfu_the_machine_is_its_own_baseline(minilm):
    result = simulate(minilm, CONFIG.baseline())
    assert result.machine.cycles == result.baseline.cycles == simulate(minilm, CONFIG).baseline.cycles


@pytest.mark.parametrize("formats", [("int8",), ("fp8e4m3", "bf16")])
def test_a_unit_without_fp16_serves_no_fp16_activation(minilm, formats):
    config = dataclasses.replace(CONFIG, flex_sfu=dataclasses.replace(CONFIG.flex_sfu, formats=formats))
    result = simulate(minilm, config)
    assert result.speedup == 1.0
    assert result.machine.busy_clk["flex_sfu"] == 0


@pytest.mark.parametrize(
    "better",
    [
        dataclasses.replace(CONFIG, dma=DmaConfig(bytes_per_clk=64)),
        dataclasses.replace(CONFIG, dma=DmaConfig(latency_clk=5, descriptor_clk=1)),
        dataclasses.replace(
            CONFIG, vector=VectorConfig(lanes=16), flex_sfu=dataclasses.replace(CONFIG.flex_sfu, lanes=16)
        ),
    ],
    ids=["bandwidth", "latency", "lanes"],
)
def test_a_better_machine_is_not_slower(minilm, resnet, better):
    for graph in (minilm, resnet):
        assert simulate(graph, better).machine.cycles <= simulate(graph, CONFIG).machine.cycles


def test_an_fp16_array_quantises_nothing_and_moves_four_times_the_operands(minilm):
    fp16 = dataclasses.replace(CONFIG, matrix=MatrixConfig(operand_bits=16))
    own, other = simulate(minilm, CONFIG).machine, simulate(minilm, fp16).machine
    assert other.bytes > own.bytes
    assert all(cost.cycles == 0 for task, cost in zip(other.tasks, other.costs) if task.kind == "quantise")
    assert other.busy_clk["matrix"] >= own.busy_clk["matrix"]  # a step more for each bias


def test_int8_moves_more_bytes(minilm):
    int8 = dataclasses.replace(CONFIG, matrix=MatrixConfig(operand_bits=8))
    assert simulate(minilm, int8).machine.bytes > simulate(minilm, CONFIG).machine.bytes


def test_batch_scales_the_work(minilm):
    two = trace_model("hf:minilm", sequence=64, batch=2)
    assert two.macs == 2 * minilm.macs
    one_cycles, two_cycles = simulate(minilm, CONFIG).machine.cycles, simulate(two, CONFIG).machine.cycles
    assert 1.5 * one_cycles < two_cycles < 2.1 * one_cycles
