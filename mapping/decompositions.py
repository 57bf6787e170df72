"""Operators that PyTorch runs as one and that are several here; their parts are recorded like any others."""

import math
from collections.abc import Callable
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from lanewise.mapping.decompositions_functions import FUNCTIONS
from lanewise.mapping.decompositions_norms import NORMS


def _attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None,
    dropout_p: float = 0.0, is_causal: bool = False, *, scale: float | None = None, enable_gqa: bool = False,
) -> Tensor:  # fmt: skip
    """softmax(query key^T scale + mask) value; shapes (.., heads, length, width).

    A probability of dropout counts in evaluation, too, and is recorded as the random operator that it is.

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
    if dropout_p:
        weights = torch.dropout(weights, dropout_p, True)
    if groups > 1:
        weights = weights.view(*shape[:-3], key.shape[-3], groups * shape[-2], key.shape[-2])
    result = torch.matmul(weights, value)
    return result.view(*shape[:-1], value.shape[-1]) if groups > 1 else result


def _glu(self: Tensor, dim: int = -1) -> Tensor:
    value, gate = self.chunk(2, dim)
    return value * torch.sigmoid(gate)


def _addmm(self: Tensor, mat1: Tensor, mat2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """Reached when the first operand is no bias a column, or is scaled."""
    product = torch.matmul(mat1, mat2)
    product = product if alpha == 1 else product * alpha
    if beta == 0:
        return product
    return product + (self if beta == 1 else self * beta)


def _grouped_mm(self: Tensor, mat2: Tensor, offs: Tensor, bias: Tensor | None = None,
                out_dtype: torch.dtype | None = None) -> Any:  # fmt: skip
    """Rows ``(tokens, k)``, sorted by expert, times the weights ``(experts, k, n)`` of their own expert.

    ``offs`` says where each expert's rows end. Where that has no value the rows are shared out evenly: with fewer rows than
    experts one each, otherwise the first experts take one more than the others if they must.
    """
    if self.dim() != 2 or mat2.dim() != 3 or bias is not None:
        return NotImplemented
    rows, experts = self.shape[0], mat2.shape[0]
    if offs.is_meta:
        share, more = divmod(rows, experts)
        sizes = [share + 1] * more + [share] * (experts - more)
    else:
        ends = offs.tolist()
        sizes = [end - start for start, end in zip([0, *ends], ends)]
    parts, row, expert = [], 0, 0
    for size, group in groupby(sizes):
        count = len(list(group))
        if size:
            left = self[row : row + count * size].view(count, size, self.shape[1])
            product = torch.matmul(left, mat2[expert : expert + count])
            parts.append(product.reshape(count * size, mat2.shape[2]))
        row, expert = row + count * size, expert + count
    result = parts[0] if len(parts) == 1 else torch.cat(parts)
    return result if out_dtype is None else result.to(out_dtype)


DECOMPOSITIONS: dict[str, Callable[..., Any]] = {
    "scaled_dot_product_attention": _attention,
    "glu": _glu,
    "addmm": _addmm,
    "baddbmm": _addmm,
    "_grouped_mm": _grouped_mm,
    **FUNCTIONS,
    **NORMS,
}
"""By aten name; ``NotImplemented``: not in this form. Tried after the rules. Of a form in place the result is what it writes."""
