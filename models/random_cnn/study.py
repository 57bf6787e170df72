"""How far networks of frozen random filters stay behind those of learned ones, over kernels and expansions; the paper's claims about it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from lanewise.models.claim import Claim
from lanewise.models.random_cnn.config import StudyConfig
from lanewise.models.random_cnn.recombined import Filters, RecombinedConv2d
from lanewise.models.random_cnn.training import accuracy, train

ERRORS = 2.0
"""Standard errors of the mean over the seeds that a difference must exceed."""
CLOSED = 1.0
"""Points of accuracy that count as none, beside the standard errors."""
FOLDING = 1e-5

Accuracies = Mapping[tuple[int, int], Sequence[float]]
"""By kernel and expansion, of each seed in percent."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """Accuracies of all networks."""

    config: StudyConfig
    learned: Accuracies
    frozen: Accuracies

    def gap(self, kernel: int, expansion: int) -> np.ndarray:
        """Learned less frozen, of each seed, in points."""
        key = kernel, expansion
        return np.subtract(self.learned[key], self.frozen[key])

    def claims(self) -> tuple[Claim, ...]:
        """Those of the paper that the accuracies bear on."""
        return (self._falls(), self._closes(), self._grows())

    def _falls(self) -> Claim:
        low, high = min(self.config.expansions), max(self.config.expansions)
        steps = {k: difference(self.gap(k, low) - self.gap(k, high)) for k in self.config.kernels}
        rises = [
            mean - ERRORS * error
            for k in self.config.kernels
            for before, after in zip(sorted(self.config.expansions), sorted(self.config.expansions)[1:])
            for mean, error in [difference(self.gap(k, after) - self.gap(k, before))]
        ]
        holds = all(mean > ERRORS * error for mean, error in steps.values()) and max(rises) <= CLOSED
        measured = ", ".join(
            f"k = {k}: {self.gap(k, low).mean():.1f} to {self.gap(k, high).mean():.1f} (+-{steps[k][1]:.1f})"
            for k in steps
        )
        return Claim(
            name="gap_falls",
            claim=f"The gap of frozen against learned filters falls from E = {low} to E = {high} for every kernel by more than {ERRORS:g} "
            f"standard errors, and never rises by more than these and {CLOSED:g} point.",
            paper="shrinks with E (CIFAR-10; no figure kept)", measured=f"points, {measured}", holds=bool(holds),
        )  # fmt: skip

    def _closes(self) -> Claim:
        high = max(self.config.expansions)
        gaps = {k: difference(self.gap(k, high)) for k in self.config.kernels}
        holds = all(mean <= CLOSED + ERRORS * error for mean, error in gaps.values())
        return Claim(
            name="gap_closes",
            claim=f"At E = {high} frozen filters are within {CLOSED:g} point and {ERRORS:g} standard errors of learned ones, or better, for every kernel.",
            paper="CIFAR-10, E = 128: learned 91.39, frozen 91.89",
            measured="points, " + ", ".join(f"k = {k}: {mean:.1f} +- {error:.1f}" for k, (mean, error) in gaps.items()),
            holds=bool(holds),
        )  # fmt: skip

    def _grows(self) -> Claim:
        small, large = 3, 7
        both = [np.mean([self.gap(k, e) for e in self.config.expansions], axis=0) for k in (small, large)]
        mean, error = difference(both[1] - both[0])
        return Claim(
            name="gap_grows_with_kernel",
            claim=f"The gap, its mean over all E, is larger for k = {large} than for k = {small}, by more than {ERRORS:g} standard errors.",
            paper="grows with k in 3, 5, 7, 9 (CIFAR-10; no figure kept)",
            measured=f"k = {small}: {both[0].mean():.1f}, k = {large}: {both[1].mean():.1f}, difference {mean:.1f} +- {error:.1f} points",
            holds=bool(mean > ERRORS * error),
        )  # fmt: skip


def difference(values: np.ndarray) -> tuple[float, float]:
    """Mean over the seeds, and its standard error.

    >>> difference(np.array([1.0, 3.0]))
    (2.0, 1.0)
    """
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(values.size))


def run_study(
    config: StudyConfig, *, seed: int = 0, progress: Callable[[str], None] = lambda _: None
) -> Study:
    """Train all networks; seeds are ``seed`` and those after it.

    Raises:
        UserError: The images' package is not installed.
    """
    found: dict[Filters, dict[tuple[int, int], list[float]]] = {Filters.LEARNED: {}, Filters.UNIFORM: {}}
    for kernel in config.kernels:
        for expansion in config.expansions:
            for filters, accuracies in found.items():
                accuracies[kernel, expansion] = accuracies_of(config, kernel, expansion, filters, seed)
            means = ", ".join(
                f"{filters} {np.mean(a[kernel, expansion]):.1f} %" for filters, a in found.items()
            )
            progress(f"k = {kernel}, E = {expansion}: {means}")
    return Study(config=config, learned=found[Filters.LEARNED], frozen=found[Filters.UNIFORM])


def accuracies_of(
    config: StudyConfig, kernel: int, expansion: int, filters: Filters, seed: int
) -> list[float]:
    """Of each seed, in percent."""
    return [
        accuracy(train(config, kernel=kernel, expansion=expansion, filters=filters, seed=seed + number))
        for number in range(config.seeds)
    ]


def folding_claim(
    seed: int = 0, *, kernels: Sequence[int] = (3, 5, 7, 9), expansions: Sequence[int] = (1, 8, 64)
) -> Claim:
    """That two convolutions with nothing between are one: the largest difference over the largest result, in FP32."""
    worst = 0.0
    for kernel in kernels:
        for expansion in expansions:
            generator = torch.Generator().manual_seed(seed)
            for stride in (1, 2):
                block = RecombinedConv2d(
                    (6, 10),
                    kernel=kernel,
                    expansion=expansion,
                    filters=Filters.UNIFORM,
                    generator=generator,
                    stride=stride,
                )
                images = torch.randn(2, 6, 12, 12, generator=generator)
                with torch.no_grad():
                    folded, unfolded = block(images), block.unfolded(images)
                worst = max(worst, float((folded - unfolded).abs().max() / unfolded.abs().max()))
    return Claim(
        name="folding",
        claim=f"The block folds to one convolution, W_eff = sum_j a_ij W_j, to {FOLDING:g} of the largest result.",
        paper="an identity", measured=f"{worst:.1e} (k in {', '.join(map(str, kernels))}; E in {', '.join(map(str, expansions))})",
        holds=worst <= FOLDING,
    )  # fmt: skip
