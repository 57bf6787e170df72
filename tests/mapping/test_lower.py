"""Lowering: what is fused, which formats are stored, that nothing is dropped, and that what has no kernel stops the run."""

import pytest
import torch
from torch import nn

from lanewise.config import MachineConfig
from lanewise.errors import UserError
from lanewise.mapping.kernels.matmul import MatmulWork
from lanewise.mapping.kernels.rows import RowsWork
from lanewise.mapping.kernels.windows import WindowsWork
from lanewise.mapping.lower import lower
from lanewise.mapping.simulate import simulate
from lanewise.mapping.trace import trace


def graph_of(module, *shapes):
    with torch.device("meta"):
        return trace(module.to("meta"), tuple(torch.empty(shape) for shape in shapes))


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.norm = nn.Linear(64, 128), nn.Linear(128, 64), nn.LayerNorm(64)

    def forward(self, x):
        return self.norm(x + self.second(nn.functional.gelu(self.first(x))))


def test_activation_and_residual_ride_on_the_matrix_products():
    tasks = lower(graph_of(Residual(), (1, 32, 64))).tasks
    works = [task.work for task in tasks]
    assert [type(w) for w in works if not task_is_quantise(w)] == [MatmulWork, MatmulWork, RowsWork]
    first, second = (w for w in works if isinstance(w, MatmulWork))
    assert [s.function for s in first.steps] == ["gelu"]
    assert first.outputs == ("quantised",)  # only the next product reads it
    assert [(s.function, s.operand) for s in second.steps] == [("add", "tensor")]
    assert second.outputs == ("fp16",)


def task_is_quantise(work):
    return (
        getattr(work, "steps", None) == ()
        and work.outputs == ("quantised",)
        and not isinstance(work, MatmulWork | RowsWork)
    )


def test_a_value_with_two_readers_is_not_fused_away():
    class Forked(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(64, 64)

        def forward(self, x):
            y = self.linear(x)
            return torch.sigmoid(y) + y

    tasks = lower(graph_of(Forked(), (4, 64))).tasks
    product = next(t.work for t in tasks if isinstance(t.work, MatmulWork))
    assert product.steps == ()
    assert product.outputs == ("fp16",)


def test_convolution_shapes_and_batch_norm_folding():
    net = nn.Sequential(
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3, groups=32, padding=1),
    )
    tasks = lower(graph_of(net, (1, 16, 28, 28))).tasks
    product = next(t.work for t in tasks if isinstance(t.work, MatmulWork))
    depthwise = next(t.work for t in tasks if isinstance(t.work, WindowsWork))
    assert (product.m, product.k, product.n) == (14 * 14, 16 * 9, 32)
    assert [s.function for s in product.steps] == ["relu"]
    assert (depthwise.function, depthwise.positions, depthwise.channels, depthwise.taps) == (
        "depthwise",
        196,
        32,
        9,
    )


def test_attention_reads_the_transposed_operand():
    class Attention(nn.Module):
        def forward(self, q, k, v):
            return nn.functional.scaled_dot_product_attention(q, k, v)

    tasks = lower(graph_of(Attention(), (1, 4, 48, 32), (1, 4, 48, 32), (1, 4, 48, 32))).tasks
    scores, values = (t.work for t in tasks if isinstance(t.work, MatmulWork))
    assert (scores.batch, scores.m, scores.k, scores.n) == (4, 48, 32, 48)
    assert not scores.right_transposed  # keys lie with the inner dimension contiguous
    assert (values.batch, values.m, values.k, values.n) == (4, 48, 48, 32)
    assert values.right_transposed
    softmax = next(t.work for t in tasks if isinstance(t.work, RowsWork))
    assert (softmax.rows, softmax.length, softmax.outputs) == (4 * 48, 48, ("quantised",))


def test_fused_and_written_out_attention_cost_the_same_products():
    class Fused(nn.Module):
        def forward(self, q, k, v):
            return nn.functional.scaled_dot_product_attention(q, k, v)

    class Written(nn.Module):
        def forward(self, q, k, v):
            return torch.softmax(q @ k.transpose(-2, -1) / 32**0.5, -1) @ v

    shapes = [(1, 4, 48, 32)] * 3
    fused, written = (
        {
            (t.work.batch, t.work.m, t.work.k, t.work.n)
            for t in lower(graph_of(m, *shapes)).tasks
            if isinstance(t.work, MatmulWork)
        }
        for m in (Fused(), Written())
    )
    assert fused == written


def test_every_operator_is_in_a_task():
    graph = graph_of(Residual(), (1, 32, 64))
    members = {name for task in lower(graph).tasks for name in task.members}
    computing = {op.name for op in graph.operators if not (op.kind == "movement" and op.function == "view")}
    assert members == computing


def test_macs_survive_the_lowering():
    graph = graph_of(
        nn.Sequential(nn.Conv2d(16, 32, 3, groups=4), nn.Conv2d(32, 32, 3, groups=32)), (2, 16, 20, 20)
    )
    assert sum(task.work.macs for task in lower(graph).tasks) == graph.macs


class Odd(nn.Module):
    def forward(self, x):
        return torch.cumsum(torch.relu(x), -1)


def test_an_operator_without_a_kernel_stops_the_run_with_its_name():
    graph = graph_of(Odd(), (4, 64))
    with pytest.raises(
        UserError,
        match=r"operator .*cumsum.* has no kernel; expected one that lanewise maps, or --allow-unmapped",
    ):
        simulate(graph, MachineConfig())
    result = simulate(graph, MachineConfig(), allow_unmapped=True)
    assert len(result.unmapped) == 1
    priced = [c for t, c in zip(result.machine.tasks, result.machine.costs, strict=True) if not t.mapped]
    assert priced[0].cycles > 0
