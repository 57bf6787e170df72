"""Operators under approximation: whoever calls them, in whatever form, the result is the hardware's bits."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - its usual name

from lanewise.errors import UserError
from lanewise.models.nn import ApproximateConfig, activation, approximate, error_report, rows
from lanewise.models.nn.activation import nonpositive_exponential

SEED = 3
EVERY = torch.from_numpy(np.arange(1 << 16, dtype=np.uint16).view(np.float16).copy()).float()
SMALL = {"segments": 16}


class Call(nn.Module):
    """A module that calls a function."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *args):
        return self.function(*args)


def randn(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(SEED))


def hardware(name, parameters=(), **options):
    return activation(name, parameters, ApproximateConfig(**(SMALL | options)))


def same(result, expected):
    torch.testing.assert_close(result, expected, rtol=0, atol=0, equal_nan=True)


def sigmoid_out(x):
    out = torch.empty_like(x)
    torch.sigmoid(x, out=out)
    return out


CALLS = {
    "gelu": [nn.GELU(), F.gelu, torch.ops.aten.gelu, torch.ops.aten.gelu.default],
    "gelu_tanh": [nn.GELU(approximate="tanh"), lambda x: F.gelu(x, approximate="tanh")],
    "silu": [nn.SiLU(), nn.SiLU(inplace=True), F.silu],
    "sigmoid": [nn.Sigmoid(), torch.sigmoid, torch.Tensor.sigmoid, torch.special.expit, torch.Tensor.sigmoid_,
                lambda x: torch.sigmoid(input=x), sigmoid_out],
    "tanh": [nn.Tanh(), torch.tanh, torch.Tensor.tanh, F.tanh],
    "mish": [nn.Mish(), F.mish],
    "softplus": [nn.Softplus(), F.softplus],
    "hardswish": [nn.Hardswish(), nn.Hardswish(inplace=True)],
    "erf": [torch.erf, torch.special.erf],
    "elu": [nn.ELU(), nn.ELU(inplace=True)],
    "exp": [torch.exp, torch.Tensor.exp_],
    "logsigmoid": [nn.LogSigmoid(), F.logsigmoid],
    "softplus 2 20": [nn.Softplus(beta=2), lambda x: F.softplus(x, 2)],
    "elu 0.5 1 1": [nn.ELU(0.5), lambda x: F.elu_(x, 0.5)],
    "elu 1.6732632423543772 1.0507009873554805 1": [nn.SELU(), F.selu_],
    "elu 2 1 0.5": [nn.CELU(2), lambda x: F.celu(x, 2)],
}  # fmt: skip


@pytest.mark.parametrize("gradient", [False, True])
@pytest.mark.parametrize("name", CALLS)
def test_all_inputs_give_the_hardwares_bits(name, gradient):
    kind, *parameters = name.split()
    defaults = {"softplus": (1.0, 20.0), "elu": (1.0, 1.0, 1.0)}.get(kind, ())
    expected = hardware(kind, tuple(map(float, parameters)) or defaults)(EVERY)
    for call in CALLS[name]:
        if gradient and call is sigmoid_out:
            continue  # which PyTorch has no derivative of
        x = EVERY.clone()
        with torch.set_grad_enabled(gradient):
            operand = x.requires_grad_() * 1 if gradient else x  # a leaf must not change in place
            result = approximate(Call(call), **SMALL)(operand)
        assert result.requires_grad == gradient
        same(result.detach(), expected)
        if gradient:
            inside = (EVERY.abs() < 4) & (EVERY != 0)
            (slope,) = torch.autograd.grad(result[inside].sum(), x)
            reference = EVERY[inside].double().requires_grad_()
            (wanted,) = torch.autograd.grad(
                hardware(kind, tuple(map(float, parameters)) or defaults).exact(reference).sum(), reference
            )
            torch.testing.assert_close(slope[inside].double(), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "call", [nn.ReLU(), nn.ReLU6(), nn.LeakyReLU(), nn.Hardsigmoid(), torch.sin, nn.LogSoftmax(-1)]
)
def test_what_stays_exact(call):
    x = randn(3, 7)
    same(approximate(Call(call))(x), call(x))


@pytest.mark.parametrize("name", ["leaky_relu", "hardsigmoid", "sin", "atan", "rsqrt"])
def test_what_is_asked_for_by_name(name):
    call = {"leaky_relu": F.leaky_relu, "hardsigmoid": F.hardsigmoid}.get(name) or getattr(torch, name)
    parameters = (0.01,) if name == "leaky_relu" else ()
    expected = hardware(name, parameters)(EVERY)
    same(approximate(Call(call), functions=(name,), **SMALL)(EVERY), expected)
    assert not torch.equal(expected.nan_to_num(), call(EVERY).nan_to_num())


def test_gated_linear_unit():
    x = randn(3, 8)
    same(approximate(nn.GLU())(x), x[:, :4] * activation("sigmoid", (), ApproximateConfig())(x[:, 4:]))


