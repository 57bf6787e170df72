"""Two writings of one network are the same tasks, and so cost the same."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - its usual name

from lanewise.mapping.kernels.rows import RowsWork
from lanewise.mapping.lower import lower
from lanewise.mapping.trace import trace


class Written(nn.Module):
    """A function with the parameters that it may use: a matrix ``w``, vectors ``a`` and ``b``, a kernel ``k``."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.w = nn.Parameter(torch.empty(64, 64, device="meta"))
        self.a, self.b = (nn.Parameter(torch.empty(64, device="meta")) for _ in "ab")
        self.k = nn.Parameter(torch.empty(64, 64, 3, 3, device="meta"))
        self.bn = nn.BatchNorm2d(64, device="meta")

    def forward(self, *inputs):
        return self.function(self, *inputs)


def graph_of(function, *shapes):
    inputs = [torch.empty(shape, device="meta") for shape in shapes]
    return trace(Written(function), inputs)


def works(function, *shapes):
    """What is computed and moved, in order; the names left out."""
    return [task.work for task in lower(graph_of(function, *shapes)).tasks]


def functions(function, *shapes):
    return [operator.function for operator in graph_of(function, *shapes).operators]


ROOT = math.sqrt(2 / math.pi)
ACTIVATIONS = {
    "gelu": (F.gelu, [
        lambda x: x * 0.5 * (1 + torch.erf(x / math.sqrt(2))),
        lambda x: 0.5 * x * (1.0 + torch.erf(x * 0.7071067811865475)),
        lambda x: x * (torch.erf(x / 1.41421356) + 1) / 2,
        lambda x: 0.5 * x * torch.erfc(-x / math.sqrt(2)),
        lambda x: x * 0.5 * (1 + torch.erf(x / torch.sqrt(torch.tensor(2.0)))),
    ]),
    "gelu_tanh": (lambda x: F.gelu(x, approximate="tanh"), [
        lambda x: 0.5 * x * (1 + torch.tanh(ROOT * (x + 0.044715 * torch.pow(x, 3)))),
        lambda x: 0.5 * x * (1 + torch.tanh(0.7978845608 * (x + 0.044715 * x * x * x))),
        lambda x: 0.5 * x * (1 + torch.tanh(x * 0.7978845608 * (1 + 0.044715 * x * x))),
    ]),
    "silu": (F.silu, [
        lambda x: x * torch.sigmoid(x), lambda x: x / (1 + torch.exp(-x)), lambda x: torch.sigmoid(x) * x,
        lambda x: x.clone().mul_(x.sigmoid()),
    ]),
    "quick_gelu": (lambda x: x * torch.sigmoid(1.702 * x), [lambda x: x / (1 + torch.exp(-1.702 * x))]),
    "mish": (F.mish, [lambda x: x * torch.tanh(F.softplus(x)), lambda x: x * torch.tanh(torch.log(1 + torch.exp(x)))]),
    "softplus": (F.softplus, [lambda x: torch.log(1 + torch.exp(x)), lambda x: torch.log1p(x.exp()), lambda x: -F.logsigmoid(-x)]),
    "sigmoid": (torch.sigmoid, [lambda x: 1 / (1 + torch.exp(-x)), lambda x: 0.5 * (torch.tanh(x / 2) + 1)]),
    "tanh": (torch.tanh, [
        lambda x: (torch.exp(2 * x) - 1) / (torch.exp(2 * x) + 1),
        lambda x: 2 * torch.sigmoid(2 * x) - 1,
        lambda x: (x.exp() - (-x).exp()) / (x.exp() + (-x).exp()),
    ]),
    "hardswish": (F.hardswish, [lambda x: x * F.relu6(x + 3) / 6, lambda x: x * torch.clamp(x / 6 + 0.5, 0, 1)]),
    "hardsigmoid": (F.hardsigmoid, [lambda x: F.relu6(x + 3) / 6, lambda x: (x / 6 + 0.5).clamp(0.0, 1.0)]),
    "elu": (F.elu, [lambda x: torch.where(x > 0, x, torch.exp(x) - 1), lambda x: F.relu(x) + torch.expm1(-F.relu(-x))]),
    "relu": (F.relu, [
        lambda x: torch.clamp(x, min=0) * 1.0, lambda x: x * (x > 0), lambda x: (x + x.abs()) / 2, lambda x: x.clamp(min=0),
        lambda x: torch.maximum(x, torch.zeros_like(x)), lambda x: F.leaky_relu(x, 0.0), lambda x: F.threshold(x, 0, 0),
        lambda x: torch.where(x > 0, x, torch.zeros_like(x)), lambda x: F.hardtanh(x, 0, math.inf),
    ]),
    "leaky_relu": (lambda x: F.leaky_relu(x, 0.2), [lambda x: torch.maximum(x, 0.2 * x), lambda x: torch.where(x > 0, x, 0.2 * x)]),
    "relu6": (F.relu6, [lambda x: F.relu(x).clamp(max=6.0) + 0]),
    "pow": (lambda x: x**3, [lambda x: x * x * x]),
    "log_sigmoid": (F.logsigmoid, [lambda x: -F.softplus(-x), lambda x: torch.log(torch.sigmoid(x))]),
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "place"),
    [(name, place) for name, (_, ways) in ACTIVATIONS.items() for place in range(len(ways))],
)
def test_activation(name, place):
    canonical, ways = ACTIVATIONS[name]
    assert functions(lambda _, x: ways[place](x), (4, 64)) == [name]
    expected = works(lambda m, x: canonical(F.linear(x, m.w, m.b)), (4, 64))
    assert works(lambda m, x: ways[place](F.linear(x, m.w, m.b)), (4, 64)) == expected


