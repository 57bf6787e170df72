"""Norms and GELUs that classes write out are recognised by what they compute."""

import pytest
import torch
from torch import nn

from lanewise.models.nn import approximate, error_report

SEED = 3


def randn(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(SEED))


def same(result, expected):
    torch.testing.assert_close(result, expected, rtol=0, atol=0, equal_nan=True)


class RmsNorm(nn.Module):
    """As transformers' models write it out."""

    def __init__(self, width, added):
        super().__init__()
        self.weight, self.added, self.variance_epsilon = nn.Parameter(randn(width)), added, 1e-2

    def forward(self, x):
        return (self.weight + self.added) * (
            x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon)
        )


class ChannelsNorm(nn.Module):
    """Of pictures."""

    def __init__(self, channels):
        super().__init__()
        self.weight, self.bias, self.eps = nn.Parameter(randn(channels)), nn.Parameter(randn(channels)), 1e-6

    def forward(self, x):
        mean = x.mean(1, keepdim=True)
        x = (x - mean) / ((x - mean).pow(2).mean(1, keepdim=True) + self.eps).sqrt()
        return self.weight[:, None, None] * x + self.bias[:, None, None]


class NewGelu(nn.Module):
    """As transformers write it out."""

    def forward(self, x):
        return 0.5 * x * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3)))


