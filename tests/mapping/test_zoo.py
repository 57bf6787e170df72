"""The zoo holds every network of both libraries, each once."""

import pytest

from lanewise.errors import UserError
from lanewise.mapping.networks_transformers_configs import published_sizes
from lanewise.mapping.zoo import left_out, zoo
from lanewise.torchvision import make_importable


def test_all_of_timm():
    make_importable()
    import timm

    models = zoo(("timm",))
    assert [model.name for model in models] == sorted(f"timm:{name}" for name in timm.list_models())
    toys = {model.name for model in models if model.domain != "vision"}
    assert toys == {model.name for model in models if model.name.startswith("timm:test_")}
    assert next(model for model in models if model.name == "timm:resnet50").family == "resnet"


def test_every_architecture_of_transformers_is_there_or_left_out_for_a_reason():
    from transformers import CONFIG_MAPPING

    models = {model.name.removeprefix("hf:"): model for model in zoo(("transformers",))}
    assert models.keys() | left_out().keys() == CONFIG_MAPPING.keys() | published_sizes().keys()
    assert not models.keys() & left_out().keys()
    assert len(models) > 700
    assert (models["bert-large"].family, models["bert-large"].domain) == ("bert", "language")
    assert models["clip_vision_model"].domain == "vision"
    assert all(reason.strip() for reason in left_out().values())


def test_both_together():
    assert set(zoo()) == {*zoo(("timm",)), *zoo(["transformers"])}


def test_a_library_that_there_is_not():
    with pytest.raises(UserError, match=r"^library: must be timm or transformers, not torchhub$"):
        zoo(("torchhub",))
