"""Operators that are made of others when they are lowered, with what is needed for that: orders, counts, folds, solves, samples."""

from torch import Tensor

from lanewise.mapping.canonical import Call, Canonical, Rule
from lanewise.mapping.graph import Attribute


def _form(call: Call, **attributes: Attribute) -> Canonical:
    return Canonical(kind="other", function=call.name, tensors=call.tensors, attributes=attributes)


def _axis(call: Call) -> int:
    x: Tensor = call["self"]
    return int(call.arguments.get("dim", -1)) % max(1, x.dim())


def _top(call: Call) -> Canonical:
    return _form(call, axis=_axis(call), count=call["k"], largest=bool(call["largest"]))


def _sort(call: Call) -> Canonical | None:
    if not isinstance(call.arguments.get("dim", -1), int):
        return None
    return _form(
        call, axis=_axis(call), descending=bool(call["descending"]), stable=bool(call.arguments.get("stable"))
    )


def _scan(call: Call) -> Canonical:
    return _form(call, axis=_axis(call))


def _histogram(call: Call) -> Canonical:
    return _form(call, bins=call["bins"], minimum=float(call["min"]), maximum=float(call["max"]))


def _search(call: Call) -> Canonical:
    right = bool(call.arguments.get("right")) or call.arguments.get("side") == "right"
    return _form(call, right=right, sorter=call.arguments.get("sorter") is not None)


def _among(call: Call) -> Canonical:
    return _form(call, invert=bool(call["invert"]))


def _fold(call: Call) -> Canonical:
    names = {"kernel": "kernel_size", "stride": "stride", "padding": "padding", "dilation": "dilation"}
    return _form(call, **{name: tuple(int(v) for v in call[given]) for name, given in names.items()})


def _solve(call: Call) -> Canonical:
    return _form(call, upper=bool(call["upper"]), left=bool(call["left"]), unit=bool(call["unitriangular"]))


def _sample(call: Call) -> Canonical:
    return _form(
        call,
        mode=int(call["interpolation_mode"]),
        padding=int(call["padding_mode"]),
        corners=bool(call["align_corners"]),
    )


def _fourier(call: Call) -> Canonical:
    x: Tensor = call["self"]
    axes = tuple(int(axis) % x.dim() for axis in call["dim"])
    return _form(
        call,
        axes=axes,
        forward=bool(call.arguments.get("forward", True)),
        normalisation=int(call["normalization"]),
        onesided=bool(call.arguments.get("onesided")),
    )


RULES: dict[str, Rule] = {
    "topk": _top,
    "sort": _sort,
    "histc": _histogram,
    "searchsorted": _search,
    "bucketize": _search,
    "isin": _among,
    "col2im": _fold,
    "linalg_solve_triangular": _solve,
    "grid_sampler_2d": _sample,
    "_fft_c2c": _fourier,
    "_fft_r2c": _fourier,
    "_fft_c2r": _fourier,
    "cummax": _scan,
    "cummin": _scan,
}
