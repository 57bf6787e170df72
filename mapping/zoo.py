"""The networks that packages bring: all of timm, transformers' architectures and their published sizes."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from lanewise.errors import UserError
from lanewise.mapping.zoo_families import family_facts

LIBRARIES = ("timm", "transformers")


@dataclass(frozen=True, kw_only=True, order=True)
class ZooModel:
    """One network, by the name that ``lanewise simulate`` takes."""

    name: str
    library: str
    """``timm`` or ``transformers``."""
    family: str
    """The module of the library that defines it: ``resnet``, ``bert``."""
    domain: str
    """``vision``, ``language``, ``audio``, ``multimodal`` or ``other``."""
    year: int | None = None
    """In which the architecture was published; ``None`` if that is not known."""


def zoo(libraries: Sequence[str] = LIBRARIES) -> tuple[ZooModel, ...]:
    """Every network of the libraries, sorted by name.

    Of transformers: each architecture in its default configuration, but for those of :func:`left_out`, and each published
    size. Two names of one network (``bert`` and ``bert-base``) are both there.

    Args:
        libraries: ``timm``, ``transformers`` or both.

    Raises:
        UserError: There is no such library.
    """
    found: list[ZooModel] = []
    for library in libraries:
        if library not in LIBRARIES:
            raise UserError(f"library: must be {' or '.join(LIBRARIES)}, not {library}")
        found += _timm() if library == "timm" else _transformers()
    return tuple(sorted(found))


@cache
def left_out() -> Mapping[str, str]:
    """transformers' architectures that are no networks to simulate, by name, with the reason of each."""
    return {
        name: reason
        for reason, names in tomllib.loads(
            (files("lanewise.mapping") / "zoo_left_out.toml").read_text(encoding="utf-8")
        ).items()
        for name in names
    }


def _timm() -> list[ZooModel]:
    from lanewise.torchvision import make_importable

    make_importable()
    import timm
    from timm.models import model_entrypoint

    return [
        _model(f"timm:{name}", "timm", model_entrypoint(name).__module__.rpartition(".")[2], name)
        for name in timm.list_models()
    ]


def _transformers() -> list[ZooModel]:
    from transformers import CONFIG_MAPPING

    from lanewise.mapping.networks_transformers_configs import published_sizes

    architectures = {name: name for name in CONFIG_MAPPING if name not in left_out()}
    architectures |= {name: size.architecture for name, size in published_sizes().items()}
    return [
        _model(f"hf:{name}", "transformers", CONFIG_MAPPING[kind].__module__.split(".")[-2], kind)
        for name, kind in architectures.items()
    ]


def _model(name: str, library: str, family: str, known_as: str) -> ZooModel:
    domain, year = family_facts(library, family, known_as)
    return ZooModel(name=name, library=library, family=family, domain=domain, year=year)
