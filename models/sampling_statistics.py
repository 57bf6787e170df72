"""How many rows of a gradient leverage-score sampling keeps, and what they are worth: what the time of the sampled products depends on."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class SamplingStatistics:
    """Kept rows of each word as shares of N, the gradient's rows; means over products. See :mod:`lanewise.models.int4.sampling`.

    Raises:
        ValueError: A share is not within 0 to 1, or a worth no power of two.

    >>> some = SamplingStatistics(dx_hi=0.75, dx_lo=0.25, dw_hi={1: 0.5, 2: 0.125}, dw_lo={4: 0.25})
    >>> some.dw_kept, SamplingStatistics.of_dict(some.as_dict()) == some
    ((0.625, 0.25), True)
    """

    dx_hi: float
    """Of dX = dY W: rows of hi that are kept."""
    dx_lo: float
    dw_hi: Mapping[int, float]
    """Of dW = dY^T X: rows of hi that are kept, by worth, a power of two; the rows of one worth are one tile of the sum."""
    dw_lo: Mapping[int, float]

    def __post_init__(self) -> None:
        for name, share in (("dx_hi", self.dx_hi), ("dx_lo", self.dx_lo)):
            _check(name, share)
        for name, shares in (("dw_hi", self.dw_hi), ("dw_lo", self.dw_lo)):
            for worth in shares:
                if worth < 1 or worth & (worth - 1):
                    raise ValueError(f"{name} must be by powers of two, not {worth!r}")
            _check(name, sum(shares.values()))
            object.__setattr__(self, name, dict(sorted(shares.items())))

    @property
    def dw_kept(self) -> tuple[float, float]:
        """Rows of hi and of lo that dW keeps, of all worths."""
        return sum(self.dw_hi.values()), sum(self.dw_lo.values())

    def as_dict(self) -> dict[str, Any]:
        """For JSON, whose keys are strings."""
        return asdict(self) | {
            name: {str(worth): share for worth, share in shares.items()}
            for name, shares in (("dw_hi", self.dw_hi), ("dw_lo", self.dw_lo))
        }

    @staticmethod
    def of_dict(values: Mapping[str, Any]) -> "SamplingStatistics":
        """From :meth:`as_dict`, read back from JSON."""
        return SamplingStatistics(
            dx_hi=values["dx_hi"], dx_lo=values["dx_lo"],
            **{name: {int(worth): share for worth, share in values[name].items()} for name in ("dw_hi", "dw_lo")},
        )  # fmt: skip


def _check(name: str, share: float) -> None:
    if not 0 <= share <= 1 + 1e-9:
        raise ValueError(f"{name} must be 0 to 1 of the rows, not {share!r}")


MEASURED: Mapping[str, SamplingStatistics] = {
    "images": SamplingStatistics(
        dx_hi=0.25256, dx_lo=0.73975,
        dw_hi={1: 0.22677, 2: 0.02400, 4: 0.00165, 8: 0.00013},
        dw_lo={1: 0.63761, 2: 0.06933, 4: 0.02703, 8: 0.00557, 16: 0.00039, 32: 0.00003},
    ),
    "text": SamplingStatistics(
        dx_hi=0.41037, dx_lo=0.58651,
        dw_hi={1: 0.34195, 2: 0.05884, 4: 0.00881, 8: 0.00063},
        dw_lo={1: 0.39889, 2: 0.13502, 4: 0.04695, 8: 0.00519, 16: 0.00075, 32: 0.00005},
    ),
}  # fmt: skip
"""Of whole trainings, by task of :mod:`lanewise.models.int4_tasks`; shares below 0.00001 left out. Measured:
:func:`lanewise.models.int4_sampling.sampling_statistics`, in docs/int4_training.md."""
