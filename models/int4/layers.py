"""Layers whose products are INT4, with the parameters, names and shapes of PyTorch's own."""

from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional

from lanewise.errors import UserError
from lanewise.models.int4.attention_product import attention_product
from lanewise.models.int4.config import Int4Config
from lanewise.models.int4.product import Int4Product


class Int4Linear(nn.Linear):
    """``nn.Linear`` on an INT4 array; the bias is added in FP32.

    Its state dict is ``nn.Linear``'s and ``int4.step_x``, ``int4.step_weight``, ``int4.generators``: see
    :class:`~lanewise.models.int4.product.Int4Product`.
    """

    int4: Int4Product

    @staticmethod
    def of(linear: nn.Linear, config: Int4Config | None = None, place: int = 0) -> "Int4Linear":
        """With the parameters of ``linear``, shared, not copied.

        >>> layer = Int4Linear.of(nn.Linear(64, 8))
        >>> layer(torch.ones(2, 3, 64)).shape
        torch.Size([2, 3, 8])
        """
        layer = Int4Linear(linear.in_features, linear.out_features, bias=False, device="meta")
        layer.weight, layer.bias = linear.weight, linear.bias
        layer.int4 = Int4Product(linear.weight.detach(), config or Int4Config(), place)
        return layer.train(linear.training)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Shape ``(..., in_features)`` to ``(..., out_features)``."""
        result: torch.Tensor = self.int4(input, self.weight)
        return result if self.bias is None else result + self.bias


class Int4MultiheadAttention(nn.MultiheadAttention):
    """``nn.MultiheadAttention`` whose projections are INT4; QK^T and PV are INT8 with ``attention_bits=8``, else real, as in the paper.

    Softmax is real always, and masks are added to real scores. Self-attention projects to Q, K and V in one product. The steps are of the
    projection's input and of its weight, one each.
    """

    int4: Int4Product

    @staticmethod
    def of(attention: nn.MultiheadAttention, config: Int4Config, place: int = 0) -> "Int4MultiheadAttention":
        """With the parameters of ``attention``, shared; its ``out_proj`` is left as it is.

        Raises:
            UserError: It has key and value widths of their own, or appends biases or zeros to keys.
        """
        if not attention._qkv_same_embed_dim or attention.bias_k is not None or attention.add_zero_attn:
            raise UserError(
                "attention must be of one width, without add_bias_kv and add_zero_attn, to be INT4; exclude it"
            )
        layer = Int4MultiheadAttention(
            attention.embed_dim, attention.num_heads, attention.dropout, attention.in_proj_bias is not None,
            batch_first=attention.batch_first, device="meta",
        )  # fmt: skip
        layer.in_proj_weight, layer.in_proj_bias = attention.in_proj_weight, attention.in_proj_bias
        layer.out_proj = attention.out_proj
        layer.int4 = Int4Product(layer.in_proj_weight.detach(), config, place)
        return layer.train(attention.training)

    def forward(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, key_padding_mask: torch.Tensor | None = None,
        need_weights: bool = True, attn_mask: torch.Tensor | None = None, average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:  # fmt: skip
        """As PyTorch's, batched or not."""
        same = query is key and key is value
        batched = query.dim() == 3
        inputs = [query] if same else [query, key, value]
        inputs = [x if batched else x.unsqueeze(0 if self.batch_first else 1) for x in inputs]
        if not self.batch_first:
            inputs = [x.transpose(0, 1) for x in inputs]
        mask = self._mask(query, key_padding_mask, attn_mask, is_causal, batched)
        q, k, v = (self._heads(part) for part in self._projected(inputs))
        scores = self._product(q, k.mT) * self.head_dim**-0.5
        weights = torch.softmax(scores if mask is None else scores + mask, -1)
        weights = functional.dropout(weights, self.dropout, self.training)
        mixed = self._product(weights, v).transpose(1, 2).flatten(2)
        result: torch.Tensor = self.out_proj(mixed)
        if not self.batch_first:
            result = result.transpose(0, 1)
        shown = (weights.mean(1) if average_attn_weights else weights) if need_weights else None
        if batched:
            return result, shown
        return result.squeeze(0 if self.batch_first else 1), None if shown is None else shown.squeeze(0)

    def _product(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """``x @ y`` of each head, shapes ``(batch, heads, m, k)`` and ``(batch, heads, k, n)``."""
        return x @ y if self.int4.config.attention_bits is None else attention_product(x, y, self.int4)

    def _projected(self, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
        """Q, K and V, each of shape ``(batch, length, width)``."""
        bias = cast("torch.Tensor | None", self.in_proj_bias)
        if len(inputs) == 1:
            packed: torch.Tensor = self.int4(inputs[0], self.in_proj_weight)
            return list((packed if bias is None else packed + bias).chunk(3, -1))
        parts: list[Any] = [
            self.int4(x, weight) for x, weight in zip(inputs, self.in_proj_weight.chunk(3), strict=True)
        ]
        return parts if bias is None else [part + b for part, b in zip(parts, bias.chunk(3), strict=True)]

    def _heads(self, x: torch.Tensor) -> torch.Tensor:
        """Shape ``(batch, length, width)`` to ``(batch, heads, length, width / heads)``."""
        return x.reshape(*x.shape[:2], self.num_heads, self.head_dim).transpose(1, 2)

    def _mask(
        self, query: torch.Tensor, padding: torch.Tensor | None, mask: torch.Tensor | None, causal: bool, batched: bool
    ) -> torch.Tensor | None:  # fmt: skip
        """What is added to the scores, of a shape that broadcasts to theirs."""
        if causal and mask is None:
            raise UserError("attn_mask must be given where is_causal is true, not None")

        def added(given: torch.Tensor | None) -> torch.Tensor | None:
            if given is None or given.dtype != torch.bool:
                return given
            return torch.zeros(given.shape, dtype=query.dtype).masked_fill_(given, -torch.inf)

        total, padded = added(mask), added(padding)
        if total is not None and total.dim() == 3:
            total = total.reshape(-1, self.num_heads, *total.shape[1:])
        if padded is None:
            return total
        padded = padded[:, None, None, :] if batched else padded[None, None, None, :]
        return padded if total is None else total + padded
