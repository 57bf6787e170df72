"""FP16 look-ups in operators: the fast path against the golden model on every input; nothing escapes it."""

import re

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - its usual name

from lanewise.models.fit import fit
from lanewise.models.flex_sfu import flex_sfu
from lanewise.models.functions import FUNCTIONS
from lanewise.models.nn import (
    FLEX_FUNCTIONS,
    Fp16Results,
    HardwareFunctions,
    exact_lookup,
    flex_sfu_lookup,
)

SEED = 3
EVERY = np.arange(1 << 16, dtype=np.uint16)
LOOKUPS = {name: flex_sfu_lookup(name, 8) for name in FLEX_FUNCTIONS}


def every_number(dtype=torch.float32):
    return torch.from_numpy(EVERY.view(np.float16).copy()).to(dtype)


def golden(name, segments=8):
    return flex_sfu(EVERY, fit(name, segments=segments).table())


def bits(x):
    return x.detach().to(torch.float16).numpy().view(np.uint16)


def assert_same_bits(result, expected):
    """NaN is NaN: PyTorch's conversions keep no payload."""
    nan = np.isnan(expected.view(np.float16))
    np.testing.assert_array_equal(np.isnan(result.view(np.float16)), nan)
    np.testing.assert_array_equal(result[~nan], expected[~nan])


ACTIVATIONS = {
    "gelu": [nn.GELU(), F.gelu],
    "gelu_tanh": [nn.GELU(approximate="tanh"), lambda x: F.gelu(x, approximate="tanh")],
    "silu": [nn.SiLU(), nn.SiLU(inplace=True), F.silu],
    "sigmoid": [
        nn.Sigmoid(),
        torch.sigmoid,
        torch.Tensor.sigmoid,
        torch.special.expit,
        lambda x: x.sigmoid_(),
    ],
    "tanh": [nn.Tanh(), torch.tanh, torch.Tensor.tanh, F.tanh],
    "mish": [nn.Mish(), F.mish],
    "softplus": [nn.Softplus(), F.softplus],
    "hardswish": [nn.Hardswish(), nn.Hardswish(inplace=True)],
    "erf": [torch.erf, torch.special.erf],
    "elu": [nn.ELU(), nn.ELU(inplace=True)],
    "exp": [torch.exp, lambda x: x.exp_()],
}
CALLS = [(name, call) for name, calls in ACTIVATIONS.items() for call in calls]


def test_every_function_is_called_here():
    assert set(ACTIVATIONS) == set(FLEX_FUNCTIONS)


@pytest.mark.parametrize(("name", "call"), CALLS)
def test_all_inputs_give_the_golden_bits(name, call):
    with HardwareFunctions(LOOKUPS) as hardware, torch.no_grad():
        result = call(every_number())
    assert result.dtype == torch.float32
    assert hardware.calls == {name: 1}
    assert_same_bits(bits(result), golden(name))


def test_exact_lookup_is_the_function_rounded():
    numbers = EVERY.view(np.float16)
    finite = np.isfinite(numbers)
    for name in ("gelu", "tanh", "exp"):
        expected = FUNCTIONS[name](numbers[finite].astype(np.float64))
        with np.errstate(over="ignore"):
            np.testing.assert_array_equal(exact_lookup(name)[finite], expected.astype(np.float16))


def softmax_by_hand(x, exp):
    """In numpy, as the vector kernel's instructions; 1/sum in float64, rounded to FP16."""
    half = x.numpy().astype(np.float16)
    power = exp[(half - half.max(-1, keepdims=True)).view(np.uint16)]
    inverse = (1 / power.astype(np.float64).sum(-1, keepdims=True)).astype(np.float16)
    return power * inverse


