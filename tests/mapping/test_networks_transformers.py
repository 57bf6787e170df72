"""transformers' architectures: published sizes, inputs of every kind, prefill and decode."""

from dataclasses import replace

import pytest
import torch

from lanewise.errors import UserError
from lanewise.mapping.networks import load
from lanewise.mapping.networks_transformers_configs import published_sizes
from lanewise.mapping.trace import trace, trace_model


def shapes(inputs):
    return {name: tuple(tensor.shape) for name, tensor in inputs.items()}


@pytest.mark.parametrize(
    "name", ["bert-large", "t5-small", "vit-large", "whisper-small", "resnet-50", "roberta-base", "gpt2-xl"]
)
def test_parameters_of_published_sizes(name):
    network, _ = load(f"hf:{name}")
    millions = sum(parameter.numel() for parameter in network.parameters()) / 1e6
    assert millions == pytest.approx(published_sizes()[name].parameters, rel=0.02)


@pytest.mark.parametrize("name", ["llama-2-7b", "mixtral-8x7b", "qwen3-0.6b", "mamba-130m"])
def test_parameters_of_language_models_with_their_head(name):
    network, _ = load(f"hf:{name}", phase="prefill")
    network.tie_weights()
    millions = sum(parameter.numel() for parameter in network.parameters()) / 1e6
    assert millions == pytest.approx(published_sizes()[name].parameters, rel=0.02)


def test_architectures_and_sizes_are_enough():
    from transformers import CONFIG_MAPPING

    assert all(size.architecture in CONFIG_MAPPING for size in published_sizes().values())
    assert not published_sizes().keys() & CONFIG_MAPPING.keys()
    assert len(published_sizes()) > 150


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("hf:wav2vec2", {"input_values": (2, 160_000)}),
        ("hf:whisper-tiny", {"input_features": (2, 80, 3000), "decoder_input_ids": (2, 128)}),
        ("hf:videomae", {"pixel_values": (2, 16, 3, 224, 224)}),
        ("hf:clip", {"input_ids": (2, 77), "pixel_values": (2, 3, 224, 224)}),
        ("hf:bros", {"input_ids": (2, 128), "bbox": (2, 128, 8)}),
        ("hf:clip_vision_model", {"pixel_values": (2, 3, 224, 224)}),
        ("hf:encodec", {"input_values": (2, 1, 230_400)}),
    ],
)
def test_inputs_of_every_kind(model, expected):
    assert shapes(load(model, batch=2)[1]) == expected


def test_an_image_stands_in_the_text_as_its_features():
    """14 x 14 patches of 24 pixels each at 336: (336 / 14)^2 features."""
    _, inputs = load("hf:llava", sequence=16)
    network_token = 32000
    assert tuple(inputs["input_ids"].shape) == (1, 576 + 16)
    assert (inputs["input_ids"] == network_token).sum() == 576


# Phases

