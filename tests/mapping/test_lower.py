"""Lowering: what is fused, which formats are stored, that nothing is dropped, and that what has no kernel stops the run."""

import dataclasses

import pytest
import torch
from torch import nn

from lanewise.config import MachineConfig, MatrixConfig, ScratchpadConfig
from lanewise.errors import UserError
from lanewise.mapping.kernels.elementwise import ElementwiseWork
from lanewise.mapping.kernels.epilogue import Step
from lanewise.mapping.kernels.matmul import MatmulWork
from lanewise.mapping.kernels.movement import MovementWork
from lanewise.mapping.kernels.patches import Patches
from lanewise.mapping.kernels.rows import RowsWork
from lanewise.mapping.kernels.window_axes import Axis
from lanewise.mapping.kernels.windows import WindowsWork
from lanewise.mapping.layout import Layouts, reshaped
from lanewise.mapping.lower import lower
from lanewise.mapping.matrix_operands import matrix_of
from lanewise.mapping.simulate import simulate, work_cost
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


def test_convolutions_read_their_input_as_it_is_stored():
    net = nn.Sequential(
        nn.Conv2d(3, 32, (7, 5), stride=2, padding=(3, 2)), nn.ReLU(), nn.Conv2d(32, 64, 3, padding=2, dilation=2, groups=8), nn.ReLU(),
        nn.Conv2d(64, 10, 1),
    )  # fmt: skip
    tasks = lower(graph_of(net, (2, 3, 28, 20))).tasks
    assert [t.kind for t in tasks] == ["quantise", *["convolution"] * 3]  # borders are no task
    assert tasks[0].work.elements == 2 * 28 * 20 * 4  # an even number of channels
    first, second, third = (t.work for t in tasks[1:])
    assert first.patches == Patches(
        images=2, channels=3, size=(28, 20), kernel=(7, 5), stride=(2, 2), dilation=(1, 1), padding=(3, 2)
    )
    assert second.patches == Patches(
        images=2,
        channels=4,
        groups=8,
        size=(14, 10),
        kernel=(3, 3),
        stride=(1, 1),
        dilation=(2, 2),
        padding=(2, 2),
    )
    assert [(w.batch, w.m, w.k, w.n) for w in (first, second, third)] == [
        (1, 280, 105, 32), (8, 280, 36, 8), (1, 280, 64, 10),
    ]  # fmt: skip
    done = [w.on(MachineConfig()) for w in (first, second, third)]
    assert [(w.batch, w.k, w.n) for w in done] == [(1, 140, 32), (2, 144, 32), (1, 64, 10)]
    assert (done[1].result_pitch, done[1].result_step) == (64, 32)


def test_groups_together_are_faster_than_one_by_one():
    patches = Patches(
        images=1,
        channels=4,
        groups=32,
        size=(28, 28),
        kernel=(3, 3),
        stride=(1, 1),
        dilation=(1, 1),
        padding=(1, 1),
    )
    groups = MatmulWork(m=784, k=36, n=4, batch=32, patches=patches, outputs=("quantised",))
    one = MatmulWork(m=784, k=36, n=4, patches=dataclasses.replace(patches, groups=1), outputs=("quantised",))
    together, alone = (work_cost(work, MachineConfig()) for work in (groups, one))
    assert 4 * together.cycles < 32 * alone.cycles
    assert together.busy_clk["matrix"] <= 1.02 * 32 * alone.busy_clk["matrix"]


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


def heads(x: torch.Tensor, count: int) -> torch.Tensor:
    return x.view(*x.shape[:2], count, -1).transpose(1, 2)


