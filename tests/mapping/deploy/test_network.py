"""Whole networks on values: near to PyTorch's, priced as ``lanewise simulate`` prices them, refused where a kernel does not read what is there."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lanewise.config import DmaConfig, FlexSfuConfig, MachineConfig, MatrixConfig
from lanewise.errors import UserError
from lanewise.mapping.deploy.network import deploy
from lanewise.mapping.kernels.price import price
from lanewise.mapping.simulate import simulate
from lanewise.sim.program import priced_only
from lanewise.verify.benches.core import small_machine
from lanewise.verify.core_network import network_run, small_network

SMALL = small_machine(
    2, 256, FlexSfuConfig(lanes=2, segments=16), DmaConfig(bytes_per_clk=16, latency_clk=21)
)


class Blocks(nn.Module):
    """A stem, a convolution without a bias, a global mean, a scalar parameter, two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.next = nn.Conv2d(4, 6, 5, stride=2, padding=2), nn.Conv2d(6, 8, 1, bias=False)
        self.norm, self.gain = nn.BatchNorm2d(8), nn.Parameter(torch.tensor(1.5))
        self.bias, self.head = nn.Parameter(torch.randn(8)), nn.Linear(8, 6)
        with torch.no_grad():
            self.norm.running_mean.normal_(0, 0.3)  # type: ignore[union-attr, operator]
            self.norm.running_var.uniform_(0.5, 2)  # type: ignore[union-attr, operator]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.relu(self.stem(x))
        x = torch.tanh(self.norm(self.next(x))) * self.gain
        pooled = x.mean((2, 3))
        return pooled + self.bias, torch.sigmoid(self.head(pooled))


class Heads(nn.Module):
    """Attention whose heads lie side by side in each token; a linear layer over tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(16, 16) for _ in range(3))
        self.tokens = nn.Linear(10, 6)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        q, k, v = (f(x).view(*x.shape[:2], 4, 4).transpose(1, 2) for f in (self.q, self.k, self.v))
        mixed = torch.softmax(q @ k.transpose(-2, -1) / 2, -1) @ v
        return mixed, self.tokens(torch.relu(x).transpose(1, 2))


class Groups(nn.Module):
    """Group norms of what lies with its channels innermost, of one group, of several, of one channel each, and of what lies as its shape says."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.next = nn.Conv2d(4, 24, 3, padding=1), nn.Conv2d(24, 24, 1)
        self.norms = nn.ModuleList([nn.GroupNorm(g, 24) for g in (1, 4, 8)])
        self.each, self.straight = nn.InstanceNorm2d(24, affine=True), nn.GroupNorm(2, 6)
        with torch.no_grad():
            for norm in (*self.norms, self.each, self.straight):
                norm.weight.normal_(0, 1)  # type: ignore[union-attr, operator]
                norm.bias.normal_(0, 1)  # type: ignore[union-attr, operator]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        y = self.first(x)
        one, four, eight = (norm(y) for norm in self.norms)
        flat = torch.softmax(x.reshape(2, 6, 48), -1) * 48
        return one, self.next(four), self.each(eight), self.straight(flat)


