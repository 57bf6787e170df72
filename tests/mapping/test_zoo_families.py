"""Every family of both libraries has a domain, a year and a source."""

import re

import pytest

from lanewise.mapping.zoo_families import DOMAINS, family_facts, table
from lanewise.torchvision import make_importable


def test_every_module_of_timm_is_listed():
    make_importable()
    from timm.models import _registry

    modules = set(_registry._model_to_module.values())
    assert len(modules) > 90
    assert sorted(modules - table()["timm"].keys()) == []


def test_every_beginning_of_a_name_is_one_of_timm():
    make_importable()
    import timm

    names = timm.list_models()
    assert [s for s in table()["timm_models"] if not any(name.startswith(s) for name in names)] == []


def test_every_word_is_in_a_name_of_timm():
    make_importable()
    import timm

    words = {word for name in timm.list_models() for word in name.split("_")}
    assert table()["timm_words"].keys() <= words


def test_every_architecture_of_transformers_is_listed():
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES, model_type_to_module_name

    folders = {model_type_to_module_name(kind) for kind in CONFIG_MAPPING_NAMES}
    assert len(folders) > 400
    assert sorted(folders - table()["transformers"].keys()) == []


@pytest.mark.parametrize("section", ["timm", "timm_models", "timm_words", "transformers"])
def test_years_are_those_of_their_sources(section):
    for family, facts in table()[section].items():
        assert facts["domain"] in DOMAINS, family
        assert facts["source"], family
        if "year" not in facts:
            assert family.startswith(("timm_", "test_")), family  # wrappers of any network, and toys
            continue
        assert 2012 <= facts["year"] <= 2026, family
        if match := re.fullmatch(r"arXiv (\d\d)(\d\d)\.\d{4,5}", facts["source"]):
            assert 2000 + int(match[1]) == facts["year"], family
            assert 1 <= int(match[2]) <= 12, family
        else:
            assert "arXiv" not in facts["source"], family


@pytest.mark.parametrize(
    ("arguments", "facts"),
    [
        (("timm", "efficientnet"), ("vision", 2019)),
        (("timm", "efficientnet", "mobilenetv2_100"), ("vision", 2018)),
        (("timm", "metaformer", "poolformer_s12"), ("vision", 2021)),
        (("timm", "metaformer", "caformer_s18"), ("vision", 2022)),
        (("timm", "vision_transformer", "vit_giantopt_patch16_siglip_256"), ("vision", 2023)),
        (("timm", "vision_transformer", "vit_base_patch14_reg4_dinov2"), ("vision", 2023)),
        (("timm", "vision_transformer", "vit_base_patch16_224"), ("vision", 2020)),
        (("timm", "eva", "vit_huge_plus_patch16_dinov3"), ("vision", 2025)),
        (("timm", "eva", "eva_giant_patch14_clip_224"), ("vision", 2022)),
        (("timm", "resnet", "seresnext50_32x4d"), ("vision", 2017)),
        (("timm", "byobnet", "resnext26ts"), ("vision", 2021)),
        (("timm", "efficientnet", "test_efficientnet"), ("other", None)),
        (("timm", "of_tomorrow"), ("vision", None)),
        (("transformers", "bert"), ("language", 2018)),
        (("transformers", "speech_to_text", "speech_to_text"), ("audio", 2020)),
        (("transformers", "clap", "clap_text_model"), ("language", 2022)),
        (("transformers", "data2vec", "data2vec-audio"), ("audio", 2022)),
        (("transformers", "encoder-decoder", "encoder-decoder"), ("language", 2019)),
        (("transformers", "of_tomorrow", "of_tomorrow_vision"), ("vision", None)),
        (("pt2", "resnet"), ("other", None)),
    ],
)  # fmt: skip
def test_facts(arguments, facts):
    assert family_facts(*arguments) == facts
