"""An operand's integers and mask against what leaves the golden operand path."""

import numpy as np
import pytest
import torch

from lanewise.config import HADAMARD_BLOCKS
from lanewise.models.int4.integers import Scaling, peak_of
from lanewise.models.int4.operand import operand
from lanewise.models.int4_quantiser import QuantiserSettings
from lanewise.models.lfsr import lane_states
from lanewise.models.operand_path import OperandSettings, operand_path, signed_nibbles

SEED = 6


def golden(x, step, block):
    """Integers and mask of FP16 operands, shape ``(beats, 16)``."""
    scaling = Scaling.of(peak_of(x), block, 1 / step)
    settings = OperandSettings(
        block=block,
        exponent=scaling.exponent,
        quantiser=QuantiserSettings(multiplier=scaling.multiplier, shift=scaling.shift),
    )
    _, lo, inside, _ = operand_path(x.numpy().view(np.uint16).reshape(-1, 16), settings, lane_states(1, 16))
    return signed_nibbles(lo).reshape(x.shape), inside.reshape(x.shape)


@pytest.mark.parametrize("block", HADAMARD_BLOCKS)
@pytest.mark.parametrize("step", [0.11, 0.25, 0.5, 1 / 3])
def test_integers_and_mask_are_the_hardwares(block, step):
    x = 2 * torch.randn(50, 64, generator=torch.Generator().manual_seed(SEED)).half()
    x[::2] = (x[::2] * 4).round() / 4  # quarters, which steps of a power of two take to the limits
    ours = operand(x.float(), step, block)
    integers, inside = golden(x, step, block)
    np.testing.assert_array_equal(ours.integers.numpy(), integers)
    np.testing.assert_array_equal(ours.inside.numpy(), inside)
    assert 0.2 < inside.mean() < 0.98


def test_gradients_pass_at_the_limits_and_not_beyond():
    """The limits and the next FP16 numbers on both sides of them."""
    limits = torch.tensor([-8, 7], dtype=torch.float16)
    beside = [limits, limits.nextafter(torch.tensor(0.0).half()), limits.nextafter(limits * 2)]
    x = torch.stack(beside).repeat(1, 8)
    ours = operand(x.float(), 1.0, 1)
    assert ours.integers[:, :2].tolist() == [[-8, 7]] * 3
    assert ours.inside[:, :2].tolist() == [[True, True], [True, True], [False, False]]
    integers, inside = golden(x, 1.0, 1)
    np.testing.assert_array_equal(ours.integers.numpy(), integers)
    np.testing.assert_array_equal(ours.inside.numpy(), inside)
    passed = ours.input_gradient(torch.ones(x.shape))
    assert passed[:, :2].tolist() == [[1, 1], [1, 1], [0, 0]]
