"""Loading by name: sizes of known networks, and how wrong names are refused."""

import subprocess
import sys

import pytest
import torch

from lanewise.errors import UserError
from lanewise.mapping.networks import load
from lanewise.mapping.networks_sizes import check_used
from lanewise.mapping.trace import trace, trace_model


def parameters(network) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_minilm_is_the_packaged_one():
    network, inputs = load("hf:minilm", batch=2, sequence=32)
    config = network.config
    assert (config.hidden_size, config.num_hidden_layers, config.intermediate_size) == (384, 6, 1536)
    assert (config.num_attention_heads, config.vocab_size) == (12, 30522)
    assert parameters(network) == 22_713_216  # the published count
    assert {name: tuple(tensor.shape) for name, tensor in inputs.items()} == {"input_ids": (2, 32)}


def test_networks_have_no_memory_and_do_not_train():
    network, (image,) = load("timm:resnet50")
    assert all(parameter.is_meta for parameter in network.parameters())
    assert parameters(network) == 25_557_032
    assert not any(part.training for part in network.modules())
    assert (image.is_meta, tuple(image.shape)) == (True, (1, 3, 224, 224))


@pytest.mark.parametrize("model", ["timm:vit_tiny_patch16_224", "timm:resnet18"])
def test_resolution(model):
    network, (image,) = load(model, resolution=160, batch=3)
    assert tuple(image.shape) == (3, 3, 160, 160)
    assert network(image).shape == (3, 1000)


def test_resolution_that_the_network_cannot_take(tmp_path):
    with pytest.raises(
        UserError, match=r"^timm:vit_tiny_patch16_224: its forward pass cannot be traced: Calculated padded"
    ):
        trace_model("timm:vit_tiny_patch16_224", resolution=8, cache=tmp_path)


def test_encoder_decoder_and_images():
    _, inputs = load("hf:t5", sequence=16)
    assert set(inputs) == {"input_ids", "decoder_input_ids"}
    _, inputs = load("hf:vit")
    assert tuple(inputs["pixel_values"].shape) == (1, 3, 224, 224)


def test_initialisation_is_left_as_it_was():
    before = torch.nn.init.kaiming_uniform_
    load("timm:resnet18")
    assert torch.nn.init.kaiming_uniform_ is before
    assert torch.nn.Linear(4, 4).weight.abs().sum() > 0


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            "timm:resnet51",
            r"^timm:resnet51: unknown model; expected the name of a timm model; did you mean .*resnet50.*\?$",
        ),
        ("hf:bertt", r"^hf:bertt: unknown model; .*; did you mean .*bert.*\?$"),
        ("timm:qqqqqqqq", "^timm:qqqqqqqq: unknown model; expected the name of a timm model$"),
        ("resnet50", "^resnet50: unknown kind of model; expected timm:NAME, hf:NAME, onnx:FILE or pt2:FILE$"),
        ("onnx:", "^onnx:: unknown kind of model"),
        ("tflite:a", "^tflite:a: unknown kind of model"),
        ("hf:", "^hf:: unknown kind of model"),
        ("hf:sam_prompt_encoder", "^hf:sam_prompt_encoder: transformers has no network of it alone"),
    ],
)
def test_refusals(model, message):
    with pytest.raises(UserError, match=message):
        load(model)


@pytest.mark.parametrize(
    ("model", "shape", "dtype", "options", "message"),
    [
        ("timm:x", (1, 3, 8, 8), torch.float32, {"sequence": 8}, "^--sequence: timm:x takes no tokens; expected --resolution$"),
        ("timm:x", (1, 3, 8, 8), torch.float32, {"resolution": 8}, ""),
        ("hf:x", (1, 8), torch.int64, {"resolution": 8}, "^--resolution: hf:x takes no pictures; expected --sequence$"),
        ("hf:x", (1, 8), torch.int64, {"sequence": 8}, ""),
        ("hf:x", (1, 80, 99), torch.float32, {"sequence": 8, "resolution": 8}, ""),
        ("onnx:x", (1, 8), torch.int64, {"resolution": 8}, ""),
    ],
)  # fmt: skip
def test_sizes_that_a_network_does_not_take(model, shape, dtype, options, message):
    graph = trace(torch.nn.Identity(), torch.empty(shape, dtype=dtype, device="meta"), model=model)
    sizes = {"sequence": None, "resolution": None} | options
    if not message:
        check_used(graph, **sizes)
        return
    with pytest.raises(UserError, match=message):
        check_used(graph, **sizes)


def test_too_long_a_sequence():
    with pytest.raises(UserError, match=r"^hf:bert: sequence must be at most 512, not 513$"):
        load("hf:bert", sequence=513)


@pytest.mark.parametrize("first", ["timm:resnet18", "hf:minilm"])
def test_loads_in_a_fresh_process(first):
    """Whatever is loaded first has to make torchvision importable by itself."""
    script = f"from lanewise.mapping.networks import load; load({first!r}); import torchvision"
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
