"""When, and for what, each family of networks was published: ``zoo_families.toml``, which gives its sources."""

import re
import tomllib
from functools import cache
from importlib.resources import files
from typing import Any

DOMAINS = ("vision", "language", "audio", "multimodal", "other")
"""What networks work on; ``audio`` includes speech, ``other`` series, molecules and control."""

_PLAIN = ("eva", "naflexvit", "vision_transformer")
"""Modules of timm that hold transformers of many papers, told apart by a word in their names."""

_PARTS = {
    "text": "language", "vision": "vision", "image": "vision", "vqgan": "vision", "vqmodel": "vision",
    "audio": "audio", "hifigan": "audio", "bigvgan": "audio", "token2wav": "audio",
}  # fmt: skip
"""Words in the name of a network's part, and the part's domain."""


def family_facts(library: str, family: str, model: str = "") -> tuple[str, int | None]:
    """Domain and year of a network.

    Args:
        library: ``timm`` or ``transformers``; of any other nothing is known.
        family: Module of timm, or folder of ``transformers.models``: ``resnet``, ``clip``.
        model: Name within the library, ``seresnet50`` or ``clip_text_model``, which may tell it from its family: timm has
            several architectures in some modules, and a part of a network may be of another domain.

    Returns:
        One of :data:`DOMAINS`; and the year in which the architecture was first published, ``None`` if that is not known.

    >>> family_facts("timm", "resnet"), family_facts("timm", "resnet", "seresnet50")
    (('vision', 2015), ('vision', 2017))
    >>> family_facts("transformers", "clip"), family_facts("transformers", "clip", "clip_text_model")
    (('multimodal', 2021), ('language', 2021))
    >>> family_facts("onnx", "mine")
    ('other', None)
    """
    known = table()
    if library == "timm":
        own = [start for start in known["timm_models"] if model.startswith(start)]
        if own:
            facts = known["timm_models"][max(own, key=len)]
        else:
            facts = known["timm"].get(family, {})
            words = [known["timm_words"].get(word, facts) for word in model.split("_")]
            if family in _PLAIN:
                facts = max(facts, *words, key=lambda fact: int(fact["year"]))
        return facts.get("domain", "vision"), facts.get("year")
    if library != "transformers":
        return "other", None
    name = family.replace("-", "_")
    facts = known["transformers"].get(name, {})
    part = re.split("[-_]", model.replace("-", "_").removeprefix(name))
    domains = [_PARTS[word] for word in part if word in _PARTS]
    return domains[0] if domains else facts.get("domain", "other"), facts.get("year")


@cache
def table() -> dict[str, dict[str, dict[str, Any]]]:
    """The file as it is: section, then family, then ``year``, ``domain`` and ``source``."""
    return tomllib.loads((files("lanewise.mapping") / "zoo_families.toml").read_text(encoding="utf-8"))
