"""Bits and numbers: every pattern of the narrow formats, PyTorch's conversions beside ours, order."""

import numpy as np
import pytest
import torch

from lanewise.formats import FORMATS
from lanewise.models.numbers import bits_dtype, decode, encode, rank, unrank
from lanewise.verify.operands import corner_elements

SEED = 20_240_502
ALL = list(FORMATS.values())
TORCH = {
    "fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32, "fp8e5m2": torch.float8_e5m2,
    "fp8e4m3": torch.float8_e4m3fn, "int8": torch.int8, "int16": torch.int16, "int32": torch.int32,
}  # fmt: skip


def name_of(form):
    return form.name


@pytest.fixture
def rng():
    print(f"seed {SEED}")
    return np.random.default_rng(SEED)


def tensor(bits, form):
    signed = {8: torch.uint8, 16: torch.int16, 32: torch.int32}[form.bits]
    kind = {8: np.uint8, 16: np.int16, 32: np.int32}[form.bits]
    return torch.from_numpy(bits.view(kind).copy()).view(signed).view(TORCH[form.name])


@pytest.mark.parametrize("form", ALL, ids=name_of)
def test_bits_mean_what_pytorch_s_mean(form, rng):
    bits = corner_elements(rng, form, 1 << 17)
    np.testing.assert_array_equal(decode(bits, form), tensor(bits, form).double().numpy())


@pytest.mark.parametrize("form", ALL, ids=name_of)
def test_encode_inverts_decode(form, rng):
    bits = corner_elements(rng, form, 1 << 17)
    bits = bits[~np.isnan(decode(bits, form))]
    np.testing.assert_array_equal(encode(decode(bits, form), form), bits)


@pytest.mark.parametrize("form", [form for form in ALL if form.floating], ids=name_of)
def test_rounding_is_pytorch_s(form, rng):
    """From FP32, whose numbers all formats but FP32 itself round."""
    x = rng.integers(0, 1 << 32, size=1 << 18, dtype=np.uint32).view(np.float32)
    scale = np.exp2(rng.integers(-form.bias - form.fraction_bits - 2, form.bias + 2, size=1 << 18))
    with np.errstate(over="ignore"):
        x = np.concatenate([x, (rng.normal(size=1 << 18) * scale).astype(np.float32)])
    x = x[np.isfinite(x)]
    if not form.infinities:
        x = x[np.abs(x) < 464]  # beyond, PyTorch makes a NaN where we saturate
    wanted = torch.from_numpy(x).to(TORCH[form.name])
    ours = encode(x.astype(np.float64), form)
    np.testing.assert_array_equal(
        ours,
        wanted.view({8: torch.uint8, 16: torch.int16, 32: torch.int32}[form.bits])
        .numpy()
        .view(bits_dtype(form)),
    )


def test_what_overflows():
    big = [1e300, -1e300, np.inf, -np.inf]
    assert decode(encode(big, FORMATS["fp8e5m2"]), FORMATS["fp8e5m2"]).tolist() == [
        np.inf,
        -np.inf,
        np.inf,
        -np.inf,
    ]
    assert decode(encode(big, FORMATS["fp8e4m3"]), FORMATS["fp8e4m3"]).tolist() == [
        448.0,
        -448.0,
        448.0,
        -448.0,
    ]
    assert decode(encode(big, FORMATS["int16"]), FORMATS["int16"]).tolist() == [
        32767.0,
        -32768.0,
        32767.0,
        -32768.0,
    ]
    for form in ALL:
        assert encode([np.nan], form)[0] == (form.nan_bits if form.floating else 0)


@pytest.mark.parametrize("form", ALL, ids=name_of)
def test_rank_is_the_order_of_the_numbers(form, rng):
    bits = np.unique(corner_elements(rng, form, 1 << 15))
    ranks = rank(bits, form)
    assert np.unique(ranks).size == bits.size
    np.testing.assert_array_equal(unrank(ranks, form), bits)
    values = decode(bits[np.argsort(ranks)], form)
    inner = values[~np.isnan(values)]
    assert np.all(np.diff(inner) >= 0)
    if form.floating:
        zeros = rank(encode([-0.0, 0.0], form), form).astype(np.int64)
        assert zeros[1] - zeros[0] == 1
        outside = np.flatnonzero(np.isnan(values))
        assert np.all((outside < outside.size) | (outside >= values.size - outside.size))


def test_another_width_is_refused():
    with pytest.raises(TypeError, match=r"^bits must be a uint16 array \(bf16\), not dtype\('float64'\)$"):
        decode(np.zeros(1), FORMATS["bf16"])
