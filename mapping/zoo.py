"""The networks that packages bring: all of timm, and transformers' architectures."""

from dataclasses import dataclass

from lanewise.mapping.zoo_families import family_facts


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


def zoo() -> tuple[ZooModel, ...]:
    """Every network by name."""
    from lanewise.torchvision import make_importable

    make_importable()
    import timm
    from timm.models import _registry

    models = []
    for name in timm.list_models():
        family = _registry._model_to_module[name]
        domain, year = family_facts("timm", family, name)
        models.append(ZooModel(name=f"timm:{name}", library="timm", family=family, domain=domain, year=year))
    domain, year = family_facts("transformers", "bert")
    minilm = ZooModel(name="hf:minilm", library="transformers", family="bert", domain=domain, year=year)
    return (*models, minilm)
