"""timm's image models by name."""

from typing import Any

from lanewise.errors import UserError
from lanewise.mapping.networks_shared import empty_weights, first_line, unknown_model
from lanewise.torchvision import make_importable


def load_timm(name: str, batch: int, resolution: int | None) -> tuple[Any, tuple[Any, ...]]:
    """The model ``name`` and its image, shape ``(batch, channels, side, side)``.

    Raises:
        UserError: timm has no such model, or it cannot be built at that resolution.
    """
    import torch

    make_importable()
    import timm

    if not timm.is_model(name.partition(".")[0]):
        raise unknown_model(f"timm:{name}", "a timm model", name, timm.list_models())
    try:
        with empty_weights():
            network = timm.create_model(name)
            size = network.pretrained_cfg["input_size"]
            if resolution is not None and resolution != size[-1]:
                size = (size[0], resolution, resolution)
                network = _resized(timm, name, resolution) or network
    except (RuntimeError, ValueError, AssertionError) as error:
        raise UserError(f"timm:{name}: cannot be built: {first_line(error)}") from error
    return network, (torch.empty(batch, *size, device="meta"),)


def _resized(timm: Any, name: str, resolution: int) -> Any:
    """The model for another image size; ``None`` where that is no parameter of it (convolutional ones)."""
    try:
        return timm.create_model(name, img_size=resolution)
    except TypeError:
        return None
