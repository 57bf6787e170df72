"""Recurrent layers as tasks: one product for all inputs, then a product and the gates for each step."""

import pytest
import torch
from torch import nn

from lanewise.config import MachineConfig
from lanewise.mapping.kernels.elementwise import ElementwiseWork
from lanewise.mapping.kernels.matmul import MatmulWork
from lanewise.mapping.kernels.movement import MovementWork
from lanewise.mapping.lower import lower
from lanewise.mapping.simulate import simulate
from lanewise.mapping.trace import trace

LAYERS = {
    "lstm": (nn.LSTM(16, 24), 1, 5),
    "gru": (nn.GRU(16, 24), 1, 4),
    "rnn": (nn.RNN(16, 24, nonlinearity="relu"), 1, 1),
    "projected": (nn.LSTM(16, 24, proj_size=8), 1, 6),
    "two layers": (nn.LSTM(16, 24, num_layers=2), 2, 5),
    "both directions": (nn.GRU(16, 24, num_layers=2, bidirectional=True, batch_first=True), 4, 4),
}


@pytest.mark.parametrize("name", LAYERS)
def test_tasks(name):
    layer, parts, a_step = LAYERS[name]
    graph = trace(layer.to("meta"), torch.empty(6, 6, 16, device="meta"))
    (quantise, *tasks) = lower(graph).tasks
    assert quantise.kind == "quantise"
    works = [task.work for task in tasks if not isinstance(task.work, MovementWork)]
    assert len(works) == parts * (1 + 6 * a_step)
    assert sum(work.macs for work in works) == graph.macs
    assert {task.kind for task in tasks} == {"recurrent"}
    copied = [copy for task in tasks if isinstance(task.work, MovementWork) for copy in task.work.copies]
    assert len(copied) == (4 if layer.bidirectional else 0)
    assert all((copy.run, copy.levels[0].repeats, copy.levels[0].target) == (24, 36, 48) for copy in copied)


def test_gates_of_an_lstm():
    graph = trace(nn.LSTM(16, 24).to("meta"), torch.empty(3, 2, 16, device="meta"))
    _, product, *step = lower(graph).tasks[:7]
    assert (product.work.m, product.work.k, product.work.n) == (6, 16, 96)
    assert isinstance(step[0].work, MatmulWork)
    assert (step[0].work.m, step[0].work.k, step[0].work.n) == (2, 24, 96)
    assert [(task.functions, task.work.elements) for task in step[1:] if isinstance(task.work, ElementwiseWork)] == [
        (("sigmoid",), 3 * 48), (("tanh",), 48), ((), 48), (("tanh",), 48)
    ]  # fmt: skip


def test_flex_sfu_has_the_gates_functions():
    graph = trace(nn.LSTM(64, 256).to("meta"), torch.empty(512, 8, 64, device="meta"))
    result = simulate(graph, MachineConfig())
    assert result.speedup > 1.1
