"""Arguments of operators that are not their defaults, on values: as PyTorch computes them, or refused in one line."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

from lanewise.config import DmaConfig, FlexSfuConfig
from lanewise.errors import UserError
from lanewise.mapping.deploy.network import deploy
from lanewise.verify.benches.core import small_machine

SMALL = small_machine(
    2, 256, FlexSfuConfig(lanes=2, segments=16), DmaConfig(bytes_per_clk=16, latency_clk=21)
)


class Function(nn.Module):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function
        torch.manual_seed(5)
        self.a, self.b = (nn.Parameter(torch.randn(8)) for _ in "ab")
        self.w = nn.Parameter(torch.randn(8, 8) / 3)

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)


def _written_again(_: Any, x: Tensor) -> Tensor:
    y = x * 2
    torch.mul(y, y + 1, out=y)
    return y + 1


def _through_a_new_tensor(function: Callable[[Tensor], Any]) -> Callable[..., Any]:
    return lambda _, x: function(x * 1)


CASES: dict[str, Callable[..., Any]] = {
    "layer norm, bias alone": lambda m, x: F.layer_norm(x, (8,), None, m.b),
    "layer norm, bias alone, then a factor": lambda m, x: F.layer_norm(x, (8,), None, m.b) * m.a,
    "group norm, bias alone": lambda m, x: F.group_norm(x.transpose(1, 2), 2, None, m.b),
    "group norm, weight alone": lambda m, x: F.group_norm(x.transpose(1, 2), 2, m.a),
    "batch norm, bias alone": lambda m, x: F.batch_norm(x.transpose(1, 2), m.a, m.b.abs() + 0.5, None, m.b),
    "batch norm, weight alone": lambda m, x: F.batch_norm(x.transpose(1, 2), m.a, m.b.abs() + 0.5, m.b),
    "batch norm without statistics": lambda m, x: F.batch_norm(x.transpose(1, 2), None, None, m.a, m.b, True),
    "layer norm, epsilon": lambda _, x: F.layer_norm(x * 1e-3, (8,), eps=1e-6),
    "RMS norm, epsilon": lambda _, x: F.rms_norm(x * 1e-3, (8,), eps=1e-7),
    "group norm, epsilon": lambda _, x: F.group_norm((x * 1e-3).transpose(1, 2), 2, eps=1e-7),
    "add, alpha": lambda _, x: torch.add(x, x.flip(-1), alpha=3),
    "add, alpha, of itself": lambda _, x: torch.add(x, x, alpha=3),
    "sub, alpha, of a parameter": lambda m, x: torch.sub(x, m.a, alpha=3),
    "sub, alpha, of a number": lambda _, x: torch.sub(x, 2.0, alpha=3),
    "sub in place, alpha": _through_a_new_tensor(lambda x: x.sub_(x.flip(-1), alpha=3).relu()),
    "rsub": lambda _, x: torch.rsub(x, x.relu()),
    "rsub, alpha": lambda _, x: torch.rsub(x, 2.0, alpha=3),
    "out=": lambda _, x: torch.mul(x, 2, out=torch.empty(2, 3, 8)) + 1,
    "out= of the same": _written_again,
    "out= of a product": lambda m, x: torch.matmul(x, m.w, out=torch.empty(2, 3, 8)).relu() * 0.1,
    "number % x": lambda _, x: torch.remainder(5.0, x.abs() + 1),
    "number // x": lambda _, x: 5 // (x.abs() + 1),
    "quotient without its fraction": lambda _, x: torch.div(x * 3, 0.75, rounding_mode="trunc"),
    "quotient rounded down": lambda _, x: torch.div(x * 3, 0.75, rounding_mode="floor"),
    "fmod": lambda _, x: torch.fmod(x * 3, 0.75),
    "softplus, beta": lambda _, x: F.softplus(x, beta=2),
    "softplus, low threshold": lambda _, x: F.softplus(x * 3, beta=0.5, threshold=0.7),
    "round, decimals": lambda _, x: torch.round(x, decimals=1),
    "round, tens": lambda _, x: torch.round(x * 20, decimals=-1),
    "logit, epsilon": lambda _, x: torch.logit(x.sigmoid(), 0.2),
    "bits of whole numbers": lambda _, x: (~(x * 8).int()).float(),
    "logical_not of numbers": lambda _, x: torch.logical_not(x.relu()).float(),
    "logical_and of numbers": lambda _, x: torch.logical_and(x.relu(), x + 1).float(),
    "power zero": lambda _, x: x**0 + x,
    "power 300": lambda _, x: (x / x.abs().amax()) ** 300,
    "repeat_interleave of all": lambda _, x: x.repeat_interleave(2),
    "celu": lambda _, x: F.celu(x, 0.5),
    "hardshrink": lambda _, x: F.hardshrink(x, 0.4),
    "softshrink": lambda _, x: F.softshrink(x, 0.4),
    "logaddexp": lambda _, x: torch.logaddexp(x, x.flip(-1)),
    "prelu, a slope for each channel": lambda m, x: F.prelu(x, m.a[:3]),
    "addcmul in place": _through_a_new_tensor(lambda x: x.addcmul_(x, x, value=2)),
    "addcdiv in place": _through_a_new_tensor(lambda x: x.addcdiv_(x, x.abs() + 1, value=0.5)),
    "lerp in place": _through_a_new_tensor(lambda x: x.lerp_(x.flip(-1), 0.25)),
    "var_mean": lambda _, x: torch.cat(torch.var_mean(x, -1)),
    "std_mean": lambda _, x: torch.cat(torch.std_mean(x, (0, 1), unbiased=False, keepdim=True)),
    "a constant as a result": lambda m, _: m.a * 2,
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_results_are_pytorch_s(name: str) -> None:
    torch.manual_seed(3)
    x = torch.randn(2, 3, 8).half().float()
    module = Function(CASES[name]).eval()
    (found,) = deploy(module, (x,), SMALL.baseline()).results
    with torch.no_grad():
        wanted = module(x.clone()).numpy()
    assert found.shape == wanted.shape
    assert np.allclose(found.astype(np.float64), wanted, atol=2e-2, rtol=2e-2)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: ((x * 8).int() & 3).float(), "bitwise_and .* has no kernel"),
        (lambda x: x.unfold(2, 3, 2) * 1, "a result cannot be deployed"),
        (lambda x: (x * 1).as_strided((2, 4), (8, 2)) * 1, "a result cannot be deployed"),
        (lambda x: x.diagonal(0, 1, 2) * 1, "a result cannot be deployed"),
        (lambda x: F.scaled_dot_product_attention(x, x, x, dropout_p=0.5), "native_dropout .* has no kernel"),
    ],
)
def test_what_has_no_mapping_is_refused(function: Callable[[Tensor], Tensor], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        deploy(Function(lambda _, x: function(x)).eval(), (torch.randn(2, 3, 8),), SMALL.baseline())
    assert "\n" not in str(caught.value)
