"""Folds, products of rows, triangular solves, distances and samples, made of slices, products and sums."""

import math
from collections.abc import Mapping
from math import ceil, prod

from lanewise.mapping.expansion_parts import Parts, Rule


def _fold(parts: Parts) -> int | None:
    """col2im: for each phase of the stride the sum of the kernel's places that land there, then the phases side by side."""
    if "kernel" not in parts.operator.attributes:
        return None
    (value,), out = parts.operator.inputs, parts.shape(parts.operator.outputs[0])
    kernel, stride, padding, dilation = (parts.sizes(name) for name in ("kernel", "stride", "padding", "dilation"))  # fmt: skip
    lead, channels, size = out[:-3], out[-3], out[-2:]
    patches = [
        (total + 2 * border - apart * (taps - 1) - 1) // step + 1
        for total, border, apart, taps, step in zip(size, padding, dilation, kernel, stride, strict=True)
    ]
    images = prod(lead)
    x = parts.view(value, (images, channels, *kernel, *patches))
    if kernel == stride and padding == (0, 0) and dilation == (1, 1):
        planes = parts.permuted(x, 0, 1, 4, 2, 5, 3)
        whole = tuple(count * taps for count, taps in zip(patches, kernel))
        return _cut(parts, parts.view(planes, (images, channels, *whole)), (0, 0), out)
    rows = [
        max(ceil((total + border) / step), apart * (taps - 1) // step + count)
        for total, border, step, apart, taps, count in zip(size, padding, stride, dilation, kernel, patches)
    ]
    phases: list[int] = []
    for phase in range(prod(stride)):
        at = (phase // stride[1], phase % stride[1])
        total: int | None = None
        for place in range(prod(kernel)):
            taps = (place // kernel[1], place % kernel[1])
            offsets = [tap * apart for tap, apart in zip(taps, dilation)]
            if any(offset % step != own for offset, step, own in zip(offsets, stride, at)):
                continue
            plane = x
            for axis in (0, 1):
                plane = parts.sliced(plane, 2 + axis, taps[axis], taps[axis] + 1)
            plane = parts.view(plane, (images, channels, *patches))
            for axis in (0, 1):
                before = offsets[axis] // stride[axis]
                plane = parts.padded(plane, 2 + axis, before, rows[axis] - patches[axis] - before)
            total = plane if total is None else parts.of("add", total, plane)
        if total is None:  # a stride beyond the kernel
            total = parts.constant("range 0.0 0.0", (images, channels, *rows))
        phases.append(parts.view(total, (images, channels, *rows, 1)))
    planes = parts.view(parts.concatenated(phases, -1), (images, channels, *rows, *stride))
    planes = parts.permuted(planes, 0, 1, 2, 4, 3, 5)
    whole = tuple(count * step for count, step in zip(rows, stride))
    return _cut(parts, parts.view(planes, (images, channels, *whole)), padding, out)


def _cut(parts: Parts, value: int, first: tuple[int, ...], out: tuple[int, ...]) -> int:
    for axis in (0, 1):
        value = parts.sliced(value, 2 + axis, first[axis], first[axis] + out[axis - 2])
    return value if parts.shape(value) == out else parts.view(value, out)


def _product(parts: Parts) -> int | None:
    """The product along one axis, or of all: halves multiplied."""
    (value,) = parts.operator.inputs
    wanted, axes, shape = parts.shape(parts.operator.outputs[0]), parts.axes, parts.shape(value)
    if len(axes) > 1 and len(axes) != len(shape):
        return None
    value, axis = (parts.view(value, (prod(shape),)), 0) if len(axes) != 1 else (value, axes[0])
    if not shape:
        return None
    while (length := parts.shape(value)[axis]) > 1:
        half = length // 2
        product = parts.of("multiply", *(parts.sliced(value, axis, k * half, (k + 1) * half) for k in (0, 1)))
        rest = [parts.sliced(value, axis, length - 1, length)] if length % 2 else []
        value = parts.concatenated([product, *rest], axis)
    return value if parts.shape(value) == wanted and parts.made else parts.view(value, wanted)


def _products(parts: Parts) -> int | None:
    """cumprod: each place times what stands 1, 2, 4, ... before it."""
    (value,) = parts.operator.inputs
    if not parts.shape(value):
        return None
    (axis,) = parts.axes
    length, distance = parts.shape(value)[axis], 1
    while distance < length:
        before = parts.sliced(value, axis, 0, length - distance)
        value = parts.of("multiply", value, parts.padded(before, axis, distance, 0, 1.0))
        distance *= 2
    return value if parts.made else parts.of("add", value, scalar=0.0)


def _extremes(parts: Parts) -> tuple[int | None, ...] | None:
    """cummax, cummin: each place and what stands 1, 2, 4, ... before it; not where the places are read."""
    (value,) = parts.operator.inputs
    if "axis" not in parts.operator.attributes or not parts.shape(value) or parts.wants(1):
        return None
    (axis,) = parts.axes
    least = parts.operator.function == "cummin"
    length, distance = parts.shape(value)[axis], 1
    while distance < length:
        before = parts.sliced(value, axis, 0, length - distance)
        before = parts.padded(before, axis, distance, 0, math.inf if least else -math.inf)
        value = parts.of("minimum" if least else "maximum", value, before)
        distance *= 2
    return value if parts.made else parts.of("add", value, scalar=0.0), None


def _squares(parts: Parts) -> int | None:
    """mse_loss: the mean of the squares of the differences."""
    if parts.shape(parts.operator.outputs[0]):
        return None
    square = parts.of("pow", parts.of("subtract", *parts.operator.inputs), exponent=2.0)
    shape = parts.shape(square)
    return parts.of("mean", square, kind="reduce", shape=(), axes=tuple(range(len(shape))), keep=False)


def _distances(parts: Parts) -> int | None:
    """Of all rows from all others: the root of both squares less twice the product."""
    left, right = parts.operator.inputs
    shape = parts.shape(right)
    if not parts.computed(left):
        return None
    if not parts.computed(right):
        if prod(shape[:-2]) != 1:
            return None
        right = parts.view(right, shape[-2:])
        shape = shape[-2:]
    squares = [parts.along("sum", parts.of("pow", each, exponent=2.0), -1) for each in (left, right)]
    axes = (*range(len(shape) - 2), len(shape) - 1, len(shape) - 2)
    product = parts.times(parts.product(left, parts.permuted(right, *axes)), -2.0)
    total = parts.of("add", parts.of("add", product, squares[0]), parts.permuted(squares[1], *axes))
    return parts.of("sqrt", parts.of("maximum", total, scalar=0.0))


_BLOCK = 16
"""Unknowns that are solved one after the other; blocks of them by matrix products."""


def _solve(parts: Parts) -> int | None:
    """Forward substitution by halves: the lower half's right side less the product of the block between them and the upper half's solution."""
    attributes = parts.operator.attributes
    if not attributes.get("left") or len(parts.operator.inputs) != 2:
        return None
    matrix, right = parts.operator.inputs
    if not (parts.computed(matrix) and parts.computed(right)):
        return None
    rank = len(parts.shape(matrix))
    if rank < 2 or parts.shape(matrix)[:-2] != parts.shape(right)[:-2]:
        return None
    upper, unit = bool(attributes.get("upper")), bool(attributes.get("unit"))
    return _solved(parts, matrix, right, upper=upper, unit=unit)


def _solved(parts: Parts, matrix: int, right: int, *, upper: bool, unit: bool) -> int:
    n = parts.shape(matrix)[-1]
    if n <= _BLOCK:
        return _substituted(parts, matrix, right, upper=upper, unit=unit)
    half = ceil(n / 2 / _BLOCK) * _BLOCK
    halves = [(0, half), (half, n)]
    if upper:
        halves.reverse()
    first, second = halves
    a, b = (parts.sliced(parts.sliced(matrix, -2, *rows), -1, *rows) for rows in halves)
    between = parts.sliced(parts.sliced(matrix, -2, *second), -1, *first)
    x = _solved(parts, a, parts.sliced(right, -2, *first), upper=upper, unit=unit)
    rest = parts.of("subtract", parts.sliced(right, -2, *second), parts.product(between, x))
    y = _solved(parts, b, rest, upper=upper, unit=unit)
    return parts.concatenated([y, x] if upper else [x, y], -2)


def _substituted(parts: Parts, matrix: int, right: int, *, upper: bool, unit: bool) -> int:
    """One unknown after the other: its column times it is taken from the rows that are left."""
    n = parts.shape(matrix)[-1]
    solved: list[int] = []
    for turn in range(n):
        at = n - 1 - turn if upper else turn
        left = (0, at) if upper else (at + 1, n)
        own = (n - 1 - turn, n - turn) if upper else (0, 1)
        row = parts.sliced(right, -2, *own)
        if not unit:
            row = parts.of("divide", row, parts.sliced(parts.sliced(matrix, -2, at, at + 1), -1, at, at + 1))
        solved.append(row)
        if left[0] < left[1]:
            column = parts.sliced(parts.sliced(matrix, -2, *left), -1, at, at + 1)
            rows = parts.sliced(right, -2, *((0, at) if upper else (1, n - turn)))
            right = parts.of("subtract", rows, parts.of("multiply", column, row))
    return parts.concatenated(solved[::-1] if upper else solved, -2)


_SHARPNESS = -0.75
"""Of PyTorch's cubic weights."""


def _cubic(parts: Parts, share: int) -> list[tuple[int, int]]:
    """The four neighbours and their weights, polynomials of the distance."""

    def polynomial(distance: int, factors: tuple[float, ...]) -> int:
        value = parts.times(distance, factors[0])
        for factor in factors[1:-1]:
            value = parts.of("multiply", parts.of("add", value, scalar=factor), distance)
        return parts.of("add", value, scalar=factors[-1])

    a = _SHARPNESS
    near, far = (a + 2, -(a + 3), 0.0, 1.0), (a, -5 * a, 8 * a, -4 * a)
    other = parts.of("reverse_subtract", share, scalar=1.0)
    beyond = (parts.of("add", each, scalar=1.0) for each in (share, other))
    before, behind = (polynomial(each, far) for each in beyond)
    return [(-1, before), (0, polynomial(share, near)), (1, polynomial(other, near)), (2, behind)]


def _neighbours(parts: Parts, at: int, length: int) -> list[tuple[int, int]]:
    """The places along an axis that a coordinate is between, and their weights."""
    attributes = parts.operator.attributes
    cubic, border = attributes["mode"] == 2, attributes["padding"] == 1
    if border and not cubic:
        at = parts.of("clamp", at, minimum=0.0, maximum=length - 1.0)
    low = parts.of("floor", at)
    share = parts.of("subtract", at, low)
    steps = (
        _cubic(parts, share) if cubic else [(0, parts.of("reverse_subtract", share, scalar=1.0)), (1, share)]
    )
    found: list[tuple[int, int]] = []
    for step, weight in steps:
        place = parts.of("add", low, scalar=float(step)) if step else low
        inside = parts.of("clamp", place, minimum=0.0, maximum=length - 1.0)
        if not border:
            weight = parts.of("multiply", weight, parts.of("compare", inside, place, relation="equal"))
        found.append((inside, weight))
    return found


def _sampled(parts: Parts) -> int | None:
    """grid_sample between four neighbours, or sixteen: their rows looked up, times the weights, which are zero beyond the picture or go to its border."""
    attributes = parts.operator.attributes
    if attributes.get("mode") not in (0, 2) or attributes.get("padding") not in (0, 1):
        return None
    picture, grid = parts.operator.inputs
    images, channels, *size = parts.shape(picture)
    _, *results, _ = parts.shape(grid)
    count = prod(results)
    table = parts.permuted(picture, 0, 2, 3, 1)
    if parts.computed(picture):
        table = parts.of("", table, kind="movement", operation="clone")
    table = parts.view(table, (images * prod(size), channels))
    sides: list[list[tuple[int, int]]] = []  # y, then x
    for axis in (0, 1):
        length = size[axis]
        at = parts.view(parts.sliced(grid, -1, 1 - axis, 2 - axis), (images, count))
        scale = (length - 1) / 2 if attributes.get("corners") else length / 2
        sides.append(
            _neighbours(parts, parts.of("add", parts.times(at, scale), scalar=(length - 1) / 2), length)
        )
    total: int | None = None
    first = parts.numbers(images, 0, 2, 0.0, float(prod(size)))
    for y, by_y in sides[0]:
        row = parts.of("add", parts.times(y, float(size[1])), first)
        for x, by_x in sides[1]:
            rows = parts.looked_up(table, parts.of("add", row, x))
            weight = parts.view(parts.of("multiply", by_y, by_x), (images, count, 1))
            term = parts.of("multiply", rows, weight)
            total = term if total is None else parts.of("add", total, term)
    assert total is not None
    return parts.permuted(parts.view(total, (images, *results, channels)), 0, 3, 1, 2)


RULES: Mapping[tuple[str, str], Rule] = {
    ("other", "col2im"): _fold,
    ("other", "linalg_solve_triangular"): _solve,
    ("other", "mse_loss"): _squares,
    ("other", "_euclidean_dist"): _distances,
    ("other", "grid_sampler_2d"): _sampled,
    ("reduce", "product"): _product,
    ("reduce", "cumprod"): _products,
    ("other", "cummax"): _extremes,
    ("other", "cummin"): _extremes,
}
"""By kind and function."""