def test_attention_reads_its_heads_where_they_lie_interleaved():
    class Attention(nn.Module):
        def forward(self, q, k, v):
            q, k, v = (heads(each, 4) for each in (q, k, v))
            return torch.softmax(q @ k.transpose(-2, -1), -1) @ v

    def products(batch):
        tasks = lower(graph_of(Attention(), *[(batch, 48, 128)] * 3)).tasks
        return [t.work for t in tasks if isinstance(t.work, MatmulWork)]

    scores, values = products(1)
    assert (scores.left_pitch, scores.left_step, scores.right_pitch, scores.right_step) == (128, 32, 128, 32)
    assert (values.left_pitch, values.left_step, values.right_pitch, values.right_step) == (0, 0, 128, 32)
    assert (scores.right_transposed, values.right_transposed, scores.left_runs) == (False, True, 0)
    scores, _ = products(2)  # two steps from product to product: a copy whose products are one after another
    assert (scores.batch, scores.left_pitch, scores.left_step, scores.left_runs) == (8, 0, 0, 0)
    tasks = lower(graph_of(Attention(), *[(2, 48, 128)] * 3)).tasks
    moved = [t.work for t in tasks if isinstance(t.work, MovementWork)]
    assert [(w.form, *(c.elements for c in w.copies)) for w in moved] == [("quantised", 2 * 48 * 128)] * 3


def test_tokens_are_mixed_in_the_order_in_which_they_lie():
    class Mixer(nn.Module):
        def __init__(self):
            super().__init__()
            self.tokens = nn.Linear(24, 40)

        def forward(self, x):
            return self.tokens(x.transpose(1, 2))

    def product(*shape):
        tasks = lower(graph_of(Mixer(), shape)).tasks
        return next(t.work for t in tasks if isinstance(t.work, MatmulWork))

    work = product(1, 24, 32)
    assert (work.m, work.k, work.left_transposed, work.left_pitch, work.left_runs) == (32, 24, True, 0, 0)
    assert not product(2, 24, 32).left_transposed  # no one distance from token to token: a copy


def test_how_a_product_reads_its_left_operand():
    class Turned(nn.Module):
        def forward(self, x, y):
            return (x + 1).permute(0, 2, 1, 3) @ y

    def left(*shape, width):
        graph = graph_of(Turned(), shape, (shape[0], shape[2], width, 3))
        product = next(op for op in graph.operators if op.kind == "matmul")
        return matrix_of(Layouts(graph), product, 0)

    found = left(1, 6, 4, 10, width=10)
    assert (found.direct, found.turned, found.pitch, found.step) == (True, False, 40, 10)
    assert not left(1, 6, 4, 9, width=9).direct  # INT4 heads would not begin with a byte
    assert not left(2, 6, 4, 10, width=10).direct


@pytest.mark.parametrize(
    ("shape", "steps", "wanted", "found"),
    [
        ((2, 3, 4), (12, 4, 1), (6, 4), (4, 1)), ((2, 3, 4), (12, 1, 3), (2, 12), None), ((2, 12), (12, 1), (2, 3, 1, 4), (12, 4, 4, 1)),
        ((5, 1, 3), (3, 99, 1), (15,), (1,)), ((4, 6), (0, 1), (2, 2, 6), (0, 0, 1)), ((4, 6), (8, 1), (24,), None), ((2, 3), (3, 1), (7,), None),
    ],
)  # fmt: skip
def test_steps_of_the_same_elements_in_another_shape(shape, steps, wanted, found):
    assert reshaped(shape, steps, wanted) == found


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
        return torch.lgamma(torch.relu(x))


def test_an_operator_without_a_kernel_stops_the_run_with_its_name():
    graph = graph_of(Odd(), (4, 64))
    with pytest.raises(
        UserError,
        match=r"operator .*lgamma.* has no kernel; expected one that lanewise maps, or --allow-unmapped",
    ):
        simulate(graph, MachineConfig())
    result = simulate(graph, MachineConfig(), allow_unmapped=True)
    assert len(result.unmapped) == 1
    priced = [c for t, c in zip(result.machine.tasks, result.machine.costs, strict=True) if not t.mapped]
    assert priced[0].cycles > 0