HIDDEN, INNER, LAYERS, HEADS, KEY_HEADS, VOCABULARY = (
    576,
    1536,
    3,
    9,
    3,
    49152,
)  # smollm2-135m, a llama, of fewer layers
WEIGHTS = LAYERS * (HIDDEN * HIDDEN * 2 + 2 * HIDDEN * (HIDDEN // HEADS) * KEY_HEADS + 3 * HIDDEN * INNER)
HEAD = HIDDEN * VOCABULARY


@pytest.fixture
def layers(monkeypatch):
    """``layers(name, count)``: a published size with fewer layers, all else as it is; those left are traced as quickly as they are few."""

    def shorten(name, count):
        size = published_sizes()[name]
        overrides = {**size.overrides, LAYER_COUNTS.get(name, "num_hidden_layers"): count}
        monkeypatch.setitem(published_sizes(), name, replace(size, overrides=overrides))

    return shorten


LAYER_COUNTS = {"distilgpt2": "n_layer"}
"""What the count is called where it has a name of its own."""


def test_macs_of_a_decode_step(tmp_path, layers):
    """One token through the weights and the head, and its query against all keys and values, itself included."""
    layers("smollm2-135m", LAYERS)
    graph = trace_model("hf:smollm2-135m", batch=2, phase="decode", context=100, cache=tmp_path)
    assert graph.macs == 2 * (WEIGHTS + HEAD + LAYERS * 2 * HIDDEN * 101)
    assert graph.inputs["input_ids"] == (2, 1)
    assert graph.inputs[f"past_key_values.{LAYERS - 1}.keys"] == (2, KEY_HEADS, 100, 64)


def test_macs_of_prefill(tmp_path, layers):
    """Every token through the weights, the last one alone through the head."""
    layers("smollm2-135m", LAYERS)
    graph = trace_model("hf:smollm2-135m", sequence=64, phase="prefill", cache=tmp_path)
    assert graph.macs == 64 * WEIGHTS + HEAD + LAYERS * 2 * HIDDEN * 64 * 64


def test_phases_are_traced_apart(tmp_path, layers):
    layers("distilgpt2", 1)
    for options in ({"phase": "prefill"}, {"phase": "decode"}, {"phase": "decode", "context": 5}, {}):
        trace_model("hf:distilgpt2", cache=tmp_path, **options)
    assert len(list((tmp_path / "traces").iterdir())) == 4


def test_a_sliding_window_is_all_that_its_layers_keep(tmp_path, layers):
    layers("gemma-3-1b", 6)  # the last of six keeps everything
    graph = trace_model("hf:gemma-3-1b", phase="decode", cache=tmp_path)
    kept = {
        shape[2]
        for name, shape in graph.inputs.items()
        if name.startswith("past_key_values") and len(shape) == 4
    }
    assert kept == {511, 1024}


def test_a_recurrent_network_keeps_its_states(tmp_path, layers):
    layers("mamba-130m", 2)
    network = published_sizes()["mamba-130m"].overrides
    graph = trace_model("hf:mamba-130m", phase="decode", context=3000, cache=tmp_path)
    states = [shape for name, shape in graph.inputs.items() if "recurrent" in name]
    assert states == [(1, 2 * network["hidden_size"], 16)] * network["num_hidden_layers"]


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        ("hf:llama", {"phase": "x"}, "^phase: must be prefill or decode, not x$"),
        ("timm:resnet18", {"phase": "decode"}, "^timm:resnet18: has no phases"),
        ("hf:vit", {"phase": "decode"}, "^hf:vit: is no decoder-only language model"),
        ("hf:bert-tiny", {"phase": "decode"}, "^hf:bert-tiny: keeps nothing for a decode step"),
        ("hf:llama", {"context": 3}, "^context: is for the phase decode"),
        ("hf:distilgpt2", {"phase": "decode", "context": 1024}, "^hf:distilgpt2: context must be at most 1023, not 1024$"),
        ("hf:llama", {"phase": "decode", "sequence": 4}, "^sequence: a decode step has one token"),
    ],
)  # fmt: skip
def test_refusals_of_phases(model, options, message):
    with pytest.raises(UserError, match=message):
        load(model, **options)


# What depends on values


class Experts(torch.nn.Module):
    def __init__(self, experts: int) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(experts, 8, 16))

    def forward(self, x, ends):
        return torch.nn.functional.grouped_mm(x, self.weight, offs=ends)


@pytest.mark.parametrize(("rows", "experts"), [(32, 8), (21, 8), (3, 8), (1, 8)])
def test_rows_are_shared_out_among_experts(rows, experts):
    with torch.device("meta"):
        graph = trace(Experts(experts), (torch.empty(rows, 8), torch.empty(experts, dtype=torch.int32)))
    assert graph.macs == rows * 8 * 16
    assert graph.values[graph.outputs[0]].shape == (rows, 16)
    products = [operator for operator in graph.operators if operator.kind == "matmul"]
    most = -(-rows // experts)
    assert {operator.number("m") for operator in products} <= {most, most - 1}


def test_experts_whose_rows_are_known():
    module = Experts(3)
    graph = trace(module, (torch.randn(6, 8), torch.tensor([4, 4, 6], dtype=torch.int32)))
    products = [operator for operator in graph.operators if operator.kind == "matmul"]
    assert [(o.number("batch"), o.number("m")) for o in products] == [(1, 4), (1, 2)]


class Picker(torch.nn.Module):
    def forward(self, x, tokens):
        mask = (tokens == 7).unsqueeze(-1).expand_as(x).to(x.device)
        return x[mask], x[x > 0]


def test_known_tokens_choose_and_unknown_values_leave_nothing_out():
    tokens = torch.tensor([[7, 1, 7, 2]])
    graph = trace(Picker(), {"x": torch.empty(1, 4, 5, device="meta"), "tokens": tokens})
    assert [graph.values[i].shape for i in graph.outputs] == [(10,), (20,)]
