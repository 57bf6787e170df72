"""The study on few sentences, with bounds that a wrong table or a wrong scale breaks."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from lanewise.errors import UserError
from lanewise.models.accuracy import MINILM_FUNCTIONS, accuracy, score
from lanewise.models.fit import fit
from lanewise.models.flex_sfu import SfuTable
from lanewise.models.minilm import MiniLm, packaged_file, sentences
from lanewise.models.nn import HardwareFunctions, exact_lookup, flex_sfu_lookup, table_lookup

SEED = 5
COUNT = 24


@pytest.fixture(scope="module")
def study():
    said = []
    software = {name: exact_lookup(name) for name in MINILM_FUNCTIONS}
    result = accuracy(count=COUNT, seed=SEED, segments=(8, 32), software=software, progress=said.append)
    return result, {s.variant: s for s in result.scores}, said


@pytest.fixture(scope="module")
def network():
    return MiniLm()


@pytest.fixture(scope="module")
def reference(network):
    return network.embed(sentences(COUNT, SEED))


def test_errors_are_of_the_expected_size_and_order(study):
    """Ranges, measured with other sentences, wide enough for any seed."""
    _, scores, _ = study
    distance = {name: s.cosine_distance for name, s in scores.items()}
    assert distance["FP32"] < 1e-6
    assert 1e-8 < distance["FP16"] < 3e-6
    assert distance["FP16"] < distance["Flex-SFU, 32 segments"] < 6e-6
    assert 5e-5 < distance["Flex-SFU, 8 segments"] < 2e-3
    assert 1e-3 < distance["INT8 linears"] < 5e-2
    assert distance["INT8 linears"] < distance["INT4 linears, Hadamard"] < distance["INT4 linears"]
    assert distance["INT4 linears"] < distance["INT4 linears, unclipped"]
    assert distance["INT4 linears, Hadamard"] < distance["INT4 linears and attention, Hadamard"] < 0.4
    for name in ("INT8 linears", "INT4 linears"):  # Flex-SFU's share vanishes beside the integers'
        assert distance[f"Flex-SFU, 32 segments, {name}"] == pytest.approx(distance[name], rel=0.1)


def test_exact_software_scores_as_fp16(study):
    _, scores, _ = study
    renamed = dataclasses.replace(scores["software activations (baseline)"], variant="FP16")
    assert renamed == scores["FP16"]


def test_ranks_survive_flex_sfu(study):
    _, scores, _ = study
    assert scores["FP32"].rank_correlation == pytest.approx(1)
    assert scores["FP32"].top1_agreement == scores["FP32"].top10_overlap == 1
    assert scores["Flex-SFU, 32 segments"].rank_correlation > 0.9999
    assert scores["Flex-SFU, 32 segments"].top10_overlap > 0.95
    assert scores["Flex-SFU, 8 segments"].rank_correlation > 0.99
    assert scores["INT4 linears, unclipped"].rank_correlation < 0.9
    for s in scores.values():
        assert s.cosine_distance <= s.worst_cosine_distance


def test_result_tells_how_to_repeat_it(study):
    result, _, said = study
    values = json.loads(json.dumps(result.as_dict(), allow_nan=False))
    assert (values["sentences"], values["seed"]) == (COUNT, SEED)
    assert values["source"] == "gensim: lee_background.cor"
    assert values["versions"]["torch"] == torch.__version__
    assert said == [f"accuracy: {s['variant']}" for s in values["scores"][1:]]


def shifted(table):
    coefficients = table.coefficients
    return SfuTable(
        breakpoints=table.breakpoints, coefficients=np.concatenate([coefficients[1:], coefficients[-1:]])
    )


def without_last_bits(table):
    return SfuTable(
        breakpoints=table.breakpoints & np.uint16(0xFFC0),
        coefficients=table.coefficients & np.uint16(0xFFC0),
    )


def one_segment_wrong(table):
    """The one that -0.5 falls in has its offset's sign wrong."""
    coefficients = table.coefficients.copy()
    coefficients[np.sum(table.breakpoints.view(np.float16) <= -0.5), 0] ^= 0x8000
    return SfuTable(breakpoints=table.breakpoints, coefficients=coefficients)


