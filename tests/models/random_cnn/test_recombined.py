"""Recombined convolutions: folding, filters of each kind, what is trained."""

import numpy as np
import pytest
import torch

from lanewise.models.random_cnn.config import StudyConfig
from lanewise.models.random_cnn.fidelity import in_int4
from lanewise.models.random_cnn.network import SmallNetwork
from lanewise.models.random_cnn.recombined import Filters, RecombinedConv2d
from lanewise.models.random_cnn.study import folding_claim
from lanewise.models.weight_generator import generated_filters

FROZEN = [filters for filters in Filters if filters.frozen]


def block(filters: Filters, seed: int = 3, expansion: int = 6) -> RecombinedConv2d:
    generator = torch.Generator().manual_seed(seed)
    return RecombinedConv2d(
        (5, 7), kernel=3, expansion=expansion, filters=filters, generator=generator, seed=seed
    )


def test_it_folds():
    claim = folding_claim(5)
    assert claim.holds
    assert 0 < float(claim.measured.split()[0]) <= 1e-5


def test_the_claim_can_fail(monkeypatch):
    monkeypatch.setattr(RecombinedConv2d, "unfolded", lambda self, x: self(x) * (1 + 2e-5))
    assert not folding_claim(5).holds


@pytest.mark.parametrize("filters", FROZEN)
def test_frozen_filters_stay_and_the_others_learn(filters):
    for kind, trained in ((filters, {"pointwise"}), (Filters.LEARNED, {"pointwise", "spatial"})):
        layer = block(kind)
        before = layer.spatial.detach().clone()
        optimiser = torch.optim.SGD(layer.parameters(), lr=0.1, weight_decay=0.1)
        layer(torch.randn(2, 5, 6, 6)).square().sum().backward()
        optimiser.step()
        assert {name for name, _ in layer.named_parameters()} == trained
        assert torch.equal(layer.spatial, before) == kind.frozen
        assert "spatial" in layer.state_dict()


@pytest.mark.parametrize("filters", list(Filters))
def test_all_kinds_have_one_variance_and_the_same_other_numbers(filters):
    layer = block(filters, expansion=400)
    fan_in = 5 * 9
    assert float(layer.spatial.detach().square().mean()) == pytest.approx(1 / (3 * fan_in), rel=0.02)
    assert torch.equal(layer.pointwise, block(Filters.UNIFORM, expansion=400).pointwise)
    codes = layer.spatial.detach() * np.sqrt(3 * fan_in * 17.5)
    if filters is Filters.GENERATED:
        assert np.array_equal(codes.round().numpy(), generated_filters(3, 7 * 400, fan_in))
        assert torch.allclose(codes, codes.round(), atol=1e-4)


def test_generated_filters_lose_nothing_in_int4_unless_they_are_folded():
    network = SmallNetwork(width=3, kernel=3, expansion=4, filters=Filters.GENERATED, seed=1)
    unfolded = in_int4(network, folded=False, activation_bits=8)
    spatial = unfolded.features[0][0].convolution.weight
    assert torch.equal(spatial.flatten(1), network.blocks[0].spatial)
    folded = in_int4(network, folded=True)
    weight = folded.features[0].convolution.weight
    assert not torch.allclose(weight, network.blocks[0].weight())
    assert all(len(row.unique()) <= 16 for row in weight)
    images = torch.randn(4, 8, 8)
    with torch.no_grad():
        exact = network.eval()(images)
        assert float((unfolded(images) - exact).norm() / exact.norm()) < 0.3
    with pytest.raises(ValueError, match="activation_bits must be 4 or 8, not 5"):
        in_int4(network, folded=True, activation_bits=5)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kernels": (3, 4)}, "kernels must be odd"), ({"expansions": (0,)}, "expansions must be at least 1"),
        ({"seeds": 1}, "seeds must be at least 2"), ({"kernels": ()}, "kernels must be odd"),
    ],
)  # fmt: skip
def test_what_is_no_study(changes, words):
    with pytest.raises(ValueError, match=words):
        StudyConfig(**changes)
