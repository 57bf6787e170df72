"""Networks that move data, on values: where nothing is quantised every element is PyTorch's, else near to it."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, cat, nn, relu, tanh

from lanewise.config import DmaConfig, FlexSfuConfig, MachineConfig
from lanewise.errors import UserError
from lanewise.mapping.deploy.network import Deployment, deploy
from lanewise.mapping.kernels.movement import LookUpWork, MovementWork
from lanewise.mapping.kernels.price import price
from lanewise.mapping.simulate import simulate
from lanewise.verify.benches.core import small_machine

SMALL = small_machine(
    2, 256, FlexSfuConfig(lanes=2, segments=16), DmaConfig(bytes_per_clk=16, latency_clk=21)
)


class Of(nn.Module):
    """A function and the modules that it reads."""

    def __init__(self, function: Callable[..., Tensor], **modules: nn.Module | nn.Parameter) -> None:
        super().__init__()
        self.function = function
        for name, module in modules.items():
            setattr(self, name, module)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def overwritten(_: Of, x: Tensor) -> Tensor:
    y = relu(x)
    y[:, 0] = 0.5
    return y + 1


EXACT: dict[str, tuple[Callable[[Of, Tensor], Tensor], tuple[int, ...]]] = {
    "concatenation": (lambda _, x: cat([relu(x), x, -x], -1), (2, 8)),
    "concatenation within": (lambda _, x: cat([relu(x), x * 2], 1), (2, 3, 8)),
    "stack": (lambda _, x: torch.stack([relu(x), tanh(x) * 0], 1) + 1, (2, 3, 4)),
    "padding": (lambda _, x: nn.functional.pad(relu(x), (1, 2, 0, 3, 2, 1), value=1.5), (2, 3, 4)),
    "cut": (lambda _, x: nn.functional.pad(relu(x), (-1, 2)), (2, 7)),
    "mirrored": (lambda _, x: nn.functional.pad(relu(x), (1, 2, 2, 1), mode="reflect"), (1, 4, 6, 6)),
    "edges": (lambda _, x: nn.functional.pad(relu(x), (1, 2, 2, 1), mode="replicate"), (1, 4, 6, 6)),
    "round": (lambda _, x: nn.functional.pad(relu(x), (1, 2), mode="circular"), (1, 4, 6)),
    "roll": (lambda _, x: torch.roll(relu(x), (-2, 1), (1, 2)).flip(1) + 1, (1, 6, 6, 4)),
    "slices": (lambda _, x: (y := relu(x))[:, 1:, ::2] * 2 + y[:, :-1, 1::2], (2, 5, 8)),
    "pieces": (lambda _, x: (y := relu(x).split((2, 4, 2), -1))[0] + y[2] * 2 + y[1][:, 1:3], (3, 8)),
    "parts of an axis": (lambda _, x: (y := relu(x).unbind(1))[0] + y[2] * 2 - y[1], (4, 3, 5)),
    "transposition": (lambda _, x: relu(x) + x.transpose(0, 1) * 2 + relu(x).T, (9, 9)),
    "permutation": (lambda _, x: relu(x).permute(2, 0, 1).contiguous().view(-1) + 1, (3, 4, 5)),
    "permuted reshape": (lambda _, x: relu(x).permute(1, 0, 2).reshape(4, 15) + 1, (3, 4, 5)),
    "axes across": (lambda _, x: relu(x).T.reshape(4, 6) + 1, (6, 4)),
    "repeat": (lambda _, x: relu(x).repeat(2, 1, 3) + 1, (2, 3, 4)),
    "each repeated": (lambda _, x: relu(x).repeat_interleave(3, 1) + 1, (2, 3, 4)),
    "expanded": (lambda _, x: relu(x).unsqueeze(1) - relu(x + 1).unsqueeze(2), (2, 4)),
    "larger": (lambda _, x: nn.functional.interpolate(relu(x), scale_factor=2) + 1, (1, 3, 4, 5)),
    "shuffled": (lambda _, x: nn.functional.pixel_shuffle(relu(x), 2) + 1, (2, 8, 3, 4)),
    "unshuffled": (lambda _, x: nn.functional.pixel_unshuffle(relu(x), 2) + 1, (2, 2, 6, 4)),
    "channels": (lambda _, x: relu(x).view(2, 2, 3, 4).transpose(1, 2).reshape(2, 6, 4) + 1, (2, 6, 4)),
    "maxima along the first axis": (lambda _, x: relu(x).amax(0) + relu(x).T.amax(1), (5, 8)),
    "pooled views": (lambda _, x: nn.functional.max_pool2d(relu(x).transpose(1, 3), 2), (1, 6, 4, 8)),
}  # fmt: skip


def run(module: nn.Module, x: Tensor, config: MachineConfig = SMALL) -> tuple[Deployment, Tensor]:
    with torch.no_grad():
        return deploy(module.eval(), (x,), config), module(x)


@pytest.mark.parametrize("name", EXACT)
def test_every_element_is_where_pytorch_has_it(name: str) -> None:
    function, shape = EXACT[name]
    x = (torch.arange(int(np.prod(shape))) * 37 % 97 - 31.0).reshape(
        shape
    ) / 8  # FP16 numbers, as are all sums
    deployment, wanted = run(Of(function), x)
    assert deployment.results[0].shape == tuple(wanted.shape)
    assert np.array_equal(deployment.results[0], wanted.numpy().astype(np.float16))


def statistics(norm: nn.BatchNorm2d) -> nn.BatchNorm2d:
    """A batch norm that has seen something."""
    nn.init.normal_(norm.running_mean, 0, 0.3)  # type: ignore[arg-type]
    nn.init.uniform_(norm.running_var, 0.2, 4)  # type: ignore[arg-type]
    return norm


class Dense(nn.Module):
    """Layers that see what all before them computed, batch norms alone."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(16, 5)
        self.layers = nn.ModuleList(nn.Conv2d(8 + 4 * k, 4, 3, padding=1, bias=False) for k in range(2))
        self.norms = nn.ModuleList(statistics(nn.BatchNorm2d(8 + 4 * k)) for k in range(3))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for norm, layer in zip(self.norms, self.layers):
            x = cat([x, layer(relu(norm(x)))], 1)
        mixed: Tensor = self.head(relu(self.norms[2](x)).mean((2, 3)))
        return mixed