@pytest.mark.parametrize(
    ("function", "wrong"),
    [
        (lambda x: x * torch.sigmoid(1.7 * x), {"quick_gelu", "silu", "gelu"}),
        (lambda x: 0.5 * x * (1 + torch.tanh(ROOT * (x + 0.0447 * x**3))), {"gelu_tanh", "gelu"}),
        (lambda x: 0.5 * x * (1 + torch.tanh(0.8 * (x + 0.044715 * x**3))), {"gelu_tanh", "gelu"}),
        (lambda x: F.relu6(x + 3) / 5, {"hardsigmoid"}),
        (lambda x: torch.where(x > 0, x, 1.5 * (torch.exp(x) - 1)), {"gelu", "silu", "mish"}),
        (lambda x: x.clamp(-1000, 1000) * torch.sigmoid(x), {"silu"}),  # beyond 1000 it is another
        (lambda x: torch.where(x > 60000, 0.0, x) * 1.0, {"relu", "identity"}),
    ],
)
def test_what_is_not_equal_is_not_replaced(function, wrong):
    assert not wrong & set(functions(lambda _, x: function(x), (4, 64)))


def test_gelu_by_erf_and_by_tanh_are_two_functions():
    assert functions(lambda _, x: x * 0.5 * (1 + torch.erf(x / math.sqrt(2))), (4, 64)) == ["gelu"]
    assert functions(lambda _, x: F.gelu(x, approximate="tanh"), (4, 64)) == ["gelu_tanh"]


def test_a_value_that_is_read_elsewhere_stays():
    def function(_, x):
        inner = torch.sigmoid(x)
        return x * inner, inner

    assert functions(function, (4, 64)) == ["sigmoid", "multiply"]


def test_a_gate_stays_a_product():
    got = functions(lambda _, x, y: x * torch.sigmoid(x) * y, (4, 64), (4, 64))
    assert got == ["silu", "multiply"]


def softmax(x, axis=-1):
    powers = torch.exp(x - x.amax(axis, keepdim=True))
    return powers / powers.sum(axis, keepdim=True)


def layer_norm(x, axis=-1, epsilon=1e-5):
    mean = x.mean(axis, keepdim=True)
    variance = (x - mean).pow(2).mean(axis, keepdim=True)
    return (x - mean) / torch.sqrt(variance + epsilon)