class OddHeads(nn.Module):
    """Attention of heads of 15 channels, which are mixed into tokens again."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(30, 90, bias=False), nn.Linear(30, 30, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).view(*x.shape[:2], 3, 2, 15).permute(2, 0, 3, 1, 4)
        mixed = torch.softmax(q @ k.transpose(-2, -1), -1) @ v
        return self.out(mixed.transpose(1, 2).reshape(x.shape))  # type: ignore[no-any-return]


CASES: list[tuple[Callable[[], nn.Module], tuple[int, ...], float]] = [
    (small_network, (1, 4, 12, 12), 0.97),
    (Blocks, (2, 4, 11, 9), 0.97),
    (lambda: nn.Sequential(  # no biases, which are the same in all places and would make any results alike
        nn.Conv2d(3, 24, 3, 2, 1, bias=False), nn.ReLU(), nn.Conv2d(24, 48, 3, padding=1, groups=24, bias=False), nn.ReLU(),
        nn.Conv2d(48, 24, 3, padding=2, dilation=2, groups=2, bias=False), nn.Conv2d(24, 5, 3, bias=False), nn.Conv2d(5, 8, 1, bias=False),
    ), (2, 3, 17, 15), 0.9),
    (lambda: nn.Sequential(nn.Linear(24, 40), nn.GELU(), nn.Linear(40, 10)), (5, 24), 0.95),
    (lambda: nn.Sequential(nn.LayerNorm(32), nn.Linear(32, 32), nn.SiLU(), nn.Linear(32, 7), nn.Softmax(-1)), (3, 6, 32), 0.97),
    (Heads, (1, 10, 16), 0.95),
    (lambda: nn.Sequential(nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 4, bias=False)), (3, 8), 0.97),  # rows of an odd length
    (Groups, (2, 4, 9, 8), 0.95),
    (OddHeads, (1, 10, 30), 0.95),
]  # fmt: skip


@pytest.mark.parametrize(
    "config", [SMALL, SMALL.baseline(), MachineConfig()], ids=["small", "software", "default"]
)
@pytest.mark.parametrize(
    ("make", "shape", "alike"),
    CASES,
    ids=["all", "blocks", "groups", "mlp", "rows", "heads", "odd", "group norms", "odd heads"],
)
def test_results_are_near_to_pytorch_s(
    make: Callable[[], nn.Module], shape: tuple[int, ...], alike: float, config: MachineConfig
) -> None:
    torch.manual_seed(5)
    module = make().eval()
    x = torch.randn(shape)
    deployment = deploy(module, (x,), config)
    with torch.no_grad():
        wanted = module(x)
    for found, real in zip(
        deployment.results, wanted if isinstance(wanted, tuple) else (wanted,), strict=True
    ):
        assert found.shape == tuple(real.shape)
        a, b = found.astype(np.float64).ravel(), real.numpy().astype(np.float64).ravel()
        assert (
            float(a @ b / np.sqrt(a @ a * (b @ b))) > alike
        )  # INT4: a coarse likeness, but of every element's place


def test_programs_are_those_that_simulate_prices() -> None:
    """Scales change no clock: the sum over the tasks is what ``lanewise simulate`` prints."""
    torch.manual_seed(1)
    deployment = deploy(small_network(), (torch.randn(1, 4, 12, 12),), SMALL)
    programs = [bound.program(SMALL) for bound in deployment.tasks]
    assert not any(map(priced_only, programs))
    costs = simulate(deployment.graph, SMALL.baseline()).baseline  # software alone: no choice between the two
    software = deploy(small_network(), (torch.randn(1, 4, 12, 12),), SMALL.baseline())
    clocks = [price(bound.program(SMALL.baseline()), SMALL.baseline()).cycles for bound in software.tasks]
    assert clocks == [cost.cycles for cost in costs.costs]


def test_running_the_tasks_again_changes_memory_from_before_to_after() -> None:
    """What the core is fed: tensors do not overlap, and nothing but the results' rooms differs."""
    torch.manual_seed(2)
    deployment = deploy(small_network(), (torch.randn(1, 4, 12, 12),), SMALL)
    run = network_run(deployment)
    assert len(run.before) == len(run.after)
    assert run.before != run.after
    stored = {bound.tensors[name] for bound in deployment.tasks for name in bound.stored}
    for name, after in deployment.after.items():
        before = deployment.before[name]
        assert (name in stored) or np.array_equal(before.view(np.uint8), after.view(np.uint8))
        assert name not in stored or not before.view(np.uint8).any()


@pytest.mark.parametrize(
    ("module", "shape", "message"),
    [
        (nn.Sequential(nn.ReLU(), nn.LSTM(4, 4)), (3, 1, 4), "lstm has no deployment"),
    ],
)
def test_what_cannot_be_deployed_is_refused_in_one_line(
    module: nn.Module, shape: tuple[int, ...], message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        deploy(module.eval(), (torch.randn(shape),), SMALL)
    assert "\n" not in str(caught.value)


def test_an_array_that_does_not_take_int4_is_refused() -> None:
    config = MachineConfig(matrix=MatrixConfig(operand_bits=8))
    with pytest.raises(UserError, match=r"matrix\.operand_bits must be 4"):
        deploy(nn.Linear(4, 4).eval(), (torch.randn(1, 4),), config)