class OddNorm(nn.Module):
    """No norm that the kernels have."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4))

    def forward(self, x):
        return self.weight * x / x.abs().amax(-1, keepdim=True)


@pytest.mark.parametrize(
    ("module", "shape", "function"),
    [
        (RmsNorm(12, 0), (4, 12), "rms_norm"), (RmsNorm(12, 1), (4, 12), "rms_norm"),
        (ChannelsNorm(6), (2, 6, 3, 4), "layer_norm"), (NewGelu(), (4, 12), "gelu_tanh"),
    ],
)  # fmt: skip
def test_written_out_modules_are_recognised(module, shape, function):
    x, approximated = (2 * randn(*shape)).requires_grad_(), approximate(module)
    report = error_report(module, approximated, x)
    assert [row.function for row in report.rows] == [function]
    assert 0 < report.output.relative_error < 0.002
    gradients = [
        torch.autograd.grad(m(x).square().sum(), (x, *m.parameters())) for m in (module, approximated)
    ]
    torch.testing.assert_close(*gradients, rtol=0.02, atol=0.05)


def test_other_norms_are_left_alone():
    x = randn(3, 4)
    same(approximate(OddNorm())(x), OddNorm()(x))


class GatedNorm(RmsNorm):
    """As models with state spaces have it."""

    def forward(self, x, gate=None, scale=1.0):
        return super().forward(x if gate is None else x * torch.sigmoid(gate)) * scale


class ResidualNorm(ChannelsNorm):
    """Adds first."""

    def forward(self, x, residual=None):
        return super().forward(x if residual is None else x + residual)


@pytest.mark.parametrize(
    ("arguments", "functions"),
    [
        (lambda x, _: ((x,), {}), ["rms_norm"]), (lambda x, _: ((), {"x": x}), ["rms_norm"]),
        (lambda x, _: ((x, None), {}), ["rms_norm"]),
        (lambda x, _: ((), {"gate": None, "scale": 1.0, "x": x}), ["rms_norm"]),
        (lambda x, gate: ((x, gate), {}), ["sigmoid"]), (lambda x, gate: ((), {"gate": gate, "x": x}), ["sigmoid"]),
        (lambda x, _: ((x,), {"scale": 3.0}), []), (lambda x, _: ((x, None, 2), {}), []),
    ],
)  # fmt: skip
def test_only_a_call_with_one_operand_is_a_norm(arguments, functions):
    class Caller(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = GatedNorm(12, 0)

        def forward(self, x, y):
            args, kwargs = arguments(torch.tanh(x), y)
            return self.norm(*args, **kwargs)

    module, x, y = Caller(), randn(5, 12), 2 * randn(5, 12)
    report = error_report(module, approximate(module), (x, y))
    assert [row.function for row in report.rows] == ["tanh", *functions]
    assert 0 < report.output.relative_error < 0.005


def test_a_residual_by_keyword():
    module, x, y = ResidualNorm(6), randn(2, 6, 3, 4), 2 * randn(2, 6, 3, 4)
    same(approximate(module)(residual=y, x=x), module(x, y))
    assert not torch.equal(approximate(module)(x), module(x))


def test_the_report_compares_a_norm_with_its_own_result():
    """One that changes after it has been recognised."""
    module, x = RmsNorm(12, 0), randn(5, 12)
    approximated = approximate(module)
    approximated.added = module.added = 1.0
    report = error_report(module, approximated, x)
    assert report.rows[0].mse == pytest.approx(report.output.mse)
    assert report.rows[0].relative_error > 0.1


def test_excluded_and_unwanted_norms_stay_exact():
    x = randn(5, 12)
    for options in ({"exclude": ("",)}, {"norms": False}):
        same(approximate(RmsNorm(12, 0), **options)(x), RmsNorm(12, 0)(x))
    hardware = approximate(RmsNorm(12, 0), norms=False, functions=("rsqrt",))
    assert not torch.equal(hardware(x), RmsNorm(12, 0)(x))


class RunningNorm(nn.Module):
    """Keeps statistics in training, initialises itself from its first operands, drops some results, and counts its calls."""

    calls = 0

    def __init__(self):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(4)), nn.Parameter(torch.zeros(4))
        self.register_buffer("mean", torch.zeros(4))
        self.initialised = False

    def forward(self, x):
        if not self.initialised:
            self.initialised, self.weight.data = True, 1 / x.reshape(-1, 4).std(0)
        if self.training:
            self.mean += x.reshape(-1, 4).mean(0)
        return nn.functional.dropout((x - self.mean) * self.weight + self.bias, 0.5, self.training)


def test_the_network_and_the_generator_are_left_alone():
    module, seen = RunningNorm(), []
    module.register_forward_hook(lambda *_: seen.append(1))
    wanted = {name: value.clone() for name, value in module.state_dict().items()}
    state = torch.get_rng_state()
    assert approximate(module, inplace=True) is module
    assert torch.equal(torch.get_rng_state(), state)
    for name, value in module.state_dict().items():
        same(value, wanted[name])
    assert module.training
    assert not module.initialised
    assert not seen


class DropoutNorm(RmsNorm):
    """Is a norm in evaluation alone."""

    def forward(self, x):
        return nn.functional.dropout(super().forward(x), 0.5, self.training)


def test_a_norm_that_is_another_in_training_stays_exact():
    module, x = DropoutNorm(12, 0), randn(5, 12)
    for training in (False, True):
        results = []
        for kind in (module, approximate(module)):
            torch.manual_seed(SEED)
            results.append(kind.train(training)(x))
        same(*results)


def test_transformers_norms():
    from lanewise.torchvision import make_importable

    make_importable()
    from transformers.models.gemma.modeling_gemma import GemmaRMSNorm
    from transformers.models.llama.modeling_llama import LlamaRMSNorm
    from transformers.models.mamba2.modeling_mamba2 import MambaRMSNormGated
    from transformers.models.t5.modeling_t5 import T5LayerNorm

    for kind in (GemmaRMSNorm, LlamaRMSNorm, T5LayerNorm):
        norm = kind(16)
        report = error_report(norm, approximate(norm), randn(3, 16))
        assert [row.function for row in report.rows] == ["rms_norm"]
    gated, x, gate = MambaRMSNormGated(16, 16), randn(3, 16), 2 * randn(3, 16)
    report = error_report(gated, approximate(gated), (x, gate))
    assert [row.function for row in report.rows] == ["silu"]
    assert report.output.relative_error < 0.005