def rms_norm(x, axis=-1, epsilon=1e-6):
    return x * torch.rsqrt(x.pow(2).mean(axis, keepdim=True) + epsilon)


def softmax_by(x, most):
    powers = torch.exp(x - most)
    return powers / powers.sum(-1, keepdim=True)


def layer_norm_by(x):
    variance, mean = torch.var_mean(x, -1, keepdim=True, correction=0)
    return (x - mean) * torch.rsqrt(variance + 1e-5)


ROWS = {
    "softmax": (lambda _, x: F.softmax(x, -1), lambda _, x: softmax(x)),
    "softmax of log": (lambda _, x: F.softmax(x, -1), lambda _, x: torch.exp(x - torch.logsumexp(x, -1, keepdim=True))),
    "softmax, axis 1": (lambda _, x: F.softmax(x, 1), lambda _, x: softmax(x, 1)),
    "softmax in float32": (lambda _, x: F.softmax(x, -1), lambda _, x: F.softmax(x.to(torch.bfloat16), -1, dtype=torch.float32)),
    "layer norm": (lambda m, x: F.layer_norm(x, (64,), m.a, m.b), lambda m, x: layer_norm(x) * m.a + m.b),
    "layer norm by variance": (
        lambda m, x: F.layer_norm(x, (64,), m.a, m.b),
        lambda m, x: (x - x.mean(-1, keepdim=True)) * torch.rsqrt(x.var(-1, keepdim=True, unbiased=False) + 1e-5) * m.a + m.b,
    ),
    "layer norm without parameters": (lambda _, x: F.layer_norm(x, (64,)), lambda _, x: layer_norm(x)),
    "rms norm": (lambda m, x: F.rms_norm(x, (64,), m.a, 1e-6), lambda m, x: m.a * rms_norm(x.float()).to(x.dtype)),
    "rms norm in half precision": (
        lambda m, x: F.rms_norm(x.half(), (64,), m.a.half(), 1e-6), lambda m, x: m.a.half() * rms_norm(x.half().float()).half()
    ),
    "rms norm, 1 + weight": (lambda m, x: F.rms_norm(x, (64,), m.a, 1e-6), lambda m, x: rms_norm(x) * (1 + m.a)),
    "rms norm by division": (
        lambda m, x: F.rms_norm(x, (64,), m.a, 1e-6), lambda m, x: m.a * (x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt())
    ),
    "rms norm, the weight first": (
        lambda m, x: F.rms_norm(x, (64,), m.a, 1e-6), lambda m, x: m.a * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)
    ),
    "rms norm, the weight on the root": (
        lambda m, x: F.rms_norm(x, (64,), m.a, 1e-6), lambda m, x: x * (m.a * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))
    ),
    "rms norm, the weight divided": (
        lambda m, x: F.rms_norm(x, (64,), m.a, 1e-6), lambda m, x: (m.a * x) / (x.pow(2).mean(-1, keepdim=True) + 1e-6).sqrt()
    ),
    "rms norm, epsilon a tensor": (
        lambda m, x: F.rms_norm(x, (64,), m.a, 1e-6), lambda m, x: x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + torch.tensor(1e-6)) * m.a
    ),
    "softmax by a maximum with its place": (lambda _, x: F.softmax(x, -1), lambda _, x: softmax_by(x, x.max(-1, keepdim=True)[0])),
    "softmax by values": (lambda _, x: F.softmax(x, -1), lambda _, x: softmax_by(x, x.max(-1).values.unsqueeze(-1))),
    "softmax of log softmax": (lambda _, x: F.softmax(x, -1), lambda _, x: F.log_softmax(x, -1).exp()),
    "log softmax": (lambda _, x: F.log_softmax(x, -1), lambda _, x: F.softmax(x, -1).log()),
    "layer norm by var_mean": (lambda m, x: F.layer_norm(x, (64,), m.a, m.b), lambda m, x: layer_norm_by(x) * m.a + m.b),
    "square": (lambda _, x: x**2, lambda _, x: x * x),
    "L2": (lambda _, x: F.normalize(x, dim=-1), lambda _, x: x / x.norm(dim=-1, keepdim=True)),
    "L2 by root": (lambda _, x: F.normalize(x, dim=-1), lambda _, x: x * torch.rsqrt((x * x).sum(-1, keepdim=True) + 1e-20)),
    "variance": (
        lambda _, x: x.var(-1, unbiased=False), lambda _, x: (x - x.mean(-1, keepdim=True)).square().mean(-1)
    ),
    "variance by squares": (lambda _, x: x.var(-1, unbiased=False), lambda _, x: x.square().mean(-1) - x.mean(-1).square()),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_rows(name):
    one, other = (works(writing, (8, 32, 64)) for writing in ROWS[name])
    if name.startswith("L2"):  # their epsilons differ, all far below the square of the least number
        assert all(work.epsilon < 1e-20 for work in (*one, *other) if isinstance(work, RowsWork))
        one, other = (
            [replace(work, epsilon=0.0) if isinstance(work, RowsWork) else work for work in each]
            for each in (one, other)
        )
    assert one
    assert other == one


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (lambda x: F.softmax(x, -1), lambda x: softmax(x, 1)),
        (lambda x: F.layer_norm(x, (64,)), lambda x: (x - x.mean(-1, keepdim=True)) / x.std(-1, keepdim=True)),
        (lambda x: F.rms_norm(x, (64,), eps=1e-6), lambda x: x * torch.rsqrt(x.pow(2).sum(-1, keepdim=True) + 1e-6)),
        (lambda x: F.softmax(x, -1), lambda x: torch.exp(x - x.amax(-1, keepdim=True)) / x.sum(-1, keepdim=True)),
        (lambda x: F.layer_norm(x, (64,)), lambda x: (x - x.mean(1, keepdim=True)) / (x.var(-1, keepdim=True) + 1e-5).sqrt()),
    ],
)  # fmt: skip
def test_other_rows_stay_others(one, other):
    assert works(lambda _, x: one(x), (8, 32, 64)) != works(lambda _, x: other(x), (8, 32, 64))


