"""Tokens that stand for images, sounds and videos in a sequence of text."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from lanewise.mapping.networks_transformers_inputs import Request
from lanewise.mapping.recorder import Recorder

_MODALITIES = {
    "get_image_features": (
        "pixel_values",
        ("image_token_id", "image_token_index", "media_placeholder_token_id"),
    ),
    "get_video_features": ("pixel_values_videos", ("video_token_id", "video_token_index")),
    "get_audio_features": ("input_features", ("audio_token_id", "audio_token_index")),
}
"""How a network makes the features of each, its main input, and where the configuration keeps the token."""


def with_placeholders(request: Request, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """``inputs`` with tokens whose values are known: one for each feature of an image, then the text's.

    How many features there are is what the network's own method says.
    """
    network, config = request.network, request.config
    front: list[int] = []
    for method, (main, keys) in _MODALITIES.items():
        token = next((v for key in keys if isinstance(v := getattr(config, key, None), int)), None)
        if main not in inputs or token is None or not hasattr(network, method):
            continue
        front += [token] * _features(request, method, inputs)
    if not front:
        return dict(inputs)
    vocabulary = int(config.get_text_config().vocab_size)
    known = {v for v in vars(config).values() if isinstance(v, int)}
    text = next(value for value in range(5, vocabulary) if value not in known)
    row = torch.tensor([front + [text] * request.tokens], device="cpu")
    found = {**inputs, "input_ids": row.repeat(request.batch, 1)}
    kinds = torch.tensor([[1] * len(front) + [0] * request.tokens], device="cpu").repeat(request.batch, 1)
    for name in ("mm_token_type_ids", "token_type_ids"):
        if name in request.accepted:
            found[name] = kinds
    return found


def _features(request: Request, method: str, inputs: Mapping[str, Tensor]) -> int:
    """Features of one sequence."""
    import inspect

    function = getattr(request.network, method)
    taken = inspect.signature(inspect.unwrap(function)).parameters
    arguments = {name: value for name, value in inputs.items() if name in taken and name != "input_ids"}
    with Recorder(request.network, arguments).recording():
        result = function(**arguments)
    result = getattr(result, "pooler_output", result)
    total = sum(tensor.numel() // tensor.shape[-1] for tensor in _tensors(result))
    return total // request.batch


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _tensors(part)
