"""Networks on machines: bounds that no schedule can break, and the comparisons that reports make."""

import dataclasses
import pickle

import pytest

from lanewise.config import DmaConfig, MachineConfig, MatrixConfig, VectorConfig
from lanewise.mapping import simulate as simulator
from lanewise.mapping.kernels import candidate
from lanewise.mapping.kernels.elementwise import ElementwiseWork
from lanewise.mapping.kernels.epilogue import Step
from lanewise.mapping.kernels.matmul import MatmulWork
from lanewise.mapping.kernels.price import price
from lanewise.mapping.kernels.rows import RowsWork
from lanewise.mapping.lower import lower
from lanewise.mapping.simulate import NetworkCost, as_stored, forget, network_cost, simulate, work_cost
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


def test_equal_works_of_a_network_are_priced_once(minilm, monkeypatch):
    asked = []

    def counted(work, config):
        asked.append(work)
        return work_cost(work, config)

    monkeypatch.setattr(simulator, "work_cost", counted)
    lowered = lower(minilm)
    cost = network_cost(lowered, CONFIG)
    assert len(asked) == len(set(asked)) == len({task.work for task in lowered.tasks}) < len(lowered.tasks)
    assert cost.costs == tuple(work_cost(task.work, CONFIG) for task in lowered.tasks)


def test_what_is_kept_of_a_work_is_the_runs_and_small(minilm):
    work = next(task.work for task in lower(minilm).tasks if isinstance(task.work, MatmulWork))
    cost, run = work_cost(work, CONFIG), price(as_stored(work, CONFIG).program(CONFIG), CONFIG)
    names = ("cycles", "busy_clk", "loaded_bytes", "stored_bytes", "instructions")
    assert [getattr(cost, name) for name in names] == [getattr(run, name) for name in names]
    assert cost.unit == max(cost.busy_clk, key=cost.busy_clk.__getitem__)
    assert len(pickle.dumps(cost)) < 300


def test_a_kernel_is_the_same_when_it_is_chosen_anew():
    works = [
        ElementwiseWork(elements=5000, steps=(Step(function="gelu"),)),
        RowsWork(function="softmax", rows=70, length=90),
    ]
    before = [work_cost(work, CONFIG) for work in works]
    forget()
    assert work_cost.cache_info().currsize == candidate.shared_family.cache_info().currsize == 0
    assert [work_cost(work, CONFIG) for work in works] == before


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

    def held(cost: NetworkCost) -> int:
        """By layers, whose tiles do not wait for each other."""
        layers = zip(cost.tasks, cost.costs)
        return sum(
            c.busy_clk["matrix"] for t, c in layers if isinstance(t.work, MatmulWork) and t.work.weights
        )

    assert held(other) > held(own)  # a step more for each bias


def test_int8_moves_more_bytes(minilm):
    int8 = dataclasses.replace(CONFIG, matrix=MatrixConfig(operand_bits=8))
    assert simulate(minilm, int8).machine.bytes > simulate(minilm, CONFIG).machine.bytes


def test_batch_scales_the_work(minilm):
    two = trace_model("hf:minilm", sequence=64, batch=2)
    assert two.macs == 2 * minilm.macs
    one_cycles, two_cycles = simulate(minilm, CONFIG).machine.cycles, simulate(two, CONFIG).machine.cycles
    assert 1.5 * one_cycles < two_cycles < 2.1 * one_cycles
