"""Operators that PyTorch runs as one and that are several here; their parts are recorded like any others."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def _attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,  # noqa: ARG001
       is_causal: bool = False, *, scale: float | None = None, enable_gqa: bool = False,
) -> Tensor:  # fmt: skip
    """softmax(query key^T scale + mask) value; shapes (.., heads, length, width). Dropout is off.

    With grouped heads, the queries of one key head stand below each other, so that no key is copied.
    """
    shape = query.shape
    groups = query.shape[-3] // key.shape[-3] if enable_gqa else 1
    if groups > 1:
        query = query.reshape(*shape[:-3], key.shape[-3], groups * shape[-2], shape[-1])
    scores = torch.matmul(query, key.transpose(-2, -1))
    scores = scores * (1 / math.sqrt(shape[-1]) if scale is None else scale)
    if groups > 1:
        scores = scores.view(*shape[:-1], key.shape[-2])
    if is_causal:
        attn_mask = torch.ones(shape[-2], key.shape[-2], dtype=torch.bool, device=query.device).tril()
    if attn_mask is not None:
        if attn_mask.dtype == torch.bool:
            attn_mask = torch.zeros_like(attn_mask, dtype=query.dtype).masked_fill(
                attn_mask.logical_not(), -math.inf
            )
        scores = scores + attn_mask
    weights = torch.softmax(scores, dim=-1)
    if groups > 1:
        weights = weights.view(*shape[:-3], key.shape[-3], groups * shape[-2], key.shape[-2])
    result = torch.matmul(weights, value)
    return result.view(*shape[:-1], value.shape[-1]) if groups > 1 else result


def _glu(self: Tensor, dim: int = -1) -> Tensor:
    value, gate = self.chunk(2, dim)
    return value * torch.sigmoid(gate)


def _addcmul(self: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: float = 1) -> Tensor:
    product = tensor1 * tensor2
    return self + (product if value == 1 else product * value)


def _addcdiv(self: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: float = 1) -> Tensor:
    quotient = tensor1 / tensor2
    return self + (quotient if value == 1 else quotient * value)


def _lerp(self: Tensor, end: Tensor, weight: Tensor | float) -> Tensor:
    return self + (end - self) * weight


def _addmm(self: Tensor, mat1: Tensor, mat2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """Reached when the first operand is no bias a column, or is scaled."""
    product = torch.matmul(mat1, mat2)
    product = product if alpha == 1 else product * alpha
    if beta == 0:
        return product
    return product + (self if beta == 1 else self * beta)


DECOMPOSITIONS: dict[str, Callable[..., Any]] = {
    "scaled_dot_product_attention": _attention,
    "glu": _glu,
    "addcmul": _addcmul,
    "addcdiv": _addcdiv,
    "lerp": _lerp,
    "addmm": _addmm,
    "baddbmm": _addmm,
}
"""By aten name. Tried after the rules, and for the out-of-place forms alone."""