@pytest.mark.parametrize("exponential", ["reduced", "direct"])
def test_softmax(exponential):
    x = 4 * randn(3, 5, 33)
    config = ApproximateConfig(exponential=exponential)
    expected = rows.softmax(x, 1, nonpositive_exponential(config))
    for call in (nn.Softmax(1), lambda x: F.softmax(x, 1), lambda x: torch.softmax(x, dim=1),
                 lambda x: x.softmax(1), lambda x: torch.special.softmax(x, 1), lambda x: F.softmin(-x, 1)):  # fmt: skip
        same(approximate(Call(call), config)(x), expected)
        same(approximate(Call(call), config, softmax=False)(x), x.softmax(1))
    assert (expected - x.softmax(1)).abs().max() < 0.01


def test_softmax_into_a_tensor_and_of_rows_that_are_all_masked():
    x, config = randn(3, 5), ApproximateConfig()
    x[1] = -torch.inf
    expected = rows.softmax(x, -1, nonpositive_exponential(config))
    for out in (torch.empty(3, 5), torch.empty(0)):
        assert approximate(Call(lambda x, out: torch.softmax(x, -1, out=out)))(x, out) is out
        same(out, expected)
    safe = Call(lambda x: torch._safe_softmax(x, -1))
    same(approximate(safe)(x), expected)
    same(approximate(safe, softmax=False)(x), safe(x))
    slope = torch.autograd.grad(approximate(safe)(x.requires_grad_()).square().sum(), x)[0]
    assert slope.isfinite().all()


@pytest.mark.parametrize(
    "options", [{}, {"is_causal": True}, {"scale": 0.3}, {"attn_mask": "boolean"}, {"attn_mask": "added"}]
)
def test_attention(options):
    query, key, value = (v.requires_grad_() for v in randn(3, 2, 4, 6, 8))
    kept = torch.ones(6, 6, dtype=torch.bool).tril()
    masks = {"boolean": kept, "added": torch.zeros(6, 6).masked_fill(~kept, -torch.inf)}
    options = {name: masks.get(v, v) if isinstance(v, str) else v for name, v in options.items()}
    call = Call(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, **options))
    results = [module(query, key, value) for module in (call, approximate(call))]
    assert not torch.equal(*results)
    torch.testing.assert_close(*results, rtol=0, atol=0.003)
    gradients = [torch.autograd.grad(result.square().sum(), (query, key, value)) for result in results]
    torch.testing.assert_close(*gradients, rtol=0.01, atol=0.01)


def test_grouped_attention_and_rows_that_are_all_masked():
    query, key = randn(2, 4, 6, 8).requires_grad_(), randn(2, 2, 6, 8)
    mask = torch.ones(6, 6, dtype=torch.bool)
    mask[2] = False
    call = Call(lambda q, k: F.scaled_dot_product_attention(q, k, k, attn_mask=mask, enable_gqa=True))
    wanted, result = call(query, key), approximate(call)(query, key)
    assert not wanted[..., 2, :].any()  # as PyTorch has it
    torch.testing.assert_close(result, wanted, rtol=0, atol=0.003)
    assert torch.autograd.grad(result.sum(), query)[0].isfinite().all()


def encoder(**options):
    torch.manual_seed(SEED)
    return nn.TransformerEncoderLayer(16, 4, 32, activation="gelu", batch_first=True, dropout=0.0, **options)


@pytest.mark.parametrize("training", [False, True])
def test_transformer_layer(training):
    """In evaluation PyTorch would run it as one fused operator."""
    layer, x = encoder().train(training), randn(2, 5, 16)
    with torch.set_grad_enabled(training):
        report = error_report(layer, approximate(layer, 32), x)
    seen = [(row.layer, row.function) for row in report.rows]
    assert seen == [("self_attn", "softmax"), ("norm1", "layer_norm"), ("", "gelu"), ("norm2", "layer_norm")]
    with torch.set_grad_enabled(training):
        wanted, fine, rough = layer(x), approximate(layer, 64)(x), approximate(layer, 4)(x)
    assert 0 < (fine - wanted).abs().max() < 0.005
    assert (rough - wanted).abs().max() > 0.02


@pytest.mark.parametrize(
    ("norm", "shape"),
    [
        (nn.LayerNorm(12), (4, 12)), (nn.LayerNorm((3, 4)), (5, 3, 4)), (nn.LayerNorm(12, bias=False), (4, 12)),
        (nn.LayerNorm(12, elementwise_affine=False), (4, 12)), (nn.RMSNorm(12), (4, 12)), (nn.RMSNorm((3, 4), eps=1e-3), (5, 3, 4)),
        (nn.GroupNorm(3, 12), (2, 12, 5)), (nn.GroupNorm(2, 12, affine=False), (2, 12)), (nn.InstanceNorm1d(12), (2, 12, 9)),
        (nn.InstanceNorm2d(3, affine=True), (2, 3, 4, 5)),
    ],
)  # fmt: skip
def test_norms(norm, shape):
    for parameter in norm.parameters():
        torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(SEED))
    approximated, x = approximate(norm), (3 * randn(*shape) + 1).requires_grad_()
    wanted, result = norm(x), approximated(x)
    same(result, result.half().float())
    assert not torch.equal(wanted, wanted.half().float())
    torch.testing.assert_close(result, wanted, rtol=0.005, atol=0.005)
    same(approximate(norm, norms=False)(x), wanted)
    wanted.square().sum().backward()
    expected = [x.grad, *(parameter.grad for parameter in norm.parameters())]
    x.grad = None
    result.square().sum().backward()
    for gradient, other in zip([x.grad, *(p.grad for p in approximated.parameters())], expected, strict=True):
        torch.testing.assert_close(gradient, other, rtol=0.01, atol=0.03)


