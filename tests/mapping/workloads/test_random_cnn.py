"""Recombined networks on the core: what is loaded, what is made on chip, which layers are better off."""

import dataclasses

import pytest

from lanewise.config import MachineConfig, WeightGeneratorConfig
from lanewise.mapping.workloads.random_cnn import (
    Variant,
    Weights,
    each_as_is_faster,
    filter_bytes_loaded,
    generating,
    layers,
    spatial_bytes,
    with_bus,
)
from lanewise.models.random_cnn.resnet import resnet18d, resnet20, unfolded

MACHINE = MachineConfig()


def variants(network: str, **fields: int) -> dict[Weights, Variant]:
    return {weights: Variant(network=network, weights=weights, **fields) for weights in Weights}


def test_only_random_filters_are_generated():
    forms = variants("small", expansion=3)
    tasks = {weights: form.lowered().tasks for weights, form in forms.items()}
    made = [
        task.name for task in tasks[Weights.GENERATED] if getattr(task.work, "generated", None) is not None
    ]
    assert made == ["features.0.spatial", "features.3.spatial", "features.6.spatial"]
    assert not any(getattr(task.work, "generated", None) for task in tasks[Weights.LOADED])
    assert [task.name for task in tasks[Weights.LOADED]] == [task.name for task in tasks[Weights.GENERATED]]
    assert spatial_bytes(forms[Weights.GENERATED].lowered()) == 12 * 5 + 12 * 18 + 24 * 18


def test_filters_made_on_chip_are_not_loaded():
    forms = variants("resnet20", expansion=2)
    found = {weights: form.simulate(with_bus(MACHINE, 4)) for weights, form in forms.items()}
    loaded = {weights: sum(cost.loaded_bytes for cost in s.machine.costs) for weights, s in found.items()}
    assert filter_bytes_loaded(found[Weights.GENERATED]) == 0
    assert filter_bytes_loaded(found[Weights.LOADED]) >= spatial_bytes(forms[Weights.GENERATED].lowered())
    assert loaded[Weights.LOADED] > loaded[Weights.GENERATED]
    assert found[Weights.GENERATED].machine.cycles <= found[Weights.LOADED].machine.cycles
    assert found[Weights.GENERATED].macs == found[Weights.LOADED].macs > 2 * found[Weights.FOLDED].macs
    assert found[Weights.GENERATED].machine.config.weight_generator.enabled
    assert not found[Weights.FOLDED].machine.config.weight_generator.enabled
    cycles, _, count = each_as_is_faster(found[Weights.FOLDED], found[Weights.GENERATED])
    pairs = list(layers(found[Weights.FOLDED], found[Weights.GENERATED]))
    assert len(pairs) == 19
    assert count == sum(layer.pair_cycles < layer.folded.cycles for layer in pairs)
    gained = sum(max(0, layer.folded.cycles - layer.pair_cycles) for layer in pairs)
    assert cycles == found[Weights.FOLDED].machine.cycles - gained


def test_a_machine_s_own_generator_is_kept():
    own = dataclasses.replace(MACHINE, weight_generator=WeightGeneratorConfig(enabled=True, bytes_per_clk=8))
    assert generating(own) is own
    assert generating(MACHINE).weight_generator == WeightGeneratorConfig(enabled=True)


def test_the_paper_s_shapes():
    """Convolutions of ResNet-18d and ResNet-20, counted by hand: with the 1x1 ones around and behind, weights of E = 1."""
    import torch

    spatial = {
        name: sum(m.weight.numel() for n, m in network.named_modules() if n.endswith("spatial"))
        for name, network in (("resnet18d", resnet18d(unfolded(1))), ("resnet20", resnet20(unfolded(1))))
    }
    stages = {w: 9 * w * w for w in (16, 32, 64, 128, 256, 512)}
    steps = sum(9 * w * w // 2 for w in (128, 256, 512))
    stem = 9 * (3 * 32 + 32 * 32 + 32 * 64)
    assert (
        spatial["resnet18d"] == stem + 4 * stages[64] + 3 * (stages[128] + stages[256] + stages[512]) + steps
    )
    assert spatial["resnet20"] == 9 * 3 * 16 + 6 * stages[16] + 5 * (stages[32] + stages[64]) + 9 * (
        16 * 32 + 32 * 64
    )
    assert resnet18d(unfolded(1))(torch.zeros(1, 3, 64, 64)).shape == (1, 1000)


def test_what_is_no_variant():
    with pytest.raises(ValueError, match="network must be one of resnet18d, resnet20, small"):
        Variant(network="vgg", weights=Weights.FOLDED)
    with pytest.raises(ValueError, match="activation must be relu or silu"):
        Variant(network="small", weights=Weights.FOLDED, activation="tanh")
    with pytest.raises(ValueError, match="batch must be at least 1"):
        Variant(network="small", weights=Weights.FOLDED, batch=0)
