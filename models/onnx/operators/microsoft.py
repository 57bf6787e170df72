"""Fused operators of ONNX Runtime (domain com.microsoft), written out."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name

from lanewise.models.onnx.call import Call, Operator
from lanewise.models.onnx.operators.reductions import rms_norm


def _bias_gelu(c: Call) -> Tensor:
    return F.gelu(c[0] + c[1])


def _fast_gelu(c: Call) -> Tensor:
    return F.gelu(c[0] + c[1] if c.has(1) else c[0], approximate="tanh")


def _skip_norm(c: Call) -> Any:
    """Residual, bias and norm; the fourth result is the sum."""
    simplified = "Simplified" in c.node.operator
    bias = c.maybe(3 if simplified else 4)
    total = c[0] + c[1]
    total = total if bias is None else total + bias
    epsilon = c.attribute("epsilon", 1e-12)
    shape = total.shape[-1:]
    y = (
        rms_norm(total, c[2], -1, epsilon)
        if simplified
        else F.layer_norm(total, shape, c[2], c.maybe(3), epsilon)
    )
    return (y, None, None, total) if len(c.node.outputs) > 1 else y


def _embedding_norm(c: Call) -> Any:
    tokens, segments, words, positions, kinds, scale, shift = (c.maybe(place) for place in range(7))
    total = F.embedding(tokens, words) + positions[: tokens.shape[1]]
    total = total if segments is None else total + F.embedding(segments, kinds)
    y = F.layer_norm(total, total.shape[-1:], scale, shift, c.attribute("epsilon", 1e-12))
    return (y, tokens.sum(-1), total)[: len(c.node.outputs)] if len(c.node.outputs) > 1 else y


def _split_heads(x: Tensor, heads: int) -> Tensor:
    return x.reshape(*x.shape[:-1], heads, -1).transpose(1, 2)


def _attention(c: Call) -> Any:
    """Q, K and V by one product; no cache."""
    x, weight, bias, heads = c[0], c[1], c.maybe(2), c.attribute("num_heads")
    if c.has(4) or c.has(5) or len([name for name in c.node.outputs if name]) > 1:
        raise ValueError("a cache or a bias of the scores is not known")
    product = F.linear(x, weight.mT, bias)
    sizes = c.ints("qkv_hidden_sizes") or [product.shape[-1] // 3] * 3
    query, key, value = (_split_heads(part, heads) for part in torch.split(product, sizes, -1))
    mask = None
    if c.has(3):
        if c[3].dim() == 1:
            raise ValueError("a mask of lengths is not known")
        mask = c[3].to(torch.bool)
        mask = mask[:, None, None] if mask.dim() == 2 else mask[:, None] if mask.dim() == 3 else mask
    result = F.scaled_dot_product_attention(
        query, key, value, mask, is_causal=bool(c.attribute("unidirectional", 0)), scale=c.attribute("scale")
    )
    return result.transpose(1, 2).flatten(2)


def _multi_head(c: Call) -> Any:
    """Q, K and V apart, each (batch, length, heads x width)."""
    query, key, value, heads = c[0], c[1], c[2], c.attribute("num_heads")
    if any(c.has(place) for place in (4, 6, 7)) or len([name for name in c.node.outputs if name]) > 1:
        raise ValueError("a cache or a mask of keys is not known")
    if c.has(3):
        width = query.shape[-1]
        query, key, value = (
            part + c[3][start : start + part.shape[-1]]
            for part, start in ((query, 0), (key, width), (value, 2 * width))
        )
    query = _split_heads(query, heads)
    key, value = (part if part.dim() == 4 else _split_heads(part, heads) for part in (key, value))
    result = F.scaled_dot_product_attention(
        query, key, value, c.maybe(5), is_causal=bool(c.attribute("unidirectional", 0)),
        scale=c.attribute("scale"),
    )  # fmt: skip
    return result.transpose(1, 2).flatten(2)


def _grouped(c: Call) -> Any:
    """Attention with grouped heads and a cache of its own: ``past`` holds the positions before."""
    heads, shared = c.attribute("num_heads"), c.attribute("kv_num_heads")
    query, key, value = c[0], c.maybe(1), c.maybe(2)
    if key is None:
        width = query.shape[-1] // (heads + 2 * shared)
        query, key, value = query.split([heads * width, shared * width, shared * width], -1)
    query, key, value = _split_heads(query, heads), _split_heads(key, shared), _split_heads(value, shared)
    past = c[3].shape[2] if c.has(3) else 0
    if c.attribute("do_rotary", 0):
        query, key = (_turned(c, part, past) for part in (query, key))
    if past:
        key, value = torch.cat([c[3], key], 2), torch.cat([c[4], value], 2)
    lower = torch.ones(query.shape[-2], key.shape[-2], dtype=torch.bool, device=query.device).tril(past)
    causal = query.shape[-2] == key.shape[-2]
    result = F.scaled_dot_product_attention(
        query, key, value, None if causal else lower, is_causal=causal,
        scale=c.attribute("scale", 0.0) or 1 / math.sqrt(query.shape[-1]), enable_gqa=heads != shared,
    )  # fmt: skip
    y = result.transpose(1, 2).flatten(2)
    return (y, key, value) if len(c.node.outputs) > 1 else y


def _turned(c: Call, x: Tensor, past: int) -> Tensor:
    cosine, sine = (table[past : past + x.shape[2]] for table in (c[7], c[8]))
    first, second = x.chunk(2, -1)
    return torch.cat([first * cosine - second * sine, first * sine + second * cosine], -1)


def _rotary(c: Call) -> Any:
    """Operands: x, positions, cosines, sines."""
    x, cosine, sine = c[0], F.embedding(c[1], c[2]), F.embedding(c[1], c[3])
    flat = x.dim() == 3
    if flat:
        width = c.attribute("rotary_embedding_dim", 0) or 2 * cosine.shape[-1]
        x = x.unflatten(-1, (-1, width)).transpose(1, 2)
    cosine, sine = (table.expand(x.shape[0], *table.shape[-2:]).unsqueeze(1) for table in (cosine, sine))
    if c.attribute("interleaved", 0):
        first, second = x[..., 0::2], x[..., 1::2]
        parts = (first * cosine - second * sine, first * sine + second * cosine)
        y = torch.stack(parts, -1).flatten(-2)
    else:
        first, second = x.chunk(2, -1)
        y = torch.cat((first * cosine - second * sine, first * sine + second * cosine), -1)
    return y.transpose(1, 2).flatten(2) if flat else y


def _fused_matmul(c: Call) -> Any:
    left, right = c[0], c[1]
    left = left.mT if c.attribute("transA", 0) else left
    right = right.mT if c.attribute("transB", 0) else right
    alpha = c.attribute("alpha", 1.0)
    product = torch.matmul(left, right)
    return product if alpha == 1 else product * alpha


def _matmul_few_bits(c: Call) -> Any:
    """Weights of few bits in blocks: their sizes are K and N; values are not unpacked."""
    if not c[0].is_meta:
        raise ValueError("is known by its shape alone")
    weight = torch.empty(c.attribute("N"), c.attribute("K"), dtype=c[0].dtype, device=c[0].device)
    return F.linear(c[0], weight, c.maybe(5))


MICROSOFT: Mapping[str, Operator] = {
    "com.microsoft.Attention": _attention,
    "com.microsoft.BiasGelu": _bias_gelu,
    "com.microsoft.EmbedLayerNormalization": _embedding_norm,
    "com.microsoft.FastGelu": _fast_gelu,
    "com.microsoft.FusedMatMul": _fused_matmul,
    "com.microsoft.Gelu": lambda c: F.gelu(c[0]),
    "com.microsoft.GroupQueryAttention": _grouped,
    "com.microsoft.MatMulNBits": _matmul_few_bits,
    "com.microsoft.MultiHeadAttention": _multi_head,
    "com.microsoft.QuickGelu": lambda c: c[0] * torch.sigmoid(c[0] * c.attribute("alpha", 1.702)),
    "com.microsoft.RotaryEmbedding": _rotary,
    "com.microsoft.SkipLayerNormalization": _skip_norm,
    "com.microsoft.SkipSimplifiedLayerNormalization": _skip_norm,
    "SimplifiedLayerNormalization": lambda c: rms_norm(
        c[0], c[1], c.attribute("axis", -1), c.attribute("epsilon", 1e-5)
    ),
}
"""By domain and name (one of them has ONNX Runtime's name without its domain)."""
