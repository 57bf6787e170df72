"""Matrix products, attention and positions."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name

from lanewise.models.onnx.call import Call, Operator


def _gemm(c: Call) -> Tensor:
    left, right, bias = c[0], c[1], c.maybe(2)
    alpha, beta = c.attribute("alpha", 1.0), c.attribute("beta", 1.0)
    left = left.mT if c.attribute("transA", 0) else left
    transposed = bool(c.attribute("transB", 0))
    columns = right.shape[0 if transposed else 1]
    if bias is not None and alpha == beta == 1 and bias.numel() == bias.shape[-1:].numel() == columns:
        return F.linear(left, right if transposed else right.mT, bias.reshape(-1))
    product: Tensor = F.linear(left, right) if transposed else left @ right
    product = product if alpha == 1 else product * alpha
    if bias is None or beta == 0:
        return product
    return product + (bias if beta == 1 else bias * beta)  # type: ignore[no-any-return]


def _einsum(c: Call) -> Tensor:
    return torch.einsum(c.attribute("equation").replace(" ", ""), *c.operands)


_PLAIN_ATTENTION = {"is_causal", "kv_num_heads", "q_num_heads", "qk_matmul_output_mode", "scale", "softcap"}


def _attention(c: Call) -> Any:
    """ONNX's own attention (set 23): a mask, a cache, grouped heads; the results besides the first are few."""
    if set(c.node.attributes) - _PLAIN_ATTENTION:
        raise NotImplementedError("attention with these options is taken apart")
    query, key, value, mask = c[0], c[1], c[2], c.maybe(3)
    flat = query.dim() == 3
    if flat:
        query = _heads(query, c.attribute("q_num_heads"))
        key, value = (_heads(part, c.attribute("kv_num_heads")) for part in (key, value))
    if c.has(4):
        key, value = torch.cat([c[4], key], 2), torch.cat([c[5], value], 2)
    if c.has(6) or c.attribute("softcap", 0.0) or any(c.node.outputs[3:]):
        raise NotImplementedError("attention with these options is taken apart")
    causal = bool(c.attribute("is_causal", 0))
    if causal and (mask is not None or key.shape[-2] != query.shape[-2]):
        past = c[4].shape[2] if c.has(4) else 0
        lower = torch.ones(query.shape[-2], key.shape[-2], dtype=torch.bool, device=query.device).tril(past)
        hidden = torch.zeros(lower.shape, dtype=query.dtype, device=query.device).masked_fill(
            ~lower, -math.inf
        )
        if mask is not None and mask.dtype == torch.bool:
            mask = torch.zeros(mask.shape, dtype=query.dtype, device=query.device).masked_fill(
                ~mask, -math.inf
            )
        mask, causal = hidden if mask is None else mask + hidden, False
    if mask is not None and mask.shape[-1] < key.shape[-2]:
        short = key.shape[-2] - mask.shape[-1]
        mask = F.pad(mask, [0, short], value=False if mask.dtype == torch.bool else -math.inf)
    result = F.scaled_dot_product_attention(
        query, key, value, mask, is_causal=causal, scale=c.attribute("scale"),
        enable_gqa=query.shape[1] != key.shape[1],
    )  # fmt: skip
    if flat:
        result = result.transpose(1, 2).flatten(2)
    return (result, key, value) if len(c.node.outputs) > 1 else result


def _heads(x: Tensor, heads: int) -> Tensor:
    """Shape (batch, length, heads x width) to (batch, heads, length, width)."""
    return x.reshape(*x.shape[:-1], heads, -1).transpose(1, 2)


def _rotary(c: Call) -> Any:
    """Rotary position embedding (set 23)."""
    x, cosine, sine = c[0], c[1], c[2]
    flat = x.dim() == 3
    x = x.unflatten(-1, (c.attribute("num_heads"), -1)) if flat else x.transpose(1, 2)
    width = c.attribute("rotary_embedding_dim", 0) or x.shape[-1]
    if c.has(3):
        cosine, sine = (F.embedding(c[3], table) for table in (cosine, sine))
    cosine, sine = (table[..., : width // 2].unsqueeze(2) for table in (cosine, sine))
    turned, rest = x[..., :width], x[..., width:]
    interleaved = bool(c.attribute("interleaved", 0))
    first, second = (turned[..., 0::2], turned[..., 1::2]) if interleaved else turned.chunk(2, -1)
    parts = (first * cosine - second * sine, first * sine + second * cosine)
    turned = torch.stack(parts, -1).flatten(-2) if interleaved else torch.cat(parts, -1)
    result = turned if width == x.shape[-1] else torch.cat([turned, rest], -1)
    return result.flatten(2) if flat else result.transpose(1, 2)


PRODUCTS: Mapping[str, Operator] = {
    "Attention": _attention,
    "Det": lambda c: torch.linalg.det(c[0]),
    "Einsum": _einsum,
    "Gemm": _gemm,
    "MatMul": lambda c: torch.matmul(c[0], c[1]),
    "RotaryEmbedding": _rotary,
}
"""By ONNX's name."""
