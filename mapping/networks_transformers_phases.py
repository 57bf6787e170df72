"""The two phases of a decoder-only language model: reading the text there is, and one step that adds a token.

*Prefill* runs all tokens through the network and gives the logits of the last one, which are all that generation needs.
*Decode* runs one new token against what the network keeps of ``context`` earlier ones: keys and values, as transformers'
``DynamicCache`` holds them, or the states of recurrent layers. A layer with a sliding window keeps no more than its window.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from lanewise.errors import UserError
from lanewise.mapping.networks_transformers_inputs import Request, numbers
from lanewise.mapping.recorder import Recorder

CONTEXT = 1024
"""Earlier tokens of a decode step where the user names no number and the network has as many positions."""

_FEW = 7
"""Tokens of the run that finds out what a network keeps."""


def prefill_inputs(request: Request) -> dict[str, Any]:
    """``request.tokens`` tokens, and no logits but the last one's.

    Raises:
        UserError: The network has fewer positions.
    """
    return _options(request) | {"input_ids": numbers(request.batch, request.tokens)}


def decode_inputs(request: Request, context: int | None) -> dict[str, Any]:
    """One new token, and what is kept of ``context`` earlier ones, all on the meta device.

    Raises:
        UserError: The network has too few positions, or keeps nothing that is known here.
    """
    limit = request.positions
    if context is None:
        context = min(CONTEXT, limit - 1) if limit else CONTEXT
    if limit and context >= limit:
        raise UserError(f"{request.model}: context must be at most {limit - 1}, not {context}")
    few = {"input_ids": numbers(request.batch, _FEW)} | _options(request)
    with Recorder(request.network, {"input_ids": few["input_ids"]}).recording():
        result = request.network(**few)
    name = "cache_params" if getattr(result, "cache_params", None) is not None else "past_key_values"
    cache: Any = getattr(result, name, None)
    if getattr(cache, "layers", None) is None:
        raise UserError(f"{request.model}: keeps nothing for a decode step; expected transformers' cache")
    for layer in cache.layers:
        _lengthen(layer, context)
    return _options(request) | {"input_ids": numbers(request.batch, 1), name: cache}


def _options(request: Request) -> dict[str, Any]:
    return {"use_cache": True} | ({"logits_to_keep": 1} if "logits_to_keep" in request.accepted else {})


def _lengthen(layer: Any, context: int) -> None:
    """Make a layer of the cache hold ``context`` tokens instead of :data:`_FEW`; states stay as they are."""
    kept = context
    if hasattr(layer, "cumulative_length"):
        layer.cumulative_length = context
        kept = min(context, layer.sliding_window - 1)
    for name in ("keys", "values", "indexer_keys"):
        tensor = getattr(layer, name, None)
        if isinstance(tensor, Tensor) and tensor.dim() > 1 and tensor.shape[-2] in (_FEW, kept):
            setattr(layer, name, torch.empty(*tensor.shape[:-2], kept, tensor.shape[-1], device="meta"))


def cached_tensors(name: str, cache: Any) -> Iterator[tuple[str, Tensor]]:
    """What a cache holds, each with a name of its own."""
    for place, layer in enumerate(cache.layers):
        for key, value in vars(layer).items():
            several = dict(enumerate(value)) if isinstance(value, list) else value
            for part, tensor in several.items() if isinstance(several, dict) else [("", several)]:
                if isinstance(tensor, Tensor) and tensor.is_meta and tensor.dim():
                    yield f"{name}.{place}.{key}{part}", tensor
