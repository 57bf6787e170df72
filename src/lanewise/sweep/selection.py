"""Which networks: all of the zoo, or names and patterns."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path

from lanewise.errors import UserError
from lanewise.files import atomic_write
from lanewise.mapping.zoo import ZooModel, zoo
from lanewise.mapping.zoo_families import family_facts
from lanewise.sources import installed, source_hash
from lanewise.sweep.sources import PACKAGES

_LIBRARIES = {"hf": "transformers"}


def select(names: Sequence[str], *, known: Sequence[ZooModel]) -> tuple[ZooModel, ...]:
    """The networks that ``names`` say, each once, in the zoo's order; all of the zoo if there is no name.

    Args:
        names: ``timm:resnet18``, patterns such as ``timm:resnet*``, or any other name that ``lanewise simulate`` takes.
        known: The zoo.

    Raises:
        UserError: A name is none, or a pattern fits no network.

    >>> known = [ZooModel(name=f"timm:{name}", library="timm", family="resnet", domain="vision") for name in ("resnet18", "resnet34")]
    >>> [model.name for model in select(["timm:*34", "hf:bert"], known=known)]
    ['timm:resnet34', 'hf:bert']
    """
    if not names:
        return tuple(known)
    by_name = {model.name: model for model in known}
    wanted: dict[str, ZooModel] = {}
    for name in names:
        if name in by_name:
            wanted[name] = by_name[name]
        elif any(mark in name for mark in "*?["):
            found = {model.name: model for model in known if fnmatchcase(model.name, name)}
            if not found:
                raise UserError(f"{name}: fits no network; expected a pattern such as timm:resnet*")
            wanted |= found
        else:
            wanted[name] = _other(name, by_name)
    order = {name: place for place, name in enumerate(by_name)}
    return tuple(sorted(wanted.values(), key=lambda model: order.get(model.name, len(order))))


def names_in(path: Path) -> list[str]:
    """The names and patterns of a text file, one a line; what is behind ``#`` is none.

    Raises:
        UserError: The file cannot be read, or has no name.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read: {error.strerror}; expected a name or pattern a line"
        ) from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: is no text; expected a name or pattern a line") from None
    names = [name for line in lines if (name := line.partition("#")[0].strip())]
    if not names:
        raise UserError(f"{path}: has no names; expected a name or pattern a line")
    return names


def known_networks(cache: Path) -> tuple[ZooModel, ...]:
    """The zoo, from the cache folder if it is there: to list it takes the libraries' import."""
    versions = [installed(package) for package in PACKAGES]
    key = hashlib.sha256(json.dumps([versions, source_hash("lanewise.mapping.zoo")]).encode()).hexdigest()
    path = cache / "zoo" / f"{key[:16]}.json"
    try:
        return tuple(ZooModel(**model) for model in json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        models = tuple(zoo())
    with atomic_write(path) as stream:
        stream.write(json.dumps([asdict(model) for model in models]).encode())
    return models


def _other(name: str, known: Mapping[str, ZooModel]) -> ZooModel:
    """A network that is not in the zoo."""
    scheme, separator, rest = name.partition(":")
    if scheme == "timm" and (untagged := known.get(name.partition(".")[0])) is not None:
        return replace(untagged, name=name)
    if not separator or not rest or scheme == "timm":
        close = get_close_matches(name, list(known), n=3, cutoff=0.6)
        hint = f"; did you mean {', '.join(close)}?" if close else ""
        raise UserError(
            f"{name}: unknown network; expected timm:NAME, hf:NAME or a pattern such as timm:resnet*{hint}"
        )
    library = _LIBRARIES.get(scheme, scheme)
    domain, year = family_facts(library, rest)
    return ZooModel(name=name, library=library, family=rest, domain=domain, year=year)
