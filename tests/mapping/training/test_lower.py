"""Training steps: as many multiply-accumulates as PyTorch's own backward pass has, and no task without a reason."""

import dataclasses
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from lanewise.config import MachineConfig, MatrixConfig, OperandPathConfig
from lanewise.errors import UserError
from lanewise.mapping.kernels.adamw import AdamWWork
from lanewise.mapping.kernels.matmul import MatmulWork
from lanewise.mapping.kernels.operand import QuantiseWork
from lanewise.mapping.simulate import as_stored, work_cost
from lanewise.mapping.trace import trace
from lanewise.mapping.training.linear import Linear, fp16_backward, fp16_forward, weight_products
from lanewise.mapping.training.lower import TrainingOptions, lower_training, parameters
from lanewise.models.sampling_statistics import MEASURED, SamplingStatistics
from lanewise.sim.program import Loop, Rotate

INT4 = MachineConfig()
FP16 = dataclasses.replace(INT4, matrix=MatrixConfig(rows=16, columns=16, operand_bits=16))


class Encoder(nn.Module):
    def __init__(self, width: int = 64, layers: int = 2) -> None:
        super().__init__()
        self.embed = nn.Embedding(100, width)
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, 0.0, "gelu", batch_first=True)
        self.body = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head = nn.Linear(width, 10)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(self.embed(tokens)).mean(1))


class Mlp(nn.Module):
    def __init__(self, *between: nn.Module) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(32, 96), *between, nn.Linear(96, 64), nn.GELU(), nn.Linear(64, 8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x)


def graph_of(module: nn.Module, *inputs: torch.Tensor):
    return trace(module, inputs, model="small")


def steps_flops(module: nn.Module, *inputs: torch.Tensor) -> int:
    module.train()
    with (
        FlopCounterMode(display=False) as counter,
        sdpa_kernel(SDPBackend.MATH),
    ):  # it does not count the fused one on a CPU
        module(*inputs).sum().backward()
    return counter.get_total_flops()


@pytest.mark.parametrize(
    ("make", "inputs"),
    [
        (Encoder, (torch.zeros(3, 20, dtype=torch.long),)),
        (Mlp, (torch.zeros(50, 32),)),
        (lambda: Mlp(nn.LayerNorm(96), nn.SiLU()), (torch.zeros(50, 32),)),
        (lambda: nn.Sequential(nn.Conv2d(3, 16, 4, 4), nn.Flatten(), nn.Linear(16 * 16, 4)), (torch.zeros(2, 3, 16, 16),)),
    ],
    ids=["encoder", "mlp", "norm", "patches"],
)  # fmt: skip
def test_products_are_those_of_pytorch_s_backward_pass(make, inputs):
    tasks = lower_training(graph_of(make(), *inputs), FP16)
    assert 2 * sum(task.work.macs for task in tasks) == steps_flops(make(), *inputs)


def test_only_an_int4_array_quantises_and_samples():
    graph = graph_of(Encoder(), torch.zeros(3, 20, dtype=torch.long))
    parts = [{task.part for task in lower_training(graph, machine)} for machine in (INT4, FP16)]
    assert parts[0] == {"product", "quantise", "sample", "turn back", "bias", "rest"}
    assert parts[1] == {"product", "bias", "rest"}


def test_what_is_no_product_is_the_same_on_both():
    graph = graph_of(Encoder(), torch.zeros(3, 20, dtype=torch.long))
    rest = [
        [
            task
            for task in lower_training(graph, machine)
            if task.part == "rest" and task.name != "learned steps"
        ]
        for machine in (INT4, FP16)
    ]
    assert rest[0] == rest[1]


def test_sampled_products_are_as_long_as_the_rows_that_are_kept():
    graph = graph_of(Mlp(), torch.zeros(2000, 32))
    few = SamplingStatistics(dx_hi=0.1, dx_lo=0.15, dw_hi={1: 0.1}, dw_lo={1: 0.1, 2: 0.05})
    tasks = lower_training(graph, INT4, TrainingOptions(sampling=few))
    middle = [
        t.work
        for t in tasks
        if t.name == "net.1" and t.phase == "backward" and isinstance(t.work, MatmulWork)
    ]
    assert [(w.m, w.k, w.n) for w in middle] == [(500, 64, 96), (64, 100, 96), (64, 200, 96), (64, 200, 96)]
    assert all(w.left_bits == 0 for w in middle)  # INT4


@pytest.mark.parametrize("task", MEASURED)
def test_measured_statistics_keep_about_as_many_rows_as_there_are(task):
    tasks = lower_training(
        graph_of(Mlp(), torch.zeros(4096, 32)), INT4, TrainingOptions(sampling=MEASURED[task])
    )
    products = [
        t.work
        for t in tasks
        if t.name == "net.1" and t.phase == "backward" and isinstance(t.work, MatmulWork)
    ]
    assert products[0].m == pytest.approx(4096, rel=0.02)
    assert 4096 * 0.98 <= sum(w.k for w in products[1:]) <= 4096 * 1.2  # rows of more than 1 are repeated


def test_the_first_layer_s_dx_is_for_its_learned_step_alone_and_the_last_is_int8():
    tasks = lower_training(graph_of(Mlp(), torch.zeros(50, 32)), INT4)

    def products(name):
        return [
            t.work
            for t in tasks
            if t.name == name and t.phase == "backward" and isinstance(t.work, MatmulWork)
        ]

    assert products("net.0")[0].m == 50
    fp16 = [t.work for t in lower_training(graph_of(Mlp(), torch.zeros(50, 32)), FP16) if t.name == "net.0"]
    assert [(w.m, w.n) for w in fp16 if isinstance(w, MatmulWork)] == [(50, 96), (96, 32)]  # forward, dW
    assert [work.left_bits for work in products("net.3")] == [8, 8]