def test_softmax():
    x = 4 * torch.randn(40, 33, generator=torch.Generator().manual_seed(SEED))
    with HardwareFunctions(LOOKUPS) as hardware:
        result = torch.softmax(x, -1)
    assert hardware.calls == {"softmax": 1, "exp": 1}
    expected = softmax_by_hand(x, LOOKUPS["exp"]).astype(np.float64)
    # the Newton step's 1/sum may round to the neighbour of the exact one's FP16
    np.testing.assert_allclose(result.numpy(), expected, rtol=2**-9, atol=2**-24)
    assert (result.numpy() == expected).mean() > 0.9
    np.testing.assert_allclose(result.sum(-1), 1, atol=0.01)
    transposed = x.T.contiguous()
    with HardwareFunctions(LOOKUPS):
        torch.testing.assert_close(transposed.softmax(0), result.T, rtol=0, atol=0)


@pytest.mark.parametrize("mask", [-torch.inf, torch.finfo(torch.float32).min, -65504.0])
def test_masked_softmax_gives_zero_and_no_nan(mask):
    x = torch.tensor([[20.0, mask, 19.0, mask]])
    with HardwareFunctions(LOOKUPS):
        result = torch.softmax(x, -1)
    assert result[0, 1] == result[0, 3] == 0
    torch.testing.assert_close(result[0, ::2], torch.tensor([0.7311, 0.2689]), rtol=0, atol=0.02)


@pytest.mark.parametrize("options", [{}, {"is_causal": True}, {"scale": 0.3}])
def test_attention_is_taken_apart(options):
    query, key, value = torch.randn(3, 2, 4, 6, 8, generator=torch.Generator().manual_seed(SEED))
    exact = F.scaled_dot_product_attention(query, key, value, **options)
    with HardwareFunctions(LOOKUPS) as hardware:
        result = F.scaled_dot_product_attention(query, key, value, **options)
    assert hardware.calls == {"softmax": 1, "exp": 1}
    assert not torch.equal(result, exact)
    torch.testing.assert_close(result, exact, rtol=0, atol=0.03)


def test_masked_attention():
    query, key, value = torch.randn(3, 2, 4, 6, 8, generator=torch.Generator().manual_seed(SEED))
    mask = torch.zeros(6, 6).masked_fill(torch.ones(6, 6, dtype=torch.bool).triu(1), -torch.inf)
    with HardwareFunctions(LOOKUPS):
        masked = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        causal = F.scaled_dot_product_attention(query, key, value, is_causal=True)
    torch.testing.assert_close(masked, causal, rtol=0, atol=0)


def encoder():
    torch.manual_seed(SEED)
    return nn.TransformerEncoderLayer(16, 4, 32, activation="gelu", batch_first=True).eval()


def test_counts_of_a_layer():
    with HardwareFunctions(LOOKUPS) as hardware, torch.no_grad():
        encoder()(torch.zeros(1, 3, 16))
    assert hardware.calls == {"softmax": 1, "exp": 1, "gelu": 1}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: F.softplus(torch.ones(2), beta=2),
            "softplus must have its table's parameters (1, 20), not (2",
        ),
        (lambda: F.elu(torch.ones(2), 0.5), "elu must have its table's parameters (1, 1, 1), not (0.5"),
        (lambda: nn.LSTM(4, 4)(torch.ones(2, 4)), "activations must be operators of their own, not inside "),
        (lambda: HardwareFunctions({"sine": LOOKUPS["exp"]}), "lookups must be of exp, sigmoid, "),
    ],
)
def test_what_the_tables_do_not_have_is_refused(call, message):
    with torch.no_grad(), pytest.raises(ValueError, match=re.escape(message)), HardwareFunctions(LOOKUPS):
        call()


def test_fp16_results():
    """Of every operator: new, in place, and several at once; views and integers are left alone."""
    x = torch.randn(3, 8, generator=torch.Generator().manual_seed(SEED))
    with Fp16Results():
        total = x + 1e-4
        view = x.T
        changed = x.clone().mul_(1.0001)
        mean, _ = torch.var_mean(x)
        index = x.argmax()
    assert torch.equal(total, (x + 1e-4).half().float())
    assert torch.equal(changed, changed.half().float())
    assert mean == mean.half().float()
    assert view.data_ptr() == x.data_ptr()
    assert not torch.equal(view, view.half().float())
    assert index.dtype == torch.int64
