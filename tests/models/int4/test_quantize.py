"""Whole networks: what is replaced, that attention is PyTorch's, and that training learns."""

import re

import pytest
import torch
from torch import nn

from lanewise.errors import UserError
from lanewise.models.int4 import Int4Config, Int4Linear, Int4MultiheadAttention, quantize
from lanewise.models.int4.product import Int4Product

SEED = 8


def encoder(**options):
    torch.manual_seed(SEED)
    layer = nn.TransformerEncoderLayer(32, 4, 64, 0.0, batch_first=True, **options)
    return nn.Sequential(
        nn.Linear(8, 32), nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(32, 3)
    )


def kinds(network):
    return {
        name: type(part).__name__ for name, part in network.named_modules() if "Int4" in type(part).__name__
    }


def test_all_linear_layers_are_replaced():
    network = encoder()
    result = quantize(network)
    replaced = {name for name, kind in kinds(result).items() if kind != "Int4Product"}
    parts = [
        f"1.layers.{n}.{part}"
        for n in (0, 1)
        for part in ("self_attn", "self_attn.out_proj", "linear1", "linear2")
    ]
    assert replaced == {"0", "2", *parts}
    assert not kinds(network)  # the network itself is as it was
    assert set(network.state_dict()) < set(result.state_dict())
    missing, unexpected = result.load_state_dict(network.state_dict(), strict=False)
    assert not unexpected
    assert all(".step_" in name or name.endswith(".generators") for name in missing)
    torch.testing.assert_close(result[0].weight, network[0].weight)


def test_patterns_choose():
    result = quantize(encoder(), include=["1.*"], exclude=["*.self_attn", "1.layers.1.*"])
    replaced = {name for name, kind in kinds(result).items() if kind != "Int4Product"}
    assert replaced == {f"1.layers.0.{part}" for part in ("self_attn.out_proj", "linear1", "linear2")}


def test_in_place_and_a_lone_layer():
    network = encoder()
    assert quantize(network, inplace=True) is network
    assert isinstance(network[0], Int4Linear)
    assert isinstance(quantize(nn.Linear(3, 4)), Int4Linear)
    assert isinstance(quantize(nn.MultiheadAttention(16, 2)), Int4MultiheadAttention)


@pytest.mark.parametrize("norm_first", [True, False])
def test_evaluation_is_trainings(norm_first):
    """PyTorch's fused evaluation of the encoder does not pass over the layers."""
    network = quantize(encoder(norm_first=norm_first))
    x = torch.randn(2, 5, 8)
    trained = network(x).detach()
    network.eval()
    with torch.no_grad():
        torch.testing.assert_close(network(x), trained, rtol=0, atol=0)


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("masks", ["none", "padding", "float", "bool", "both", "heads"])
@pytest.mark.parametrize("same", [True, False])
def test_attention_is_pytorchs(monkeypatch, batch_first, masks, same):
    """With exact products in place of INT4's."""
    monkeypatch.setattr(Int4Product, "forward", lambda _, x, weight: x @ weight.T)
    torch.manual_seed(SEED)
    attention = nn.MultiheadAttention(16, 2, batch_first=batch_first)
    nn.init.normal_(attention.in_proj_bias)
    query = torch.randn((3, 5, 16) if batch_first else (5, 3, 16))
    memory = query if same else torch.randn((3, 6, 16) if batch_first else (6, 3, 16))
    length = 5 if same else 6
    padding = torch.zeros(3, length, dtype=torch.bool)
    padding[1, -2:] = True
    causal = torch.ones(5, length, dtype=torch.bool).triu(1)
    options = {
        "none": {},
        "padding": {"key_padding_mask": padding},
        "float": {"attn_mask": torch.randn(5, length)},
        "bool": {"attn_mask": causal, "is_causal": True},
        "both": {"attn_mask": causal, "key_padding_mask": padding},
        "heads": {"attn_mask": torch.randn(6, 5, length), "average_attn_weights": False},
    }[masks]
    ours = quantize(attention)(query, memory, memory, **options)
    theirs = attention(query, memory, memory, **options)
    for mine, other in zip(ours, theirs):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-6)
    shown = quantize(attention)(query, memory, memory, need_weights=False, **options)[1]
    assert shown is None
    if masks == "none":
        alone = [part[0] if batch_first else part[:, 0] for part in (query, memory, memory)]
        for mine, other in zip(quantize(attention)(*alone), attention(*alone)):
            torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"backward": False},
        {"sampling": False},
        {"bit_splitting": False},
        {"hadamard": False},
        {"naive": True},
        {"attention_bits": 8},
    ],
)
def test_training_learns_and_repeats(options):
    x = torch.randn(64, 4, 8, generator=torch.Generator().manual_seed(SEED))
    wanted = x.mean((1, 2)).gt(0).long()

    def losses():
        network = quantize(encoder(), seed=3, **options)
        optimiser = torch.optim.Adam(network.parameters(), 3e-3)
        result = []
        for _ in range(30):
            loss = nn.functional.cross_entropy(network(x).mean(1), wanted)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            result.append(loss.item())
        return result

    first = losses()
    assert first[-1] < 0.7 * first[0]
    if not options:
        assert losses() == first


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: quantize(3), "module must be a torch.nn.Module, not int"),
        (lambda: quantize(encoder(), include=["3.*"]), "include must match linear layers of Sequential, not '3.*'"),
        (lambda: quantize(encoder(), exclude=["9"]), "exclude must match linear layers of Sequential, not '9'"),
        (lambda: quantize(encoder(), block=12), "block must be one of 1, 8, 16, 32, 64, not 12"),
        (lambda: quantize(encoder(), attention_bits=4), "attention_bits must be None or 8, not 4"),
        (lambda: quantize(encoder(), lanes=0), "lanes must be 1 to 1024, not 0"),
        (
            lambda: quantize(encoder(), bits=4),
            "option must be one of backward, hadamard, block, bit_splitting, sampling, naive, attention_bits, lanes, seed, not 'bits'",
        ),
        (
            lambda: quantize(nn.MultiheadAttention(16, 2, add_bias_kv=True)),
            "attention must be of one width, without add_bias_kv and add_zero_attn, to be INT4; exclude it",
        ),
        (
            lambda: quantize(nn.MultiheadAttention(16, 2))(*[torch.ones(2, 3, 16)] * 3, is_causal=True),
            "attn_mask must be given where is_causal is true, not None",
        ),
    ],
)  # fmt: skip
def test_errors_are_one_line(call, message):
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        call()


def test_blocks_fit_widths():
    config = Int4Config(block=32)
    assert [config.turned(width) for width in (64, 48, 24, 10, 1)] == [32, 16, 8, 1, 1]
    assert Int4Config(hadamard=False).turned(64) == Int4Config(naive=True).turned(64) == 1
