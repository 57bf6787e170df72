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
    from transformers.models.t5.modeling_t5 import T5LayerNorm

    for kind in (GemmaRMSNorm, LlamaRMSNorm, T5LayerNorm):
        norm = kind(16)
        report = error_report(norm, approximate(norm), randn(3, 16))
        assert [row.function for row in report.rows] == ["rms_norm"]