def test_what_the_network_returns_is_stored_and_ends_the_fusion():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(64, 64)

        def forward(self, x):
            y = self.linear(x)
            return y, torch.relu(y)

    tasks = lower(graph_of(Both(), (32, 64))).tasks
    product = next(t.work for t in tasks if isinstance(t.work, MatmulWork))
    assert (product.steps, product.outputs) == ((), ("fp16",))
    result = simulate(graph_of(Both(), (32, 64)), MachineConfig())
    assert sum(c.stored_bytes for c in result.machine.costs) >= 2 * 2 * 32 * 64


def steps_in(module, *shapes):
    work = next(t.work for t in lower(graph_of(module, *shapes)).tasks if isinstance(t.work, ElementwiseWork))
    return [(s.function, s.operand) for s in work.steps]


def test_two_halves_of_one_value_are_two_operands():
    class Gated(nn.Module):
        def forward(self, x):
            a, b = x.chunk(2, -1)
            return a * b

    assert steps_in(Gated(), (32, 256)) == [("multiply", "tensor")]


def test_a_value_with_itself():
    assert steps_in(Lambda(lambda x: x * x), (4, 64)) == [("pow", "scalar")]
    assert steps_in(Lambda(lambda x: x**2), (4, 64)) == [("pow", "scalar")]
    assert steps_in(Lambda(lambda x: x + x), (4, 64)) == [("multiply", "scalar")]
    assert steps_in(Lambda(lambda x: 2 - x), (4, 64)) == [("reverse_subtract", "scalar")]


class Lambda(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *x):
        return self.function(*x)


def test_a_selection_reads_all_its_operands():
    module = Lambda(lambda c, x, y: torch.where(c > 0, torch.relu(x), torch.relu(y)))
    result = simulate(graph_of(module, (64, 64), (64, 64), (64, 64)), MachineConfig())
    assert result.machine.bytes >= 2 * 64 * 64 * (1 + 1 + 1 + 3 + 1)


def cycles(function, *shapes):
    return simulate(graph_of(Lambda(function), *shapes), MachineConfig()).machine.cycles


def test_reading_through_a_permutation_is_paid_for():
    relu = torch.relu
    straight = cycles(lambda x, y: relu(x) + relu(y), (256, 256), (256, 256))
    assert cycles(lambda x, y: relu(x) + relu(y).transpose(0, 1), (256, 256), (256, 256)) > 1.2 * straight
    assert cycles(lambda x: torch.softmax(relu(x), 0), (256, 256)) > 1.5 * cycles(
        lambda x: torch.softmax(relu(x), 1), (256, 256)
    )
    assert cycles(lambda x: relu(x).mean((0, 2)), (16, 8, 64)) > cycles(
        lambda x: relu(x).mean((1, 2)), (16, 8, 64)
    )


def test_a_picture_seen_as_tokens_lies_as_they_want_it():
    net = nn.Sequential(nn.Conv2d(3, 64, 16, stride=16), nn.Flatten(2))
    tokens = Lambda(lambda x: nn.functional.layer_norm(x.transpose(1, 2), (64,)))
    tasks = lower(graph_of(nn.Sequential(net, tokens), (1, 3, 224, 224))).tasks
    assert [t.kind for t in tasks] == ["quantise", "convolution", "normalise"]


@pytest.mark.parametrize(
    ("net", "shape", "most"),
    [
        (nn.MaxPool2d(2, 2), (1, 512, 64, 64), 1.1),
        (nn.Conv2d(512, 512, 7, padding=3, groups=512), (1, 512, 64, 64), 2.5),
        (nn.AdaptiveAvgPool2d(1), (1, 2048, 56, 56), 1.1),
    ],
)
def test_windows_read_the_input_about_once(net, shape, most):
    result = simulate(graph_of(nn.Sequential(nn.ReLU(), net), shape), MachineConfig())
    loaded = result.machine.costs[-1].loaded_bytes
    size = 2 * shape[1] * shape[2] * shape[3]
    assert size <= loaded <= most * size


def window_of(net, *shape: int) -> WindowsWork:
    (work,) = (t.work for t in lower(graph_of(net, shape)).tasks if isinstance(t.work, WindowsWork))
    return work


