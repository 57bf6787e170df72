"""What leverage-score sampling keeps while a network is trained in INT4: a measurement for the machine's model of time."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from torch import nn

from lanewise.errors import UserError
from lanewise.models.int4.product import Int4Product
from lanewise.models.int4.sampling import KeptRows
from lanewise.models.int4_tasks import Task
from lanewise.models.int4_training import SEEDS, VARIANTS, Training
from lanewise.models.one_thread import one_thread
from lanewise.models.sampling_statistics import SamplingStatistics


@dataclass(frozen=True, kw_only=True)
class SamplingMeasurement:
    """Means over layers, steps and seeds."""

    statistics: SamplingStatistics
    dw_powers: tuple[float, float]
    """Distinct worths that a dW product has in hi and in lo: tiles that leave the array, of each word."""
    products: int
    """How many dX and dW were seen, together."""
    rows: float
    """N of a product."""


@dataclass(kw_only=True)
class SamplingRecorder:
    """Adds up what products keep; each counts alike."""

    products: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """By ``dx`` and ``dw``."""
    rows: int = 0
    shares: dict[tuple[str, int], dict[int, float]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(float))
    )
    """By product and word: sums over products, by worth, of dX all by 1."""
    powers: list[int] = field(default_factory=lambda: [0, 0])

    def __call__(self, kept: KeptRows) -> None:
        """One product of two words more."""
        if not kept.rows:
            return
        self.products[kept.product] += 1
        self.rows += kept.rows
        for word, worths in enumerate(kept.worths):
            shares = self.shares[kept.product, word]
            if kept.product == "dx":
                shares[1] += len(worths) / kept.rows
                continue
            distinct, counts = np.unique(worths, return_counts=True)
            self.powers[word] += len(distinct)
            for worth, count in zip(distinct, counts):
                shares[int(worth)] += int(count) / kept.rows

    def measured(self) -> SamplingMeasurement:
        """The means.

        Raises:
            ValueError: There was no dX or no dW.
        """
        counts = {name: self.products[name] for name in ("dx", "dw")}
        if not all(counts.values()):
            raise ValueError(f"products of dx and dw must be at least 1 each, not {counts}")
        means = {
            key: {worth: total / counts[key[0]] for worth, total in shares.items()}
            for key, shares in self.shares.items()
        }
        return SamplingMeasurement(
            statistics=SamplingStatistics(
                dx_hi=means["dx", 0][1], dx_lo=means["dx", 1][1], dw_hi=means["dw", 0], dw_lo=means["dw", 1]
            ),
            dw_powers=(self.powers[0] / counts["dw"], self.powers[1] / counts["dw"]),
            products=sum(counts.values()), rows=self.rows / sum(counts.values()),
        )  # fmt: skip


@contextmanager
def recorded(network: nn.Module, recorder: SamplingRecorder) -> Iterator[None]:
    """Tell the recorder of all sampled products of a network of :func:`~lanewise.models.int4.quantize` meanwhile."""
    layers = [part for part in network.modules() if isinstance(part, Int4Product)]
    before = [layer.observer for layer in layers]
    for layer in layers:
        layer.observer = recorder
    try:
        yield
    finally:
        for layer, observer in zip(layers, before):
            layer.observer = observer


def sampling_statistics(
    task: Task, variant: str = "INT4", *, seeds: Sequence[int] = SEEDS, steps: int | None = None
) -> SamplingMeasurement:
    """Train as the study does, and count.

    Args:
        task: What on.
        variant: A key of :data:`~lanewise.models.int4_training.VARIANTS` that splits and samples gradients.
        seeds: Each trains once.
        steps: Of a run; the task's own number if ``None``.

    Raises:
        UserError: The variant does not sample.
    """
    config = VARIANTS.get(variant)
    if config is None or not (config.sampling and config.splits and config.backward):
        raise UserError(f"variant must be one that samples gradients, as INT4, not {variant!r}")
    recorder = SamplingRecorder()
    with one_thread():
        for seed in seeds:
            training = Training(task, config, seed, task.steps if steps is None else steps)
            with recorded(training.network, recorder):
                while training.done < training.steps:
                    training.step()
    return recorder.measured()
