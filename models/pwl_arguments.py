"""What a fit is asked for, checked: the function, the range, and the density of the inputs."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from lanewise.errors import UserError
from lanewise.formats import NumberFormat
from lanewise.models.functions import FUNCTIONS, Function, Reals
from lanewise.models.pwl_cells import cells_of
from lanewise.models.pwl_format import operands
from lanewise.models.pwl_pieces import CELLS, Weight, midpoints, uniform_weight
from lanewise.models.pwl_scaling import Scaling

_FARTHEST, _NARROWEST = 1e60, 1e-44
"""Of a range's ends and of its width, so that squares stay numbers."""
_LARGEST = 1e100
"""Of a function's values, likewise."""
_RESOLUTION = 1e-9
"""A range's least width as a share of its larger end: float64 must tell apart the cells."""


def subject_of(function: str | Callable[[Any], Any], interval: object) -> Function:
    """The function to fit.

    Raises:
        UserError: It is unknown, needs a range, or takes no numbers.
    """
    if isinstance(function, Function):
        return function
    if isinstance(function, str):
        if function not in FUNCTIONS:
            raise UserError(f"function {function!r} is unknown; expected one of {', '.join(FUNCTIONS)}")
        return FUNCTIONS[function]
    if interval is None:
        raise UserError("range is missing; expected one with a function of your own")
    low, high = interval_of(interval)
    return Function(name=_name(function), torch=_on_tensors(function, low, high), range=(low, high))


def _name(function: Any) -> str:
    if isinstance(function, torch.nn.Module):
        return type(function).__name__
    return str(getattr(function, "__name__", "function"))


def _on_tensors(
    function: Callable[[Any], Any], low: float, high: float
) -> Callable[[torch.Tensor], torch.Tensor]:
    """The callable as one on float64 tensors, whatever it takes: tensors of any width, arrays or floats.

    Raises:
        UserError: It takes none of them.
    """
    probe = torch.linspace(low, high, 5, dtype=torch.float64)[1:4]
    for way in _ways(function):
        try:
            with torch.no_grad():
                result = way(probe)
        except Exception:  # noqa: BLE001 - whatever a stranger's function raises for what it does not take
            continue
        if isinstance(result, torch.Tensor) and result.shape == probe.shape and not result.is_complex():
            return way
    raise UserError(
        f"function {_name(function)} must take tensors, arrays or floats in [{low}, {high}] and give as many numbers"
    )


def _ways(function: Callable[[Any], Any]) -> Iterator[Callable[[torch.Tensor], torch.Tensor]]:
    """A module is fitted with its parameters in float64 and as it is in inference."""

    def on_arrays(x: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(np.asarray(function(x.numpy()), np.float64))

    def in_type(kind: torch.dtype) -> Callable[[torch.Tensor], torch.Tensor]:
        return lambda x: function(x.to(kind))

    def on_floats(x: torch.Tensor) -> torch.Tensor:
        values = [float(function(v)) for v in x.reshape(-1).tolist()]
        return torch.tensor(values, dtype=torch.float64).reshape(x.shape)

    if isinstance(function, torch.nn.Module):
        yield copy.deepcopy(function).double().eval()
    yield function
    yield on_arrays
    for kind in (torch.float32, torch.float16, torch.bfloat16):
        yield in_type(kind)
    yield on_floats


def interval_of(interval: Any) -> tuple[float, float]:
    """The range as two numbers.

    Raises:
        UserError: It is none on which float64 can fit.
    """
    try:
        low, high = (float(end) for end in interval)
    except (TypeError, ValueError, OverflowError):
        raise UserError(f"range must be two numbers, not {interval!r}") from None
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise UserError(f"range must be two finite numbers, the smaller first, not {low} {high}")
    reach = max(abs(low), abs(high))
    if reach > _FARTHEST:
        raise UserError(f"range must lie in [-{_FARTHEST:g}, {_FARTHEST:g}], not {low} {high}")
    least = max(_NARROWEST, _RESOLUTION * reach)
    if high - low < least:
        raise UserError(f"range must be at least {least:.3g} wide, not {low} {high}")
    return low, high


def check_values(subject: Function, number_format: NumberFormat | None, low: float, high: float) -> None:
    """Refuse a function that is not finite in the range, or leaves the format.

    Raises:
        UserError: It is not, or does.
    """
    top = _LARGEST
    name = "a"
    if number_format is not None and number_format.floating:
        top, name = number_format.maximum, number_format.name.upper()
        if max(abs(low), abs(high)) > top:
            raise UserError(f"range must lie in {name}'s [-{top:g}, {top:g}], not {low} {high}")
    values = subject(_probes(number_format, low, high))
    if not np.isfinite(values).all():
        raise _not_finite(subject, low, high)
    largest = float(np.abs(values).max())
    if largest <= top:
        cells = cells_of(subject, low, high)
        if not np.isfinite(cells.largest) or (cells.diverging and cells.largest > 20 * largest):
            raise _not_finite(subject, low, high)
        largest = max(largest, cells.largest)
    if largest > top:
        limit = f"expected {name}'s at most {top:g}" if name != "a" else f"expected at most {top:g}"
        raise UserError(f"function {subject.name} reaches {largest:.6g} in [{low}, {high}]; {limit}")


def _not_finite(subject: Function, low: float, high: float) -> UserError:
    return UserError(
        f"function {subject.name} is not finite everywhere in [{low}, {high}]; "
        "expected a range in which it is"
    )


def _probes(form: NumberFormat | None, low: float, high: float) -> Reals:
    """Places where a function must be finite: even ones, halves and a format's numbers, among which poles are."""
    places = np.linspace(low, high, 2 * CELLS + 1)
    if low <= 0 <= high:
        places = np.append(places, 0.0)
    if np.ceil(2 * low) - np.floor(2 * high) > -4096:
        halves = np.arange(np.ceil(2 * low), np.floor(2 * high) + 1) / 2
        places = np.append(places, halves)
    if form is not None and form.floating:
        places = np.append(places, operands(Scaling(format=form.name), low, high, uniform_weight)[1])
    return places


def density_of(weights: Any, low: float, high: float) -> Weight:
    """A density from a callable, or from samples: their histogram, smoothed, above a hundredth of its mean.

    Raises:
        UserError: It gives or has no proper numbers.
    """
    x = midpoints(low, high, 512)
    if callable(weights):
        try:
            values = np.asarray(weights(x), np.float64)
        except (TypeError, ValueError):
            values = np.array(np.nan)
        if values.shape != x.shape or not np.isfinite(values).all() or (values < 0).any() or not values.any():
            raise UserError("weights must give finite numbers of at least 0, some above it, one for each x")
        return lambda v: np.asarray(weights(v), np.float64)
    try:
        given = np.asarray(weights)
        if np.iscomplexobj(given):
            raise TypeError
        samples = given.astype(np.float64).reshape(-1)
    except (TypeError, ValueError):
        raise UserError(f"weights must be a density or real numbers, not {_short(weights)}") from None
    samples = samples[np.isfinite(samples) & (samples >= low) & (samples <= high)]
    if samples.size < 100:
        raise UserError(f"weights must have at least 100 samples in [{low}, {high}], not {samples.size}")
    counts = np.histogram(samples, 512, (low, high))[0].astype(np.float64)
    smooth = np.convolve(np.pad(counts, 8, mode="edge"), np.hanning(19)[1:-1], mode="valid")
    smooth /= smooth.mean()
    return lambda v: np.interp(v, x, smooth + 0.01)


def _short(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."