@pytest.mark.parametrize(
    ("net", "shape", "axis", "more"),
    [
        (nn.MaxPool2d(3, 2, 1), (2, 8, 14, 14), Axis(size=14, kernel=3, stride=2, padding=1, results=7), {}),
        (nn.MaxPool2d(3, 2, ceil_mode=True), (2, 8, 14, 14), Axis(size=14, kernel=3, stride=2, results=7), {}),
        (nn.MaxPool2d(2, 1, dilation=3), (2, 8, 14, 14), Axis(size=14, kernel=2, dilation=3, results=11), {}),
        (
            nn.AvgPool2d(3, 1, 1, count_include_pad=False), (2, 8, 14, 14),
            Axis(size=14, kernel=3, padding=1, results=14, counts_padding=False), {},
        ),
        (nn.AvgPool2d(2, divisor_override=3), (2, 8, 14, 14), Axis(size=14, kernel=2, stride=2, results=7), {"divisor": 3.0}),
        (nn.AdaptiveMaxPool2d(5), (2, 8, 14, 14), Axis(size=14, results=5, adaptive=True), {}),
        (
            nn.Conv2d(8, 8, 5, 2, 2, groups=8), (2, 8, 14, 14), Axis(size=14, kernel=5, stride=2, padding=2, results=7),
            {"function": "depthwise"},
        ),
    ],
)  # fmt: skip
def test_windows_have_their_geometry(net, shape, axis, more):
    work = window_of(net, *shape)
    assert (work.images, work.axes, work.channels) == (shape[0], (axis, axis), shape[1])
    function = (
        "depthwise" if isinstance(net, nn.Conv2d) else "max" if "Max" in type(net).__name__ else "average"
    )
    assert dataclasses.asdict(work) | more | {"function": function} == dataclasses.asdict(work)


@pytest.mark.parametrize(("name", "function"), [("mean", "average"), ("sum", "sum"), ("amax", "max")])
def test_reductions_over_positions_are_windows_of_whole_images(name, function):
    tasks = lower(
        graph_of(nn.Sequential(nn.MaxPool2d(2), Lambda(lambda x: getattr(x, name)((2, 3)))), (2, 8, 6, 8))
    ).tasks
    work = tasks[-1].work
    assert isinstance(work, WindowsWork)
    assert (work.function, work.images, work.channels, work.whole_images) == (function, 2, 8, True)
    assert work.taps == 12


def test_a_convolution_with_several_results_a_channel_is_a_grouped_one():
    tasks = lower(graph_of(nn.Conv2d(8, 16, 3, groups=8), (1, 8, 14, 14))).tasks
    assert isinstance(tasks[-1].work, MatmulWork)


def test_a_pool_without_a_batch_has_no_kernel():
    with pytest.raises(UserError, match="has no kernel"):
        lower(graph_of(nn.MaxPool2d(2), (8, 14, 14)))


def test_software_on_a_depthwise_convolution_is_no_worse_than_in_a_pass_of_its_own():
    baseline = MachineConfig().baseline()
    axis = Axis(size=112, kernel=3, padding=1)
    window = {"axes": (axis, axis), "channels": 32}
    fused = WindowsWork(function="depthwise", steps=(Step(function="silu"),), **window)
    alone = WindowsWork(function="depthwise", **window)
    silu = ElementwiseWork(elements=112 * 112 * 32, steps=(Step(function="silu"),))
    apart = work_cost(alone, baseline).cycles + work_cost(silu, baseline).cycles
    assert work_cost(fused, baseline).cycles <= 1.05 * apart  # the last strips of each band are not full


def test_an_operator_that_the_scratchpad_does_not_hold_is_refused():
    config = dataclasses.replace(
        MachineConfig(), matrix=MatrixConfig(rows=64, columns=64), scratchpad=ScratchpadConfig(size_kib=16, banks=16)
    )  # fmt: skip
    with pytest.raises(UserError, match=r"does not fit the machine: scratchpad\."):
        simulate(graph_of(nn.Linear(64, 64), (64, 64)), config)


