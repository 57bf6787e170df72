"""Rounding of operands on PyTorch's conversions is the golden rounding."""

import numpy as np
import pytest
import torch

from lanewise.formats import FORMATS
from lanewise.models.nn.lookup import operand_bits
from lanewise.models.numbers import decode, encode

SEED = 7


def awkward(form):
    """Numbers, middles between neighbours, their neighbours in FP32, and what leaves the format's range."""
    rng = np.random.default_rng(SEED)
    kind = {8: np.uint8, 16: np.uint16, 32: np.uint32}[form.bits]
    some = np.sort(decode(rng.integers(0, 1 << form.bits, 4000).astype(kind), form))
    some = some[np.isfinite(some)]
    bits = encode(some, form)
    step = decode((bits + np.ones(1, kind)).astype(kind), form)
    middles = (some + np.where(np.isfinite(step), step, some)) / 2
    with np.errstate(over="ignore", under="ignore"):
        near = np.concatenate([some, middles, middles * (1 + 1e-7), middles * (1 - 1e-7)]).astype(np.float32)
    far = np.array(
        [0.0, -0.0, np.inf, -np.inf, 1e38, -1e38, 3e4, 6.5e4, 65519.9, 65520, 448, 464, 465, 1e-45],
        np.float32,
    )
    return np.concatenate([near, far])


@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", FORMATS)
def test_operands_are_rounded_to_nearest_even(name, kind):
    form, x = FORMATS[name], torch.from_numpy(awkward(FORMATS[name])).to(kind)
    np.testing.assert_array_equal(operand_bits(x, form), encode(x.double().numpy(), form))
    nan = decode(operand_bits(torch.tensor([torch.nan], dtype=kind), form), form)
    assert np.isnan(nan).all() if form.floating else nan == 0


def test_a_double_is_rounded_once():
    """To FP32 first, it would be a middle and go to the even neighbour."""
    x = torch.tensor([1 + 2**-11 + 2**-40], dtype=torch.float64)
    assert operand_bits(x, FORMATS["fp16"]).tolist() == [0x3C01]
    assert x.float().half().view(torch.int16).tolist() == [0x3C00]


def test_integers_are_scaled():
    assert operand_bits(torch.tensor([0.26, -9.0]), FORMATS["int8"], 0.1).view(np.int8).tolist() == [3, -90]
