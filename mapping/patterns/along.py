"""Rows of numbers, of which each column may stand for many elements, and what is computed along them."""

from collections.abc import Sequence
from typing import Any

import mpmath
import torch
from torch import Tensor

from lanewise.mapping.graph import Operator


class Along:
    """Reductions of rows, shape (rows, columns) in float64; results have the shape (rows, 1).

    Args:
        counts: How many elements of a row each column stands for.
    """

    def __init__(self, counts: Sequence[int]) -> None:
        self.counts, self.length = tuple(counts), sum(counts)
        self._weights = None if set(counts) == {1} else torch.tensor(counts, dtype=torch.float64)

    def sum(self, x: Tensor) -> Tensor:
        """Of what may be one number a row, too."""
        if x.shape[-1] != len(self.counts):
            return x * self.length
        return (x if self._weights is None else x * self._weights).sum(-1, keepdim=True)

    def mean(self, x: Tensor) -> Tensor:
        """Sum over length."""
        return self.sum(x) / self.length

    def largest(self, x: Tensor) -> Tensor:
        """Maximum."""
        return x.amax(-1, keepdim=True)

    def variance(self, x: Tensor, correction: float = 0.0) -> Tensor:
        """Mean of the squares of what is left without the mean; ``correction`` is taken off the count."""
        return self.sum((x - self.mean(x)).square()) / (self.length - correction)

    def norm(self, x: Tensor) -> Tensor:
        """Root of the sum of squares."""
        return self.sum(x.square()).sqrt()

    def logsumexp(self, x: Tensor) -> Tensor:
        """Without overflow."""
        most = self.largest(x)
        return most + self.sum((x - most).exp()).log()

    def softmax(self, x: Tensor, *, log: bool = False) -> Tensor:
        """For each element of a row, shape (rows, columns)."""
        if log:
            return x - self.logsumexp(x)
        powers = (x - self.largest(x)).exp()
        return powers / self.sum(powers)

    def evaluate(self, operator: Operator, x: Tensor) -> Tensor | None:
        """What a reduction or a softmax makes of rows; ``None`` if it is not known here."""
        attributes = operator.attributes
        if operator.kind == "softmax":
            return self.softmax(x, log=bool(attributes.get("log")))
        correction = attributes.get("correction")
        match operator.function:
            case "sum":
                return self.sum(x)
            case "mean":
                return self.mean(x)
            case "max":
                return self.largest(x)
            case "min":
                return x.amin(-1, keepdim=True)
            case "logsumexp":
                return self.logsumexp(x)
            case "norm" if attributes.get("order") == 2:
                return self.norm(x)
            case "variance" | "standard_deviation" if isinstance(correction, int | float):
                if correction >= self.length:
                    return None
                found = self.variance(x, correction)
                return found if operator.function == "variance" else found.sqrt()
        return None

    def evaluate_exactly(self, operator: Operator, x: Sequence[Any]) -> list[Any]:
        """The same of one row of mpmath's numbers; one number a column, or one for the row.

        Raises:
            LookupError: The function is not among those that float64 overflows in.
        """
        row = list(x) if len(x) == len(self.counts) else list(x) * len(self.counts)
        if operator.kind == "softmax":
            log = bool(operator.attributes.get("log"))
            logarithm = self._exact_logsumexp(row)
            return [each - logarithm if log else mpmath.exp(each - logarithm) for each in row]
        match operator.function:
            case "sum":
                return [self._exact_sum(row)]
            case "mean":
                return [self._exact_sum(row) / self.length]
            case "max":
                return [max(row)]
            case "min":
                return [min(row)]
            case "logsumexp":
                return [self._exact_logsumexp(row)]
        raise LookupError(operator.function)

    def _exact_sum(self, row: Sequence[Any]) -> Any:
        return mpmath.fsum(count * each for count, each in zip(self.counts, row, strict=True))

    def _exact_logsumexp(self, row: Sequence[Any]) -> Any:
        return mpmath.log(self._exact_sum([mpmath.exp(each) for each in row]))
