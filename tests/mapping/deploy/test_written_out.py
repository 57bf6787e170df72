"""What a network writes out, and operators made of several, on values: as PyTorch computes them."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

from lanewise.config import DmaConfig, FlexSfuConfig
from lanewise.errors import UserError
from lanewise.mapping.deploy.network import deploy
from lanewise.mapping.trace import trace
from lanewise.verify.benches.core import small_machine

SMALL = small_machine(
    2, 256, FlexSfuConfig(lanes=2, segments=16), DmaConfig(bytes_per_clk=16, latency_clk=21)
)


class Function(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def _layer_norm(x: Tensor) -> Tensor:
    rest = x - x.mean(-1, keepdim=True)
    return rest * torch.rsqrt(rest.square().mean(-1, keepdim=True) + 1e-5)


CASES: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": lambda x: 0.5 * x * (1 + torch.erf(x / math.sqrt(2))),
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "softplus": lambda x: torch.log(1 + torch.exp(x)),
    "log_sigmoid": F.logsigmoid,
    "softmax": lambda x: torch.exp(x - x.amax(-1, keepdim=True)) / torch.exp(x - x.amax(-1, keepdim=True)).sum(-1, keepdim=True),
    "layer norm": _layer_norm,
    "rms norm": lambda x: x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6),
    "L2": lambda x: F.normalize(x, dim=-1),
    "norm": lambda x: x.norm(dim=-1),
    "norm of the first axis": lambda x: x.norm(dim=0, keepdim=True),
    "norm 1": lambda x: torch.linalg.vector_norm(x, 1, -1),
    "norm inf": lambda x: torch.linalg.vector_norm(x, math.inf, -1),
    "variance": lambda x: x.var(-1),
    "biased variance": lambda x: x.var(1, unbiased=False, keepdim=True),
    "standard deviation": lambda x: x.std(-1, keepdim=True),
    "logsumexp": lambda x: torch.logsumexp(x, -1),
    "logsumexp, kept": lambda x: torch.logsumexp(x, -1, keepdim=True),
    "log softmax": lambda x: F.log_softmax(x, -1),
    "min": lambda x: x.amin(-1),
    "any": lambda x: (x > 2).any(-1).float(),
    "all": lambda x: (x > -1).all(-1).float(),
    "cumsum": lambda x: x.cumsum(-1),
    "cumsum of the first axis": lambda x: x.cumsum(0),
    "cumsum of the middle axis": lambda x: x.cumsum(1),
    "pow 9": lambda x: (x / 3) ** 9,
    "pow -4": lambda x: (x.abs() + 1) ** -4,
    "pow 1.5": lambda x: (x.abs() + 0.1) ** 1.5,
    "2 ** x": lambda x: 2**x,
    "elu": lambda x: F.elu(x, 0.5),
    "selu": F.selu,
    "softsign": F.softsign,
    "remainder": lambda x: torch.remainder(x, 0.75),
    "sign": torch.sign,
    "asinh": torch.asinh,
    "acos": lambda x: torch.acos(torch.tanh(x)),
    "asin": lambda x: torch.asin(torch.tanh(x)),
    "sinh": torch.sinh,
    "cosh": torch.cosh,
    "tan": lambda x: torch.tan(x / 4),
    "frac": torch.frac,
    "expm1": torch.expm1,
    "log1p": lambda x: torch.log1p(x.abs()),
    "exp2": torch.exp2,
    "log2": lambda x: torch.log2(x.abs() + 0.5),
    "log10": lambda x: torch.log10(x.abs() + 0.5),
    "erfc": torch.erfc,
    "clamp": lambda x: torch.clamp(x, x - 1, x.square()),
    "halves of one value": lambda x: (lambda y: y[..., :4] - y[..., 4:])(x.relu()),
    "a value and itself turned": lambda x: (lambda y: y * y.transpose(1, 2))(x.relu()[:, :, :3]),
    "argmax": lambda x: x.argmax(-1),
    "argmin of the middle axis": lambda x: x.argmin(1, keepdim=True),
    "topk": lambda x: x.topk(2)[1] + x.topk(2)[0],
    "sort": lambda x: x.sort(-1)[0],
    "argsort": lambda x: x.argsort(1),
    "histc": lambda x: x.histc(4, -1.0, 1.0),
    "searchsorted": lambda x: torch.searchsorted(torch.tensor([-1.0, 0.0, 0.5]), x),
    "fold": lambda x: F.fold(x.reshape(1, 12, 4), (3, 3), 2, stride=1),
    "product": lambda x: x.prod(-1),
    "cumprod": lambda x: x.cumprod(-1),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_results_are_pytorch_s(name: str) -> None:
    torch.manual_seed(3)
    x = torch.randn(2, 3, 8).half().float()
    module = Function(CASES[name]).eval()
    (found,) = deploy(module, (x,), SMALL.baseline()).results  # a table of 16 segments is coarser than this
    wanted = module(x).numpy()
    assert found.shape == wanted.shape
    assert np.allclose(found.astype(np.float64), wanted, atol=2e-2, rtol=2e-2)


class Scaled(nn.Module):
    """A layer with a factor and an addend for each column, written out or in its own parameters."""

    def __init__(self, *, written: bool) -> None:
        super().__init__()
        torch.manual_seed(7)
        self.linear, self.convolution = nn.Linear(16, 8), nn.Conv2d(4, 8, 3, padding=1)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.a, self.b, self.written = nn.Parameter(torch.randn(8)), nn.Parameter(torch.randn(8)), written
        if not written:
            with torch.no_grad():
                for part in (self.linear, self.convolution, self.depthwise):
                    part.weight *= self.a.reshape(-1, *(1,) * (part.weight.ndim - 1))
                    part.bias.copy_(part.bias * self.a + self.b)

    def scaled(self, x: Tensor, axes: int) -> Tensor:
        shape = (8,) + (1,) * axes
        return x * self.a.reshape(shape) + self.b.reshape(shape) if self.written else x

    def forward(self, x: Tensor, picture: Tensor) -> tuple[Tensor, Tensor]:
        picture = self.scaled(self.convolution(picture), 2).relu()
        return self.scaled(self.linear(x), 0).relu(), self.scaled(self.depthwise(picture), 2).relu()


def test_factors_and_addends_of_columns_are_the_weights_own() -> None:
    inputs = (torch.randn(6, 16), torch.randn(1, 4, 5, 5))
    one, other = (
        deploy(Scaled(written=written).eval(), inputs, SMALL).results for written in (True, False)
    )  # fmt: skip
    for found, wanted in zip(one, other, strict=True):
        assert np.array_equal(found, wanted)


def test_the_scale_of_attention_is_where_it_is_written() -> None:
    def on_scores(x: Tensor) -> Tensor:
        return torch.softmax(x @ x.transpose(1, 2) * 0.25, -1) @ x.relu()

    def on_both(x: Tensor) -> Tensor:
        return torch.softmax((x * 0.5) @ (x * 0.5).transpose(1, 2), -1) @ x.relu()

    torch.manual_seed(2)
    x = torch.randn(2, 8, 8)
    one, other = (deploy(Function(f).eval(), (x,), SMALL).results[0] for f in (on_scores, on_both))
    assert np.array_equal(one, other)


def test_recurrent_layers_have_no_deployment() -> None:
    with pytest.raises(UserError, match="lstm has no deployment"):
        deploy(Function(nn.LSTM(8, 8)).eval(), (torch.randn(3, 1, 8),), SMALL)


def test_folded_numbers_keep_their_values() -> None:
    """Values get other numbers where forms are replaced; what was made of parameters goes with its own."""
    module = Function(
        lambda x: x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) + torch.arange(16.0) * 2
    )
    folded: dict[int, Tensor] = {}
    graph = trace(module, torch.randn(4, 16), folded=folded)
    (addend,) = [value for value in graph.operators[-1].inputs if graph.values[value].origin == "constant"]
    assert folded[addend].tolist() == [2.0 * i for i in range(16)]
