"""The gradient network with integer products, as the matrix unit has them: weights and operands of 4 or 8 bits, sums exact."""

import copy
from functools import partial

import torch
from torch import Tensor

from lanewise.models.lsnn.network import GeneratingNetwork

BITS = (4, 8)


def with_integers(network: GeneratingNetwork, bits: int, *, operands: bool) -> GeneratingNetwork:
    """A copy whose weights are integers times one scale a layer, so that ``W`` and ``W^T`` are the same numbers.

    Args:
        network: float64.
        bits: 4 or 8.
        operands: Whether activations, and what comes back, are rounded as well: a row of an orbit has a scale of its own.

    Raises:
        ValueError: ``bits`` is another number.
    """
    if bits not in BITS:
        raise ValueError(f"bits must be 4 or 8, not {bits}")
    made = copy.deepcopy(network)
    with torch.no_grad():
        for layer in made.linear:
            largest = 2 ** (bits - 1) - 1
            scale = layer.weight.abs().max() / largest
            layer.weight.copy_((layer.weight / scale).round() * scale)
    if operands:
        made.operand = partial(rounded_rows, bits=bits)
    return made


def rounded_rows(x: Tensor, bits: int) -> Tensor:
    """Each row (last axis) rounded to integers of ``bits`` bits times a scale, the largest magnitude's.

    >>> rounded_rows(torch.tensor([[0.1, -0.72, 0.49]], dtype=torch.float64), 4).numpy().round(3).tolist()
    [[0.103, -0.72, 0.514]]
    """
    largest = 2 ** (bits - 1) - 1
    scale = x.abs().amax(-1, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny) / largest
    codes: Tensor = (x / scale).round().clamp(-largest, largest)
    result: Tensor = codes * scale
    return result
