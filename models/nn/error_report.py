"""How far an approximated network is from the exact one, function by function."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from math import inf, sqrt
from typing import Any

import torch
from torch import nn

from lanewise.errors import UserError
from lanewise.models.nn.approximate import run
from lanewise.models.nn.session import Observation, observed


@dataclass(frozen=True, kw_only=True)
class ErrorRow:
    """Errors of one function in one layer, over all its calls; of the network's outputs, their own."""

    layer: str
    """Name of the innermost module; empty for the whole network."""
    function: str
    calls: int
    elements: int
    lowest: float
    """Smallest finite operand."""
    highest: float
    outside: float
    """Share of operands outside the interval that the table was fitted on; there a tail serves."""
    mse: float
    """Mean of (hardware - exact)^2 on the operands seen. Their rounding to the format counts as error."""
    max_error: float
    relative_error: float
    """Root of the mean squared error, divided by that of the exact values."""


@dataclass(frozen=True, kw_only=True)
class ErrorReport:
    """Rows in the order of first calls, and the error of the network's output.

    Printing it gives a table.
    """

    rows: tuple[ErrorRow, ...]
    output: ErrorRow
    """Of all floating-point tensors in the output, against the exact network's; operands are the exact outputs."""

    def as_dict(self) -> dict[str, Any]:
        """Lists and numbers, as JSON has them."""
        return {"rows": [asdict(row) for row in self.rows], "output": asdict(self.output)}

    def __str__(self) -> str:
        titles = (
            "layer",
            "function",
            "calls",
            "elements",
            "lowest",
            "highest",
            "outside",
            "MSE",
            "maximum",
            "relative",
        )
        lines = [titles, *(_cells(row) for row in (*self.rows, self.output))]
        widths = [max(len(line[place]) for line in lines) for place in range(len(titles))]
        return "\n".join(
            "  ".join(
                cell.ljust(width) if place < 2 else cell.rjust(width)
                for place, (cell, width) in enumerate(zip(line, widths))
            )
            for line in lines
        )


def _cells(row: ErrorRow) -> tuple[str, ...]:
    return (
        row.layer or "(network)", row.function, str(row.calls), f"{row.elements:,}", f"{row.lowest:.4g}", f"{row.highest:.4g}",
        f"{row.outside:.2%}", f"{row.mse:.3g}", f"{row.max_error:.3g}", f"{row.relative_error:.2%}",
    )  # fmt: skip


def error_report(module: nn.Module, approximated: nn.Module, inputs: Any) -> ErrorReport:
    """Run both networks on ``inputs``, in evaluation mode, and compare.

    Each row's reference is the exact function, in float64, of the operands that the function had in the approximated network: what
    the layers before it have done wrong does not count twice. Only ``output`` compares with the exact network.

    Args:
        module: The exact network.
        approximated: What :func:`~lanewise.models.nn.approximate` has made of it.
        inputs: A tensor, a tuple of positional arguments or a mapping of keyword arguments.

    Raises:
        UserError: The approximated network calls no function that is replaced, or the outputs are no tensors or of other shapes.

    >>> from lanewise.models.nn import approximate
    >>> network = nn.Sequential(nn.Tanh(), nn.GELU())
    >>> report = error_report(network, approximate(network, segments=32), torch.linspace(-9, 9, 1001))
    >>> [(row.layer, row.function, row.elements, round(row.outside, 2)) for row in report.rows]
    [('0', 'tanh', 1001, 0.11), ('1', 'gelu', 1001, 0.0)]
    """
    sums: dict[tuple[str, str], _Sums] = {}

    def note(seen: Observation) -> None:
        key = (seen.layer, seen.function)
        sums.setdefault(key, _Sums()).add(
            seen.operand, seen.result, seen.exact(seen.operand.double()), seen.range
        )

    with torch.no_grad():
        with _evaluating(module):
            wanted = _tensors(run(module, inputs))
        with _evaluating(approximated), observed(note):
            results = _tensors(run(approximated, inputs))
    if not sums:
        raise UserError(
            f"approximated must call functions that are replaced; {type(approximated).__name__} calls none"
        )
    if not wanted or [w.shape for w in wanted] != [r.shape for r in results]:
        raise UserError("module and approximated must give floating-point tensors of equal shapes")
    total = _Sums()
    for exact, result in zip(wanted, results):
        total.add(exact, result, exact.double(), None)
    rows = tuple(entry.row(layer, function) for (layer, function), entry in sums.items())
    return ErrorReport(rows=rows, output=total.row("", "output"))


@dataclass(kw_only=True)
class _Sums:
    calls: int = 0
    elements: int = 0
    finite: int = 0
    outside: int = 0
    lowest: float = inf
    highest: float = -inf
    squared: float = 0.0
    energy: float = 0.0
    largest: float = 0.0
    comparable: int = field(default=0)

    def add(
        self,
        operand: torch.Tensor,
        result: torch.Tensor,
        exact: torch.Tensor,
        range: tuple[float, float] | None,
    ) -> None:
        self.calls += 1
        self.elements += operand.numel()
        values = operand[operand.isfinite()]
        if values.numel():
            self.lowest = min(self.lowest, float(values.min()))
            self.highest = max(self.highest, float(values.max()))
        if range is not None:
            self.outside += int(((operand < range[0]) | (operand > range[1])).sum())
        exact, result = exact.reshape(-1), result.double().reshape(-1)
        same = result == exact  # infinities, too
        error = torch.where(same, 0.0, result - exact).abs()
        known = exact.isfinite() | ~same & ~exact.isnan()
        self.comparable += int(known.sum())
        if known.any():
            self.squared += float((error[known] ** 2).sum())
            self.energy += float((exact[exact.isfinite()] ** 2).sum())
            self.largest = max(self.largest, float(error[known].max()))

    def row(self, layer: str, function: str) -> ErrorRow:
        mse = self.squared / max(1, self.comparable)
        return ErrorRow(
            layer=layer, function=function, calls=self.calls, elements=self.elements, lowest=self.lowest, highest=self.highest,
            outside=self.outside / max(1, self.elements), mse=mse, max_error=self.largest,
            relative_error=sqrt(self.squared / self.energy) if self.energy else (inf if self.squared else 0.0),
        )  # fmt: skip


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Context in which ``module`` is in evaluation mode."""
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True


def _tensors(value: Any) -> list[torch.Tensor]:
    """Floating-point tensors in nested results, in order."""
    if isinstance(value, torch.Tensor):
        return [value] if value.is_floating_point() else []
    if isinstance(value, Mapping):
        value = value.values()
    elif not isinstance(value, list | tuple):
        return []
    return [tensor for part in value for tensor in _tensors(part)]