def test_every_parameter_is_stepped_once():
    graph = graph_of(Encoder(), torch.zeros(3, 20, dtype=torch.long))
    steps = [t for t in lower_training(graph, INT4) if isinstance(t.work, AdamWWork)]
    stepped = {
        learned: sum(t.work.elements for t in steps if (t.name == "learned steps") == learned)
        for learned in (0, 1)
    }
    assert stepped[0] == parameters(graph) == sum(p.numel() for p in Encoder().parameters())
    assert stepped[1] == 2 * 8  # of four linear layers in each of two blocks; the head is INT8


def test_backward_runs_in_reverse():
    tasks = lower_training(graph_of(Mlp(), torch.zeros(50, 32)), INT4)
    names = list(dict.fromkeys(t.name for t in tasks if t.phase == "backward"))
    forward = list(dict.fromkeys(t.name for t in tasks if t.phase == "forward" and t.name != "loss"))
    assert names == forward[::-1]


@pytest.mark.parametrize(
    ("module", "label"),
    [(nn.BatchNorm1d(96), "net.1 (normalise batch_norm)"), (nn.Softplus(), "net.1 (elementwise softplus)")],
)
def test_what_has_no_training_kernel_is_refused_by_name(module, label):
    with pytest.raises(
        UserError, match=re.escape(f"small: operator {label} has no training kernel; expected ")
    ):
        lower_training(graph_of(Mlp(module), torch.zeros(50, 32)), INT4)


def test_an_int8_array_has_no_training_scheme():
    eight = dataclasses.replace(INT4, matrix=MatrixConfig(operand_bits=8))
    with pytest.raises(UserError, match=r"^matrix\.operand_bits must be 4 or 16 for a training step, not 8$"):
        lower_training(graph_of(Mlp(), torch.zeros(50, 32)), eight)


@given(
    st.dictionaries(st.sampled_from([1, 2, 4, 8, 16, 32, 64]), st.floats(0, 0.14), max_size=7),
    st.integers(1, 10_000), st.integers(1, 400),
)  # fmt: skip
def test_products_of_a_word_take_no_longer_than_one_for_each_worth(shares, rows, pass_clk):
    def clocks(lengths):
        return sum(max(length, pass_clk) for length in lengths)

    each = [round(share * rows) for share in shares.values() if round(share * rows)]
    products = weight_products(shares, rows, pass_clk)
    assert clocks(products) <= clocks(each)
    assert sum(products) >= sum(each)


@pytest.mark.parametrize("side", [19, 32])
@pytest.mark.parametrize(
    ("rows", "inputs", "outputs"), [(4096, 1024, 1024), (3152, 1024, 4096), (4096, 4096, 1024)]
)
def test_the_fp16_array_that_int4_is_compared_with_is_kept_busy(side, rows, inputs, outputs):
    machine = dataclasses.replace(INT4, matrix=MatrixConfig(rows=side, columns=side, operand_bits=16))
    layer = Linear(rows=rows, inputs=inputs, outputs=outputs)
    for part, work in [*fp16_forward(layer), *fp16_backward(layer, inputs=True)]:
        if part == "product":
            busy = work.macs / machine.matrix.macs_per_clk / work_cost(work, machine).cycles
            assert busy > 0.88, work


@pytest.mark.parametrize(
    "module",
    [nn.Conv2d(8, 8, 3, groups=8), nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3))],
    ids=["depthwise", "overlapping patches"],
)
def test_convolutions_that_have_no_gradient_are_refused(module):
    channels = 8 if isinstance(module, nn.Conv2d) else 3
    graph = trace(nn.Sequential(module), (torch.zeros(1, channels, 8, 8),), model="small")
    with pytest.raises(UserError, match=r"^small: operator .* has no training kernel; expected "):
        lower_training(graph, INT4)


def test_a_block_lies_in_a_tile_and_in_the_unit():
    def blocks(machine):
        tasks = lower_training(graph_of(Mlp(), torch.zeros(64, 32)), machine)
        return {t.work.block for t in tasks if isinstance(t.work, QuantiseWork) and t.work.flags}

    assert blocks(INT4) == {32}
    assert blocks(dataclasses.replace(INT4, matrix=MatrixConfig(rows=16, columns=24))) == {8}
    assert blocks(dataclasses.replace(INT4, operand_path=OperandPathConfig(largest_block=16))) == {16}


def test_a_path_without_fp16_is_refused():
    bf16 = dataclasses.replace(INT4, operand_path=OperandPathConfig(formats=("bf16",)))
    with pytest.raises(
        UserError, match=r"^operand_path\.formats must have fp16 for a training step, not bf16$"
    ):
        lower_training(graph_of(Mlp(), torch.zeros(64, 32)), bf16)


@pytest.mark.parametrize("machine", [INT4, FP16], ids=["int4", "fp16"])
def test_every_buffer_that_is_read_was_written(machine):
    graph = graph_of(Encoder(), torch.zeros(3, 20, dtype=torch.long))
    for task in lower_training(graph, machine):
        program = as_stored(task.work, machine).program(machine)
        written, names = set(), {}
        for node in _flat(program.body):
            if isinstance(node, Rotate):
                values = [names.get(name, name) for name in node.names]
                names |= dict(zip(node.names, [*values[1:], values[0]], strict=True))
                continue
            for name in node.reads:
                if name.startswith("@"):
                    assert names.get(name, name) in written or name == "@zeros", (
                        task.name,
                        node.opcode,
                        name,
                    )
            written |= {names.get(name, name) for name in node.writes}


def _flat(body):
    for node in body:
        if isinstance(node, Loop):
            yield from _flat(node.body)
            yield from _flat(node.body) if node.count > 1 else ()
        else:
            yield node
