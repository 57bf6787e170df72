"""What the hardware's bits cost a real network: MiniLM's sentence embeddings against FP32."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import nn

from lanewise.errors import UserError
from lanewise.models.minilm import MODEL_PACKAGE, TEXT_FILE, TEXT_PACKAGE, MiniLm, sentences
from lanewise.models.nn import Fp16Results, HardwareFunctions, Lookup, exact_lookup, flex_sfu_lookup
from lanewise.models.pretrained.network import Contexts
from lanewise.models.quantise import IntegerMatmuls, QuantiseConfig, calibrate_matmuls, quantise_linears

CALIBRATION_SENTENCES = 64
"""Sentences, none of the scored, that set the scales of the activations."""
MINILM_FUNCTIONS = ("gelu", "tanh", "exp")
"""What MiniLM computes: GELU, softmax's exp, and the pooler's tanh."""
NEIGHBOURS = 10


@dataclass(frozen=True, kw_only=True)
class Score:
    """One variant's agreement with FP32."""

    variant: str
    cosine_distance: float
    """Mean over sentences of 1 - cosine of the two embeddings."""
    worst_cosine_distance: float
    """Of the sentence that suffers most."""
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
    calibration_sentences: int
    seed: int
    versions: Mapping[str, str]
    scores: tuple[Score, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def score(variant: str, reference: torch.Tensor, embeddings: torch.Tensor) -> Score:
    """Agreement of ``embeddings`` with ``reference``; shape ``(sentences, width)``, rows of length 1.

    Raises:
        ValueError: The embeddings are not finite, or too few to rank.
    """
    if len(reference) < 3:
        raise ValueError(f"reference must have at least 3 rows, not {len(reference)}")
    if not torch.isfinite(embeddings).all():
        raise ValueError(f"embeddings of {variant!r} must be finite, not NaN or infinite")
    reference, embeddings = reference.double(), embeddings.double()
    distance = (1 - (reference * embeddings).sum(1)).clamp_min(0)
    pairs = np.triu_indices(len(reference), 1)
    ours, theirs = (embeddings @ embeddings.T).numpy(), (reference @ reference.T).numpy()
    correlation = float(spearmanr(theirs[pairs], ours[pairs]).statistic)
    for matrix in (ours, theirs):
        np.fill_diagonal(matrix, -np.inf)
    count = min(NEIGHBOURS, len(reference) - 1)
    near, wanted = (np.argsort(-matrix, axis=1, kind="stable")[:, :count] for matrix in (ours, theirs))
    overlap = [len(set(a) & set(b)) / count for a, b in zip(near, wanted, strict=True)]
    return Score(
        variant=variant,
        cosine_distance=float(distance.mean()),
        worst_cosine_distance=float(distance.max()),
        relative_error=float((embeddings - reference).norm(dim=1).mean()),
        rank_correlation=correlation,
        top1_agreement=float((near[:, 0] == wanted[:, 0]).mean()),
        top10_overlap=float(np.mean(overlap)),
    )


@dataclass(frozen=True, kw_only=True)
class _Variant:
    name: str
    functions: Mapping[str, Lookup]
    module: nn.Module | None = None
    matmuls: Contexts = tuple

    def contexts(self) -> tuple[Any, ...]:
        """FP16 everywhere, then the functions, then the integer products."""
        return Fp16Results(), HardwareFunctions(self.functions), *self.matmuls()


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

    All but FP32 round every operator's result to FP16. ``FP16`` does only that, so its score is what the
    others owe to the format.

    Args:
        count: Sentences, at least 8.
        seed: Chooses them.
        segments: Sizes of Flex-SFU to score.
        chosen_segments: The machine's; used together with the integer products.
        software: Look-ups of the baseline's software activations, scored beside.
        progress: Called with what is being done.

    Raises:
        UserError: A package is missing, there are not so many sentences, or Flex-SFU has no such size.
    """
    if count < 8:
        raise UserError(f"sentences must be at least 8, not {count}")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # one order of summation on every machine
    try:
        return _accuracy(count, seed, segments, chosen_segments, software, progress)
    finally:
        torch.set_num_threads(threads)


def _accuracy(
    count: int,
    seed: int,
    segments: Sequence[int],
    chosen_segments: int,
    software: Mapping[str, Lookup] | None,
    progress: Callable[[str], None] | None,
) -> Accuracy:
    texts = sentences(count + CALIBRATION_SENTENCES, seed)
    texts, calibration = texts[:count], texts[count:]
    tables = {n: {f: flex_sfu_lookup(f, n) for f in MINILM_FUNCTIONS} for n in (*segments, chosen_segments)}
    network = MiniLm()
    reference = network.embed(texts)
    scores = [score("FP32", reference, reference)]
    for variant in _variants(network, calibration, tables, segments, chosen_segments, software):
        if progress is not None:
            progress(f"accuracy: {variant.name}")
        embeddings = network.embed(texts, variant.module, variant.contexts)
        scores.append(score(variant.name, reference, embeddings))
    names = ("torch", "transformers", "tokenizers", MODEL_PACKAGE, TEXT_PACKAGE)
    return Accuracy(
        model=MODEL_PACKAGE,
        source=f"{TEXT_PACKAGE}: {TEXT_FILE}",
        sentences=count,
        calibration_sentences=CALIBRATION_SENTENCES,
        seed=seed,
        versions={name: version(name) for name in names},
        scores=tuple(scores),
    )


def _variants(
    network: MiniLm,
    calibration: Sequence[str],
    tables: Mapping[int, Mapping[str, Lookup]],
    segments: Sequence[int],
    chosen_segments: int,
    software: Mapping[str, Lookup] | None,
) -> list[_Variant]:
    exact = {name: exact_lookup(name) for name in MINILM_FUNCTIONS}
    flex, prefix = tables[chosen_segments], f"Flex-SFU, {chosen_segments} segments"

    def linears(**options: Any) -> nn.Module:
        config = QuantiseConfig(**options)
        return quantise_linears(
            network.module,
            config,
            lambda module: network.embed(calibration, module, lambda: (Fp16Results(),)),
        )

    quantisers = calibrate_matmuls(
        lambda recorder: network.embed(calibration, None, lambda: (Fp16Results(), recorder())),
        QuantiseConfig(bits=4),
    )

    def attention() -> tuple[Any, ...]:
        return (IntegerMatmuls(quantisers),)

    int8, int4, turned = linears(bits=8), linears(bits=4), linears(bits=4, hadamard=True)
    both = "INT4 linears and attention"
    variants = [_Variant(name="FP16", functions=exact)]
    variants += [_Variant(name=f"Flex-SFU, {n} segments", functions=tables[n]) for n in segments]
    if software is not None:
        variants.append(_Variant(name="software activations (baseline)", functions=software))
    return [
        *variants,
        _Variant(name="INT8 linears", functions=exact, module=int8),
        _Variant(name="INT4 linears, unclipped", functions=exact, module=linears(bits=4, clip=False)),
        _Variant(name="INT4 linears", functions=exact, module=int4),
        _Variant(name="INT4 attention", functions=exact, matmuls=attention),
        _Variant(name=both, functions=exact, module=int4, matmuls=attention),
        _Variant(name="INT4 linears, Hadamard", functions=exact, module=turned),
        _Variant(name=f"{both}, Hadamard", functions=exact, module=turned, matmuls=attention),
        _Variant(name=f"{prefix}, INT8 linears", functions=flex, module=int8),
        _Variant(name=f"{prefix}, INT4 linears", functions=flex, module=int4),
        _Variant(name=f"{prefix}, {both}", functions=flex, module=int4, matmuls=attention),
        _Variant(name=f"{prefix}, {both}, Hadamard", functions=flex, module=turned, matmuls=attention),
    ]