def test_epsilon_is_the_written_one():
    (norm,) = graph_of(lambda m, x: rms_norm(x, epsilon=1e-5) * m.a, (32, 64)).operators
    assert norm.attributes["epsilon"] == 1e-5


@pytest.mark.parametrize(("groups", "affine"), [(8, True), (8, False), (64, True)])
def test_group_norm_written_out(groups, affine):
    def written(m, x):
        rows = x.reshape(x.shape[0], groups, -1)
        rows = (rows - rows.mean(-1, keepdim=True)) / torch.sqrt(
            rows.var(-1, keepdim=True, unbiased=False) + 1e-5
        )
        rows = rows.view_as(x)
        return rows * m.a[:, None, None] + m.b[:, None, None] if affine else rows

    def fused(m, x):
        return F.group_norm(x, groups, *((m.a, m.b) if affine else ()))

    assert works(written, (2, 64, 8, 8)) == works(fused, (2, 64, 8, 8))


def test_rows_of_any_length():
    assert works(lambda _, x: softmax(x), (2, 40000)) == works(lambda _, x: F.softmax(x, -1), (2, 40000))


def test_a_weight_in_another_product_stays_where_it_is():
    got = functions(lambda m, x, y: m.a * x * y.relu(), (4, 64), (4, 64))
    assert got == ["multiply", "relu", "multiply"]


Q = (2, 4, 48, 16)


def attention(scores, v, mask=None):
    scores = scores if mask is None else scores + mask
    return torch.softmax(scores, -1) @ v


