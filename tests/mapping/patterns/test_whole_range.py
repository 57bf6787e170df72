"""Forms along rows are recognised by what they do to every FP16 number."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - its usual name

from lanewise.mapping.trace import trace


class Written(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def operators_of(function, shape):
    return trace(Written(function), torch.empty(shape, device="meta")).operators


def softmax(x):
    return _bare_softmax(x - x.amax(-1, keepdim=True))


def layer_norm(x):
    rest = x - x.mean(-1, keepdim=True)
    return rest / torch.sqrt(rest.square().mean(-1, keepdim=True) + 1e-5)


def _bare_softmax(x):
    powers = torch.exp(x)
    return powers / powers.sum(-1, keepdim=True)


OTHERS = {
    "softmax of what is bounded above": lambda x: softmax(x.clamp(max=500)),
    "softmax of what is bounded below": lambda x: softmax(x.clamp(min=-60000)),
    "softmax of what is not too large": lambda x: softmax(torch.where(x > 200, 0.0, x)),
    "softmax without a band": lambda x: softmax(torch.where((x - 1001).abs() < 2, 0.0, x)),
    "softmax, but not of large numbers": lambda x: softmax(x) * (x < 5000),
    "bare softmax, but not of large numbers": lambda x: _bare_softmax(x) * (x < 60000),
    "layer norm of what is bounded": lambda x: layer_norm(x.clamp(-1000, 1000)),
    "mean of what is bounded": lambda x: x.clamp(max=400).mean(-1),
    "variance of what is bounded": lambda x: (x.clamp(min=-400) - x.clamp(min=-400).mean(-1, keepdim=True)).square().mean(-1),
    "logarithm of bounded powers": lambda x: torch.log(torch.exp(x.clamp(max=300)).sum(-1)),
    "a sum of means": lambda x: x.mean(-1, keepdim=True).expand_as(x).sum(-1) * 2,
}  # fmt: skip


@pytest.mark.parametrize("length", [64, 3000])
@pytest.mark.parametrize("name", OTHERS)
def test_what_differs_somewhere_stays(name, length):
    operators = operators_of(OTHERS[name], (8, length))
    assert len(operators) > 1, [(operator.kind, operator.function) for operator in operators]


@pytest.mark.parametrize("length", [2, 3, 64, 3000])
@pytest.mark.parametrize(
    ("function", "kind", "log"),
    [
        (_bare_softmax, "softmax", False),  # float64 overflows
        (lambda x: torch.log(torch.exp(x).sum(-1)), "reduce", None),
        (lambda x: x - torch.log(torch.exp(x).sum(-1, keepdim=True)), "softmax", True),
        (lambda x: torch.log(F.softmax(x, -1)), "softmax", True),
        (lambda x: torch.exp(F.log_softmax(x, -1)), "softmax", False),
        (lambda x: softmax(x - x.amax(-1, keepdim=True)), "softmax", False),
    ],
)
def test_where_float64_overflows_numbers_without_a_largest_one_decide(function, kind, log, length):
    (operator,) = operators_of(function, (4, length))
    assert (operator.kind, operator.attributes.get("log")) == (kind, log)


def test_a_mean_that_is_summed_is_a_sum():
    operators = operators_of(lambda x: x.mean(-1, keepdim=True).expand_as(x).sum(-1), (8, 64))
    assert [operator.function for operator in operators] == ["sum"]
