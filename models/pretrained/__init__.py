"""Pretrained networks that installed packages carry, each with a task to score it by."""

from collections.abc import Callable, Mapping
from importlib import import_module
from types import MappingProxyType

from lanewise.errors import UserError
from lanewise.models.pretrained.network import PretrainedNetwork

NETWORKS: Mapping[str, tuple[str, str]] = MappingProxyType({
    "minilm": ("minilm", "MiniLmArticles"),
    "smollm2": ("smollm2", "SmolLm2"),
    "ocr": ("ocr", "PpOcr"),
    "ocr_pages": ("ocr_pages", "PpPages"),
    "ocr_direction": ("ocr_direction", "PpDirection"),
    "magika": ("magika", "Magika"),
    "efficientnet": ("efficientnet", "EfficientNetLite0"),
    "silero": ("silero", "SileroVad"),
    "speaker": ("speaker", "Resemblyzer"),
    "basic_pitch": ("basic_pitch", "BasicPitch"),
    "g2p": ("g2p", "G2p"),
    "pnet": ("mtcnn", "PNet"),
    "rnet": ("mtcnn", "RNet"),
    "onet": ("mtcnn", "ONet"),
})  # fmt: skip
"""Module and class of each, imported when asked for."""


def pretrained(name: str) -> PretrainedNetwork:
    """The network of that name.

    Raises:
        UserError: There is none.
    """
    if name not in NETWORKS:
        raise UserError(f"network must be one of {', '.join(NETWORKS)}, not {name!r}")
    module, kind = NETWORKS[name]
    make: Callable[[], PretrainedNetwork] = getattr(import_module(f"{__name__}.{module}"), kind)
    return make()