@pytest.mark.parametrize("function", ["gelu", "exp"])
@pytest.mark.parametrize("damage", [None, shifted, without_last_bits, one_segment_wrong])
def test_a_wrong_table_is_seen(network, reference, function, damage):
    """The bound that 32 good segments keep, each kind of damage breaks."""
    lookups = {name: flex_sfu_lookup(name, 32) for name in MINILM_FUNCTIONS}
    if damage is not None:
        lookups[function] = table_lookup(damage(fit(function, segments=32).table()))
    embeddings = network.embed(sentences(COUNT, SEED), contexts=lambda: (HardwareFunctions(lookups),))
    result = score("x", reference, embeddings)
    assert (result.cosine_distance < 6e-6) == (damage is None)


def test_every_activation_goes_through_the_bits(network):
    made = []

    def contexts():
        made.append(HardwareFunctions({name: exact_lookup(name) for name in MINILM_FUNCTIONS}))
        return made

    network.embed(sentences(1, SEED), contexts=contexts)
    assert [hardware.calls for hardware in made] == [{"exp": 6, "softmax": 6, "gelu": 6, "tanh": 1}]


def test_embeddings_mean_what_they_should(network):
    """The trained weights are really there: paraphrases are nearer than strangers."""
    texts = [
        "A man is playing a guitar.",
        "Someone plays an instrument.",
        "The stock market fell sharply today.",
    ]
    products = network.embed(texts) @ network.embed(texts).T
    assert products[0, 1] > 0.5
    assert max(products[0, 2], products[1, 2]) < 0.2


def test_batches_are_not_padded_and_keep_their_places(network):
    texts = sentences(12, SEED)
    together, alone = network.embed(texts), torch.cat([network.embed([text]) for text in texts])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)
    assert sorted(place for places, _ in network.batches(texts) for place in places) == list(range(12))


def test_sentences():
    chosen = sentences(300, SEED)
    assert chosen == sentences(300, SEED)
    assert chosen != sentences(300, SEED + 1)
    assert len(set(chosen)) == 300
    assert sentences(10, SEED) == chosen[:10]
    assert all(6 <= len(text.split()) <= 40 for text in chosen)
    assert sum(text[-1] in '.?!"' for text in chosen) > 290


def test_score_by_hand():
    """Four unit vectors in the plane, of which one turns by a right angle."""
    angles = torch.tensor([0.0, 0.1, 1.0, 3.0])
    turned = angles + torch.tensor([0.0, 0.0, 0.0, torch.pi / 2])
    reference, embeddings = (torch.stack([a.cos(), a.sin()], 1) for a in (angles, turned))
    result = score("x", reference, embeddings)
    assert result.cosine_distance == pytest.approx(0.25)
    assert result.worst_cosine_distance == pytest.approx(1)
    assert result.relative_error == pytest.approx(2**0.5 / 4)
    assert result.top1_agreement == 0.75  # the last one's nearest was the third, now it is the first
    assert result.top10_overlap == 1  # only three others


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: accuracy(count=7), UserError, r"^sentences must be at least 8, not 7$"),
        (
            lambda: accuracy(count=10**6),
            UserError,
            r"^sentences must be 1 to \d+, which lee_background.cor has, not",
        ),
        (lambda: accuracy(segments=(12,)), UserError, r"^segments must be 4, 8, 16, 32 or 64, not 12$"),
        (
            lambda: packaged_file("gensim", "x.y"),
            UserError,
            r"^package gensim has no file x.y; expected the version",
        ),
        (
            lambda: packaged_file("nothing-here", "x"),
            UserError,
            r"^package nothing-here is not installed; expected",
        ),
        (
            lambda: score("v", torch.eye(3), torch.eye(3) / 0),
            ValueError,
            r"^embeddings of 'v' must be finite, not",
        ),
        (
            lambda: score("v", torch.eye(2), torch.eye(2)),
            ValueError,
            r"^reference must have at least 3 rows, not 2$",
        ),
    ],
)
def test_bad_input_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
