"""What Flex-SFU's bits cost pretrained networks: each task's score, and agreement with FP32, by segments and degree."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from lanewise.files import atomic_write, cache_folder, write_json
from lanewise.models.one_thread import one_thread
from lanewise.models.pretrained import NETWORKS, pretrained
from lanewise.models.pretrained.hardware import FP32, VARIANTS, Hardware, Variant
from lanewise.models.pretrained.network import Outputs, PretrainedNetwork, Samples
from lanewise.models.pretrained.packages import not_installed

Progress = Callable[[str], None]

LIBRARIES = ("torch", "numpy", "scipy")
"""Their versions decide the numbers beside those of a network's packages."""


@dataclass(frozen=True, kw_only=True)
class VariantScore:
    """One network in one variant's arithmetic."""

    variant: str
    format: str
    segments: int | None
    degree: int | None
    score: float
    """The task's own measure."""
    loss: float
    """How much worse than FP32's score, as a share of it; negative where better."""
    cosine_distance: float
    """Mean over rows of 1 - cosine of the features and FP32's."""
    worst_cosine_distance: float
    """Of the row that suffers most."""
    top1_agreement: float
    """Share of rows decided as FP32 decides."""
    calls: Mapping[str, int]
    """How many tensors each function was computed of by the hardware's bits."""