class SelfAttention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        mixed: Tensor = self.attention(x, x, x, need_weights=False)[0]
        return mixed


def parameter(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(shape))


def mixed_tokens(self: Of, x: Tensor) -> Tensor:
    mixed: Tensor = self.second(tanh(self.first(self.norm(x).transpose(1, 2))))
    return mixed.transpose(1, 2) + x


def with_token(self: Of, x: Tensor) -> Tensor:
    tokens = cat([self.token.expand(x.shape[0], -1, -1), x * 1.5], 1) + self.places
    made: Tensor = self.norm(tokens)
    return made


def squeezed(self: Of, x: Tensor) -> Tensor:
    y = relu(self.first(x))
    gated: Tensor = y * torch.sigmoid(self.gate(y.mean((2, 3), keepdim=True)))
    return gated


NEAR: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], float]] = {
    "dense": (Dense, (2, 3, 6, 6), 0.98),
    "attention": (lambda: SelfAttention(16, 4), (1, 6, 16), 0.95),
    "attention of a batch": (lambda: SelfAttention(16, 2), (2, 6, 16), 0.95),
    "padded": (lambda: nn.Sequential(nn.Conv2d(4, 6, 3), nn.ZeroPad2d((1, 2, 0, 1)), nn.Conv2d(6, 4, 3)), (1, 4, 6, 6), 0.95),
    "batch norm": (lambda: nn.Sequential(nn.ReLU(), statistics(nn.BatchNorm2d(12)), nn.Tanh()), (2, 12, 31, 30), 0.999),
    "depthwise and norm": (lambda: nn.Sequential(nn.Conv2d(8, 8, 3, groups=8, bias=False), statistics(nn.BatchNorm2d(8))), (2, 8, 6, 6), 0.99999),
    "mixer": (lambda: Of(mixed_tokens, norm=nn.LayerNorm(16), first=nn.Linear(6, 8), second=nn.Linear(8, 6)), (2, 6, 16), 0.95),
    "token": (lambda: Of(with_token, token=parameter(1, 1, 8), places=parameter(1, 4, 8), norm=nn.LayerNorm(8)), (2, 3, 8), 0.999),
    "squeezed": (lambda: Of(squeezed, first=nn.Conv2d(4, 8, 3), gate=nn.Conv2d(8, 8, 1)), (2, 4, 6, 6), 0.97),
    "softmax along the first axis": (lambda: Of(lambda _, x: torch.softmax(relu(x), 1) + x), (2, 5, 8), 0.999),
    "flattened": (lambda: nn.Sequential(nn.Conv2d(4, 6, 3), nn.Flatten(), nn.Linear(96, 40, bias=False)), (3, 4, 6, 6), 0.9),
    "halves": (lambda: nn.Sequential(nn.Linear(8, 16), nn.GLU()), (3, 8), 0.95),
}  # fmt: skip


@pytest.mark.parametrize("name", NEAR)
def test_results_are_near_to_pytorch_s(name: str) -> None:
    torch.manual_seed(3)
    make, shape, alike = NEAR[name]
    deployment, wanted = run(make(), torch.randn(shape))
    a, b = (np.asarray(each, np.float64).ravel() for each in (deployment.results[0], wanted))
    assert float(a @ b / np.sqrt(a @ a * (b @ b))) > alike
    costs = simulate(deployment.graph, SMALL).machine.costs  # what it pays is what the Programs take
    moves = [k for k, bound in enumerate(deployment.tasks) if isinstance(bound.work, MovementWork)]
    assert moves or name in ("attention", "batch norm", "depthwise and norm", "mixer")
    for k in moves:
        assert price(deployment.tasks[k].program(SMALL), SMALL).cycles == costs[k].cycles


def test_rows_of_a_table() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Embedding(3000, 8), nn.ReLU())
    numbers = torch.tensor([[2999, 0, 2047], [2049, 17, 2999]])
    deployment, wanted = run(module, numbers)
    assert isinstance(deployment.tasks[0].work, LookUpWork)
    assert np.array_equal(deployment.results[0], wanted.numpy().astype(np.float16))


@pytest.mark.parametrize(
    ("function", "shape", "message"),
    [
        (overwritten, (3, 4), "update has no deployment"),
        (lambda _, x: relu(x)[:, torch.tensor([2, 0])] + 1, (3, 4), "gather has no deployment"),
        (lambda _, x: relu(x).unfold(1, 2, 1) * 2, (2, 6), "must be a view whose elements lie at steps"),
    ],
)  # fmt: skip
def test_what_the_graph_does_not_tell_is_refused_in_one_line(
    function: Callable[[Of, Tensor], Tensor], shape: tuple[int, ...], message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        deploy(Of(function).eval(), (torch.randn(shape),), SMALL)
    assert "\n" not in str(caught.value)