def test_norms_with_running_statistics_stay_exact():
    x = randn(4, 3, 6)
    for norm in (nn.BatchNorm1d(3), nn.InstanceNorm1d(3, track_running_stats=True)):
        for training in (True, False):
            same(approximate(norm.train(training))(x), deepcopy(norm)(x))


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_layers(kind, batch_first):
    torch.manual_seed(SEED)
    layer = kind(5, 6, num_layers=2, bidirectional=True, batch_first=batch_first)
    x = randn(4, 7, 5)
    report = error_report(layer, approximate(layer, 64), x)
    assert {row.function for row in report.rows} == {"tanh"} | ({"sigmoid"} if kind is not nn.RNN else set())
    assert 0 < report.output.max_error < 0.003
    unchanged = approximate(layer, functions=("gelu",))(x)
    torch.testing.assert_close(unchanged[0], layer(x)[0])
    packed = nn.utils.rnn.pack_padded_sequence(randn(4, 7, 5), torch.tensor([4, 3, 3, 2, 1, 1, 1]))
    layer.batch_first = False
    (wanted, _), (result, _) = layer(packed), approximate(layer, 64)(packed)
    torch.testing.assert_close(result.data, wanted.data, rtol=0, atol=0.003)


@pytest.mark.parametrize("cell", [nn.LSTMCell(5, 6), nn.GRUCell(5, 6, bias=False), nn.RNNCell(5, 6)])
def test_recurrent_cells(cell):
    report = error_report(cell, approximate(cell, 64), randn(3, 5))
    assert 0 < report.output.max_error < 0.002


def test_recurrent_gradients():
    torch.manual_seed(SEED)
    layer, x = nn.LSTM(5, 6, num_layers=2), randn(4, 7, 5)
    other = approximate(layer, 64)
    for module in (layer, other):
        module(x)[0].square().sum().backward()
    for parameter, same_one in zip(layer.parameters(), other.parameters()):
        torch.testing.assert_close(same_one.grad, parameter.grad, rtol=0.02, atol=0.01)


def test_torchscript_inside_a_module():
    torch.manual_seed(SEED)
    inner = nn.Sequential(
        nn.Linear(8, 8), nn.GELU(), nn.LayerNorm(8), nn.Softmax(-1), nn.GroupNorm(2, 8), nn.LogSigmoid()
    )
    network, x = nn.Sequential(torch.jit.script(inner)), randn(3, 8)
    scripted, plain = approximate(network), approximate(inner)
    with torch.no_grad():
        same(scripted(x), plain(x))
        same(approximate(network, functions=(), norms=False, softmax=False)(x), inner(x))
    results = [module(x) for module in (scripted, plain)]
    same(*results)
    gradients = [
        torch.autograd.grad(r.sum(), list(m.parameters())) for r, m in zip(results, (scripted, plain))
    ]
    torch.testing.assert_close(*gradients, rtol=0.05, atol=0.01)
    with pytest.raises(UserError, match=r"^module must be written in Python around the TorchScript one"):
        approximate(torch.jit.script(inner))


class Recurrent(nn.Module):
    """Takes and gives one tensor."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x)[0]


@pytest.mark.parametrize(
    "options", [{}, {"bias": False, "batch_first": True}, {"num_layers": 2, "bidirectional": True}]
)
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_recurrent_layers_in_torchscript(kind, options):
    torch.manual_seed(SEED)
    layer, x = Recurrent(kind(4, 5, **options)), randn(3, 2, 4)
    scripted = approximate(nn.Sequential(torch.jit.script(layer)))
    same(scripted(x), approximate(layer)(x))
    assert not torch.equal(scripted(x), layer(x))
    unchanged = approximate(nn.Sequential(torch.jit.script(layer)), functions=("gelu",))
    same(unchanged(x), layer(x))
    gradients = [torch.autograd.grad(m(x).square().sum(), list(m.parameters())) for m in (scripted, layer)]
    torch.testing.assert_close(*gradients, rtol=0.02, atol=0.01)


def test_what_cannot_be_reached_is_refused():
    layer, x = encoder().eval(), randn(2, 5, 16)
    network = nn.Sequential(torch.jit.script(layer))
    with (
        torch.no_grad(),
        pytest.raises(RuntimeError, match="TorchScript interpreter"),
    ):  # which keeps no error's text
        approximate(network)(x)
    with torch.no_grad():
        torch.testing.assert_close(
            approximate(network, functions=(), softmax=False, norms=False)(x), layer(x)
        )
