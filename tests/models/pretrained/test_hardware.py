"""The study's arithmetic: the hardware's bits, FP16 around them, and nothing else."""

import numpy as np
import pytest
import torch
from torch import nn

from lanewise.errors import UserError
from lanewise.models.fit import fit
from lanewise.models.flex_sfu import flex_sfu
from lanewise.models.pretrained.hardware import FP16, FP32, VARIANTS, Hardware, Variant
from lanewise.models.pretrained.network import Outputs, Samples, in_contexts
from lanewise.models.pretrained.rms_norm import with_whole_rms_norms
from lanewise.models.rows import layer_norm_bits, rms_norm_bits

SEED = 6
FEW = [variant for variant in VARIANTS if variant.segments in (None, 8)]


class Rms(nn.Module):
    """As transformers has it."""

    def __init__(self, size):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(size, generator=torch.Generator().manual_seed(SEED)) + 0.5)
        self.variance_epsilon = 1e-5

    def forward(self, x):
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon))


class LlamaRMSNorm(Rms):
    """The name that says what it is."""


class Probe:
    """A network that is nothing but its module."""

    def run(self, module, samples, contexts):
        with in_contexts(contexts):
            result = module(samples.values)
        return Outputs(features=result, decisions=result.argmax(1), details=result)


def run(variant, module, x):
    hardware = Hardware(variant)
    result = hardware.run(Probe(), module, Samples(count=len(x), values=x)).features
    return result, hardware


def half(x):
    return x.to(torch.float16).numpy().view(np.uint16)


def numbers(bits):
    return torch.from_numpy(bits.view(np.float16).astype(np.float32))


@pytest.fixture
def x():
    """More than FP16 can hold, on purpose."""
    return torch.randn(4, 48, generator=torch.Generator().manual_seed(SEED)) * 3


@pytest.mark.parametrize("degree", [1, 2])
def test_activations_are_the_golden_models(x, degree):
    result, hardware = run(Variant(segments=8, degree=degree), nn.GELU(), x)
    wanted = numbers(flex_sfu(half(x), fit("gelu", segments=8, degree=degree).table()))
    assert torch.equal(result, wanted)
    assert hardware.calls == {"gelu": 1}


def test_norms_are_the_golden_models(x):
    result, _ = run(Variant(segments=8), nn.LayerNorm(48, eps=1e-3), x)
    ones, zeros = np.full(48, 0x3C00, np.uint16), np.zeros(48, np.uint16)
    assert torch.equal(result, numbers(layer_norm_bits(half(x), weight=ones, bias=zeros, epsilon=1e-3)))
    module = LlamaRMSNorm(48)
    result, hardware = run(Variant(segments=8), module, x * 200)  # whose squares are infinite in FP16
    assert torch.equal(result, numbers(rms_norm_bits(half(x * 200), weight=half(module.weight.detach()))))
    assert hardware.calls == {"rms_norm": 1}


def test_fp16_rounds_after_each_operator_and_sums_in_fp32(x):
    module = nn.Sequential(nn.Linear(48, 32), nn.Tanh())
    module.requires_grad_(False)
    result, hardware = run(FP16, module, x)
    linear = module[0](x).half().float()
    assert torch.equal(result, linear.tanh().half().float())
    assert not torch.equal(result, module(x))
    assert hardware.calls == {}


def test_fp16_keeps_an_rms_norm_whole(x):
    module = LlamaRMSNorm(48)
    result, _ = run(FP16, module, x * 200)
    torch.testing.assert_close(result, module(x * 200).half().float().detach(), rtol=2e-3, atol=0)
    pair = nn.Sequential(module, nn.Identity())
    assert type(with_whole_rms_norms(pair)[0]).__name__ == "WholeRmsNorm"
    assert pair[0] is module
    other = nn.Sequential(nn.Linear(2, 2))
    assert with_whole_rms_norms(other) is other  # nothing to replace, nothing copied


def test_fp32_is_pytorchs(x):
    module = nn.Softmax(-1)
    result, hardware = run(FP32, module, x)
    assert torch.equal(result, module(x))
    assert hardware.calls == {}


def test_the_module_stays_as_it_was(x):
    module = nn.Sequential(LlamaRMSNorm(48), nn.SiLU()).requires_grad_(False)
    before = module(x)
    for variant in FEW:
        run(variant, module, x)
    assert torch.equal(module(x), before)
    assert isinstance(module[0], LlamaRMSNorm)


def test_fingerprints_tell_variants_apart():
    functions = ("gelu", "layer_norm", "softmax")
    prints = [Hardware(variant).fingerprint(functions) for variant in FEW]
    assert len(set(prints)) == len(FEW) == 4
    assert prints == [Hardware(variant).fingerprint(functions) for variant in FEW]
    assert Hardware(FP16).fingerprint(functions) == Hardware(FP16).fingerprint(())


def test_names():
    assert len({variant.name for variant in VARIANTS}) == len(VARIANTS)
    assert (
        Variant(segments=32, exponential="reduced").name == "Flex-SFU, 32 linear segments, range-reduced exp"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "fp8e4m3"}, r"^format must be fp16 or fp32, not 'fp8e4m3'$"),
        ({"format": "fp32", "segments": 8}, r"^format must be fp16 for Flex-SFU, not 'fp32'$"),
        ({"segments": 12}, r"^segments must be 4, 8, 16, 32 or 64, not 12$"),
        ({"segments": 8, "degree": 3}, r"^degree must be 1 or 2, not 3$"),
        ({"segments": 8, "exponential": "fast"}, r"^exponential must be reduced or direct, not 'fast'$"),
    ],
)
def test_bad_variants_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        Variant(**options)