def test_rows_of_any_length_fit_a_small_scratchpad():
    config = dataclasses.replace(MachineConfig(), scratchpad=ScratchpadConfig(size_kib=16, banks=16))
    assert simulate(graph_of(nn.Softmax(-1), (4, 8192)), config).machine.cycles > 0


@pytest.mark.parametrize(
    ("groups", "affine", "wanted"),
    [(4, True, (4, 24)), (1, True, (1, 24)), (4, False, (4, 24)), (1, False, (1, 0)), (24, True, (24, 24))],
)
def test_a_group_norm_reads_channels_where_they_lie(groups, affine, wanted):
    net = nn.Sequential(nn.Conv2d(8, 24, 1), nn.GroupNorm(groups, 24, affine=affine), nn.Conv2d(24, 8, 1))
    tasks = lower(graph_of(net, (2, 8, 6, 6))).tasks
    assert not any(isinstance(t.work, MovementWork) for t in tasks)
    rows = next(t.work for t in tasks if isinstance(t.work, RowsWork))
    assert (rows.rows, rows.length) == (2 * groups, 36 * 24 // groups)
    assert (rows.groups, rows.channels) == wanted
    apart = groups == 24  # operands of a channel alone are no whole bytes
    assert rows.outputs == (("fp16",) if apart else ("quantised",))
    assert sum(t.kind == "quantise" for t in tasks) == 1 + apart  # the input, too


def test_heads_of_an_odd_width_are_quantised_side_by_side():
    class Mixed(nn.Module):
        def forward(self, weights, v, out):
            mixed = weights @ heads(v, 2)
            return mixed.transpose(1, 2).reshape(1, 10, 30) @ out

    tasks = lower(graph_of(Mixed(), (1, 2, 10, 10), (1, 10, 30), (30, 8))).tasks
    first = next(t.work for t in tasks if isinstance(t.work, MatmulWork))
    assert (first.n, first.result_pitch, first.result_step, first.outputs) == (15, 30, 15, ("fp16",))
    (lines,) = (
        t.work for t in tasks if isinstance(t.work, ElementwiseWork) and t.work.elements == 2 * 10 * 16
    )
    assert lines.outputs == ("quantised",)  # of the values: lines of 15, each a byte's half longer
    assert (
        simulate(graph_of(Mixed(), (1, 2, 10, 10), (1, 10, 30), (30, 8)), MachineConfig()).machine.cycles > 0
    )


class Function(nn.Module):
    """A function of tensors as a network."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *operands):
        return self.function(*operands)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: torch.cat([x[:, :0], x], 1) * 2,
        lambda x: x.new_empty(0, 8).reshape(0, 2, 4).transpose(0, 1).sum() + x[:, :0].permute(1, 0).sum() + x,
        lambda x: nn.functional.pad(x, (0, 0, -3, 3)) + torch.roll(x, 0, 1),
    ],
    ids=["concatenated", "moved", "padded"],
)
def test_what_has_no_elements_is_no_task(function):
    tasks = lower(graph_of(Function(function), (3, 8))).tasks
    works = [task.work for task in tasks]
    assert works
    assert all(copy.elements for work in works if isinstance(work, MovementWork) for copy in work.copies)
    assert all(work_cost(work, MachineConfig()).cycles for work in works)


def test_a_mean_of_whole_pictures_leaves_registers_for_what_follows():
    axes = (Axis(size=784, kernel=784),)
    work = WindowsWork(function="average", images=1, axes=axes, channels=192, steps=(Step(function="gelu"),))
    for machine in (MachineConfig(), MachineConfig().baseline()):  # software GELU takes most registers
        assert work_cost(work, machine).cycles > 192 * 784 // 2 // machine.vector.lanes


def test_dropout_in_place_is_nothing():
    with_it, without = (
        lower(graph_of(Function(function), (4, 8))).tasks
        for function in (
            lambda x: nn.functional.dropout(x + 1, 0.5, training=False, inplace=True) * 2,
            lambda x: (x + 1) * 2,
        )
    )
    assert [task.work for task in with_it] == [task.work for task in without]