HEADS = {
    "scale on scores": lambda q, k, v: attention(q @ k.transpose(-2, -1) * 0.25, v),
    "scores divided by a tensor": lambda q, k, v: attention(q @ k.mT / torch.sqrt(torch.tensor(16.0)), v),
    "scores divided": lambda q, k, v: attention(q @ k.transpose(-2, -1) / 4.0, v),
    "scale on q": lambda q, k, v: attention((q * 0.25) @ k.transpose(-2, -1), v),
    "scale on both": lambda q, k, v: attention((q * 0.5) @ (k * 0.5).transpose(-2, -1), v),
    "einsum": lambda q, k, v: torch.einsum(
        "bhij,bhjd->bhid", torch.einsum("bhid,bhjd->bhij", q, k).mul(0.25).softmax(-1), v
    ),
    "softmax in float32": lambda q, k, v: (
        torch.softmax(q.half() @ k.half().transpose(-2, -1) * 0.25, -1, dtype=torch.float32).half() @ v.half()
    ),
    "bmm": lambda q, k, v: torch.bmm(
        torch.softmax(torch.bmm(q.flatten(0, 1), k.flatten(0, 1).transpose(1, 2)) * 0.25, -1), v.flatten(0, 1)
    ).unflatten(0, (2, 4)),
    "baddbmm": lambda q, k, v: torch.bmm(
        torch.softmax(
            torch.baddbmm(torch.zeros(8, 48, 48), q.flatten(0, 1), k.flatten(0, 1).mT, beta=0, alpha=0.25), -1
        ),
        v.flatten(0, 1),
    ).unflatten(0, (2, 4)),
    "softmax written out": lambda q, k, v: softmax(q @ k.transpose(-2, -1) * 0.25) @ v,
}


def _block(inner):
    """Attention of a token's heads, from one projection to the next."""

    def forward(m, x):
        q, k, v = (F.linear(x, m.w, m.b).unflatten(-1, (4, 16)).transpose(1, 2) for _ in range(3))
        return F.linear(inner(q, k, v).transpose(1, 2).flatten(2), m.w, m.b)

    return forward


@pytest.mark.parametrize("name", HEADS)
def test_attention(name):
    expected = works(_block(F.scaled_dot_product_attention), (2, 48, 64))
    assert works(_block(HEADS[name]), (2, 48, 64)) == expected


def test_mask():
    def fused(q, k, v):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=torch.zeros(48, 48))

    def written(q, k, v):
        return attention(q @ (k * 0.25).transpose(-2, -1), v, torch.zeros(48, 48))

    assert works(_block(written), (2, 48, 64)) == works(_block(fused), (2, 48, 64))


PRODUCTS = {
    "linear": (lambda m, x: F.linear(x, m.w, m.b), lambda m, x: x @ m.w.t() + m.b),
    "addmm": (lambda m, x: F.linear(x[0], m.w, m.b), lambda m, x: torch.addmm(m.b, x[0], m.w.t())),
    "einsum": (lambda m, x: F.linear(x, m.w, m.b), lambda m, x: torch.einsum("bij,oj->bio", x, m.w) + m.b),
    "channel scale": (lambda m, x: F.linear(x, m.w, m.b), lambda m, x: F.linear(x, m.w, m.b) * m.a + m.b),
    "dropout, identity, casts": (
        lambda m, x: F.linear(x, m.w, m.b),
        lambda m, x: F.dropout(nn.Identity()(F.linear(x, m.w, m.b).half().float()), training=False) * 1.0 + 0.0,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PRODUCTS)
def test_products(name):
    one, other = PRODUCTS[name]
    assert works(other, (2, 32, 64)) == works(one, (2, 32, 64))


def test_batch_norm_written_out_is_part_of_the_convolution():
    def written(m, x):
        return F.relu(F.conv2d(x, m.k, padding=1) * m.a[:, None, None] + m.b[:, None, None])

    def fused(m, x):
        return F.relu(m.bn(F.conv2d(x, m.k, padding=1)))

    assert works(written, (2, 64, 8, 8)) == works(fused, (2, 64, 8, 8))


def test_pointwise_convolution_is_a_linear_layer():
    def linear(m, x):
        return F.linear(x, m.w, m.b)

    def pointwise(m, x):
        return F.conv2d(x.transpose(1, 2)[..., None], m.w[..., None, None], m.b)[..., 0].transpose(1, 2)

    (one,) = works(linear, (2, 64, 64))[-1:]
    (other,) = works(pointwise, (2, 64, 64))[-1:]
    assert (one.m, one.k, one.n, one.steps) == (other.m, other.k, other.n, other.steps)