@dataclass(frozen=True, kw_only=True)
class NetworkAccuracy:
    """One network's part of the study, with what is needed to repeat it."""

    network: str
    title: str
    licence: str
    task: str
    data: str
    score_name: str
    larger_is_better: bool
    decision: str
    feature: str
    parameters: int
    samples: int
    rows: int
    """Decisions, of which a sample may hold many."""
    seed: int
    versions: Mapping[str, str]
    scores: tuple[VariantScore, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def accuracy_networks(
    names: Sequence[str] = tuple(NETWORKS),
    *,
    count: int | None = None,
    seed: int = 0,
    variants: Sequence[Variant] = VARIANTS,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> list[NetworkAccuracy]:
    """Score ``variants`` of pretrained networks.

    Each result is kept in ``cache`` as soon as it is there, by what decides it, so that an interrupted study
    goes on where it stopped and a finished one is read.

    Args:
        names: Keys of :data:`~lanewise.models.pretrained.NETWORKS`.
        count: Samples of each network, at most; each network's own number if ``None``.
        seed: Chooses the samples.
        variants: What to score; FP32 is always, first.
        cache: Folder of results; that of :func:`~lanewise.files.cache_folder` if ``None``.
        progress: Called with what is being done.

    Raises:
        UserError: A network is unknown, a package is missing, or samples or variants are not possible.
    """
    networks = [pretrained(name) for name in names]
    folder = (cache_folder() if cache is None else cache) / "accuracy-networks"
    with one_thread():
        return [_study(network, count, seed, variants, folder, progress or _silent) for network in networks]


def accuracy_rows(studies: Sequence[NetworkAccuracy]) -> list[dict[str, Any]]:
    """A flat row for each network and variant, for tables and CSV."""
    return [
        {
            "network": study.network,
            "title": study.title,
            "score_name": study.score_name,
            "larger_is_better": study.larger_is_better,
            "rows": study.rows,
            **{key: value for key, value in asdict(score).items() if key != "calls"},
            "calls": sum(score.calls.values()),
        }
        for study in studies
        for score in study.scores
    ]


def _silent(_: str) -> None: ...


def _study(
    network: PretrainedNetwork,
    count: int | None,
    seed: int,
    variants: Sequence[Variant],
    folder: Path,
    progress: Progress,
) -> NetworkAccuracy:
    facts = network.facts
    count = facts.count if count is None else min(count, facts.count)
    versions = {name: _version(name) for name in (*facts.packages, *LIBRARIES)}
    key = repr((facts.name, count, seed, sorted(versions.items()), torch.__version__, _sources(network)))
    lazy = _Lazy(network, count, seed, folder, key, progress)
    results = []
    for variant in (FP32, *(variant for variant in variants if variant != FP32)):
        hardware = Hardware(variant)
        path = folder / f"{facts.name}-{_digest(key, hardware.fingerprint(facts.functions))}.json"
        stored = _stored(path)
        if stored is None:
            progress(f"accuracy: {facts.title}, {variant.name}")
            stored = _score(lazy, hardware)
            write_json(path, stored)
        results.append(stored)
    return NetworkAccuracy(
        network=facts.name,
        title=facts.title,
        licence=facts.licence,
        task=facts.task,
        data=facts.data,
        score_name=facts.score,
        larger_is_better=facts.larger_is_better,
        decision=facts.decision,
        feature=facts.feature,
        parameters=results[0]["parameters"],
        samples=count,
        rows=results[0]["rows"],
        seed=seed,
        versions=versions,
        scores=tuple(VariantScore(**result["score"]) for result in results),
    )


class _Lazy:
    """A network's module, samples and FP32 outputs, made when first needed; the outputs are kept in a file."""

    def __init__(
        self, network: PretrainedNetwork, count: int, seed: int, folder: Path, key: str, progress: Progress
    ) -> None:
        self.network, self.count, self.seed, self.progress = network, count, seed, progress
        self.path = folder / f"{network.facts.name}-{_digest(key)}.safetensors"
        self._module: torch.nn.Module | None = None
        self._samples: Samples | None = None
        self._reference: Outputs | None = None

    @property
    def module(self) -> torch.nn.Module:
        if self._module is None:
            self.progress(f"accuracy: {self.network.facts.title}, loading")
            self._module = self.network.load()
        return self._module

    @property
    def samples(self) -> Samples:
        if self._samples is None:
            self._samples = self.network.samples(self.count, self.seed)
        return self._samples

    @property
    def reference(self) -> Outputs:
        if self._reference is None:
            try:
                self._reference = Outputs(**load_file(str(self.path)))
            except (OSError, SafetensorError, TypeError):  # not there, or cut short
                self._reference = self.network.run(self.module, self.samples, tuple)
                values = {name: value.contiguous() for name, value in vars(self._reference).items()}
                with atomic_write(self.path) as stream:
                    stream.write(save({name: value.clone() for name, value in values.items()}))
        return self._reference


def _score(lazy: _Lazy, hardware: Hardware) -> dict[str, Any]:
    """What is kept of a variant."""
    network, variant = lazy.network, hardware.variant
    reference = lazy.reference
    try:
        outputs = reference if variant == FP32 else hardware.run(network, lazy.module, lazy.samples)
    except ValueError as error:
        raise ValueError(f"{network.facts.title}, {variant.name}: {error}") from error
    ours, wanted = network.score(lazy.samples, outputs), network.score(lazy.samples, reference)
    worse = wanted - ours if network.facts.larger_is_better else ours - wanted
    distance = cosine_distance(reference.features, outputs.features)
    score = VariantScore(
        variant=variant.name,
        format=variant.format,
        segments=variant.segments,
        degree=None if variant.segments is None else variant.degree,
        score=ours,
        loss=worse / wanted if wanted else 0.0,
        cosine_distance=float(distance.mean()),
        worst_cosine_distance=float(distance.max()),
        top1_agreement=float((outputs.decisions == reference.decisions).double().mean()),
        calls=dict(sorted(hardware.calls.items())),
    )
    tensors = {part.data_ptr(): part.numel() for part in lazy.module.state_dict().values()}  # tied ones once
    parameters = sum(tensors.values())
    return {"score": asdict(score), "rows": len(outputs.decisions), "parameters": parameters}


def cosine_distance(reference: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
    """1 - cosine of each two rows, shape ``(rows,)``, in FP64; operands of shape ``(rows, width)``.

    As half the squared distance of the rows scaled to length 1, which loses no digits where they are alike.

    >>> cosine_distance(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 2.0]]))
    tensor([1.], dtype=torch.float64)
    """
    one, other = (torch.nn.functional.normalize(rows.double(), dim=1) for rows in (reference, features))
    return (one - other).square().sum(1) / 2


def _stored(path: Path) -> dict[str, Any] | None:
    try:
        stored: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        return None  # not there, or cut short: measured anew
    return stored


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        raise not_installed(package) from None


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]


def _sources(network: PretrainedNetwork) -> str:
    """Hash of the code that loads, runs and scores a network: its module, and what that imports of its like."""
    names, code = [type(network).__module__, __name__], {}
    while names:
        name = names.pop()
        place = Path(__file__).parent.joinpath(*name.removeprefix("lanewise.models.").split("."))
        path = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
        if name not in code:
            code[name] = path.read_text(encoding="utf-8")
            names += _IMPORTED.findall(code[name]) if name != __name__ else []
    return _digest(*(code[name] for name in sorted(code)))


_IMPORTED = re.compile(
    r"^from (lanewise\.models\.(?:pretrained\.\w+|onnx(?:\.\w+)+|minilm)) import", re.MULTILINE
)
