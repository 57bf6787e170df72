"""Orders, places and counts, made of comparisons, selections, maxima and sums.

Places are FP16 numbers, exact to :data:`~lanewise.mapping.expansion_parts.EXACT`; of longer rows they are two until the result, which is rounded as any.
"""

from collections.abc import Mapping, Sequence
from math import inf, prod

from lanewise.mapping.expansion_parts import EXACT, Parts, Rule


def _digits(length: int) -> list[tuple[int, int]]:
    """Place values and sizes of the numbers that a place is, the highest first: one, if FP16 has all places."""
    return [(1, length)] if length <= EXACT else [(EXACT, -(-length // EXACT)), (1, EXACT)]


def _together(parts: Parts, digits: Sequence[int]) -> int:
    """A place of its digits, as FP16 has it."""
    number, *rest = digits
    for digit in rest:
        number = parts.of("add", parts.times(number, float(EXACT)), digit)
    return number


def _place_of_most(parts: Parts, value: int, axis: int, most: int) -> list[int]:
    """The first place along an axis that holds ``most``, its maximum, in digits; the axis stays, with one element."""
    rank, length = len(parts.shape(value)), parts.shape(value)[axis]
    here = parts.of("compare", value, most, relation="equal")
    found: list[int] = []
    for worth, count in _digits(length):
        backwards = parts.along_axis(f"backwards {worth} {count}", length, axis, rank)
        left = parts.of("multiply", here, backwards)
        first = parts.along("max", left, axis)
        found.append(parts.of("reverse_subtract", first, scalar=float(count)))
        if worth > 1:
            here = parts.of("compare", left, first, relation="equal")
    return found


def _place(parts: Parts) -> int | None:
    """argmax, argmin: the first place of the maximum, of the value or of what is turned round."""
    (value,) = parts.operator.inputs
    shape, axes = parts.shape(value), parts.axes
    if not shape:
        return None
    if len(axes) > 1:
        if len(axes) != len(shape):
            return None
        value, axis = parts.view(value, (prod(shape),)), 0
    else:
        (axis,) = axes
    if parts.operator.function == "argmin":
        value = parts.of("negate", value)
    place = _together(parts, _place_of_most(parts, value, axis, parts.along("max", value, axis)))
    wanted = parts.shape(parts.operator.outputs[0])
    return place if parts.shape(place) == wanted else parts.view(place, wanted)


def _numbered(parts: Parts, value: int) -> list[int]:
    """For each element of a value its place along the last axis, in digits."""
    length = parts.shape(value)[-1]
    none = parts.of("compare", value, value, relation="less")
    return [
        parts.of("add", none, parts.along_axis(f"digits {worth} {count}", length, 0, 1)) for worth, count in _digits(length)
    ]  # fmt: skip


def _stages(length: int) -> list[tuple[int, bool]]:
    """Of Batcher's bitonic network of ``length``, a power of two: the distance of partners, and whether they are mirrored in their block."""
    stages: list[tuple[int, bool]] = []
    block = 2
    while block <= length:
        stages.append((block // 2, True))
        distance = block // 4
        while distance:
            stages.append((distance, False))
            distance //= 2
        block *= 2
    return stages


def _partner(parts: Parts, value: int, distance: int, *, mirrored: bool) -> int:
    """What stands at each place's partner along the last axis: at the distance, or mirrored in the block."""
    *rows, length = parts.shape(value)
    block = 2 * distance
    shape = (*rows, length // block, block) if mirrored else (*rows, length // block, 2, distance)
    return parts.view(parts.flipped(parts.view(value, shape), len(rows) + 1), (*rows, length))


def _sorted(parts: Parts, value: int, *, descending: bool, stable: bool, places: bool) -> tuple[int, int | None]:  # fmt: skip
    """Values along the last axis in order, and where each was."""
    length = parts.shape(value)[-1]
    padded = 1 << (length - 1).bit_length()
    key = parts.of("negate", value) if descending else value
    key = parts.padded(key, -1, 0, padded - length, inf)
    at = _numbered(parts, key) if places or stable else []
    for distance, mirrored in _stages(padded):
        signs = parts.constant(f"signs {distance}", (padded,))
        other = _partner(parts, key, distance, mirrored=mirrored)
        turned = parts.of("multiply", other, signs)
        if at:
            worse = parts.of("compare", parts.of("multiply", key, signs), turned, relation="greater")
            there = [_partner(parts, each, distance, mirrored=mirrored) for each in at]
            if stable:
                same = parts.of("compare", key, other, relation="equal")
                own, others = (parts.of("multiply", each, signs) for each in (at[0], there[0]))
                later = parts.of("compare", own, others, relation="greater")
                worse = parts.of("logical_or", worse, parts.of("logical_and", same, later))
            at = [
                parts.of("add", parts.of("multiply", parts.of("subtract", far, near), worse), near)
                for far, near in zip(there, at, strict=True)
            ]
        least = parts.of("minimum", parts.of("multiply", key, signs), turned)
        key = parts.of("multiply", least, signs)
    key = parts.sliced(key, -1, 0, length)
    if descending:
        key = parts.of("negate", key)
    return key, parts.sliced(_together(parts, at), -1, 0, length) if places else None


def _rows(parts: Parts, value: int, axis: int) -> tuple[int, tuple[int, ...]]:
    """The value with an axis last, and the permutation that puts it back."""
    rank = len(parts.shape(value))
    if axis == rank - 1:
        return value, tuple(range(rank))
    order = (*(a for a in range(rank) if a != axis), axis)
    return parts.permuted(value, *order), tuple(order.index(a) for a in range(rank))


def _put_back(parts: Parts, value: int | None, back: Sequence[int]) -> int | None:
    if value is None or tuple(back) == tuple(range(len(back))):
        return value
    return parts.permuted(value, *back)


def _sort(parts: Parts) -> tuple[int | None, ...] | None:
    """A bitonic network on the vector unit."""
    (value,) = parts.operator.inputs
    attributes = parts.operator.attributes
    if "axis" not in attributes or not parts.shape(value):
        return None
    (axis,) = parts.axes
    if parts.shape(value)[axis] > EXACT and attributes["stable"]:
        return None
    rows, back = _rows(parts, value, axis)
    keys, places = _sorted(
        parts, rows, descending=bool(attributes["descending"]), stable=bool(attributes["stable"]), places=parts.wants(1)
    )  # fmt: skip
    return _results(parts, keys, places, back)


def _results(parts: Parts, keys: int | None, places: int | None, back: Sequence[int]) -> tuple[int | None, ...]:  # fmt: skip
    """What is read of both, the axis where it was."""
    found = [_put_back(parts, each, back) if parts.wants(place) else None for place, each in enumerate((keys, places))]  # fmt: skip
    made = {out for operator in parts.made for out in operator.outputs}
    return tuple(parts.of("add", each, scalar=0.0) if each is not None and each not in made else each for each in found)  # fmt: skip


_PASS = 4
"""Reductions and element-wise passes for one of the largest, and"""
_STAGE = 7
"""movements and passes for a stage of a network that sorts."""


def _top(parts: Parts) -> tuple[int | None, ...] | None:
    """One maximum after the other, or all in order: whichever takes fewer passes."""
    (value,) = parts.operator.inputs
    attributes = parts.operator.attributes
    if "axis" not in attributes or not parts.shape(value):
        return None
    (axis,), count, largest = parts.axes, int(parts.number("count")), bool(attributes["largest"])
    rows, back = _rows(parts, value, axis)
    length = parts.shape(rows)[-1]
    if not count:
        return None
    places: int | None
    if _PASS * count > _STAGE * len(_stages(1 << (length - 1).bit_length())):
        keys, places = _sorted(parts, rows, descending=largest, stable=False, places=parts.wants(1))
        cut = [parts.sliced(each, -1, 0, count) if each is not None else None for each in (keys, places)]
        return _results(parts, cut[0], cut[1], back)
    rank = len(parts.shape(rows))
    left = rows if largest else parts.of("negate", rows)
    numbered = _numbered(parts, left) if count > 1 else []
    most: list[int] = []
    at: list[int] = []
    for turn in range(count):
        most.append(parts.along("max", left, -1))
        digits = _place_of_most(parts, left, rank - 1, most[-1])
        at.append(_together(parts, digits))
        if turn < count - 1:
            taken, *also = (parts.of("compare", own, digit, relation="equal") for own, digit in zip(numbered, digits, strict=True))  # fmt: skip
            for each in also:
                taken = parts.of("multiply", taken, each)
            bound = parts.of("multiply", parts.of("reverse_subtract", taken, scalar=0.5), scalar=inf)
            left = parts.of("minimum", left, bound)
    keys = parts.concatenated(most, -1)
    if not largest:
        keys = parts.of("negate", keys)
    return _results(parts, keys, parts.concatenated(at, -1), back)


def _whole(parts: Parts) -> bool:
    return "int" in parts.values[parts.operator.inputs[0]].dtype


def _histogram(parts: Parts) -> int | None:
    """Each number compared with each bin, and a sum; of whole numbers, a bin each, with the bin's own."""
    (value,) = parts.operator.inputs
    attributes = parts.operator.attributes
    if "bins" not in attributes or not parts.computed(value):
        return None
    bins, low, high = int(parts.number("bins")), parts.number("minimum"), parts.number("maximum")
    count = prod(parts.shape(value))
    lines = parts.view(value, (1, count))
    if high - low == bins - 1 and _whole(parts):
        same = parts.of("compare", lines, parts.numbers(bins, 0, 2, low), relation="equal")
        return parts.along("sum", same, -1, keep=False)
    if high <= low:
        return None  # the least and the largest number are the ends
    edges = parts.numbers(bins + 1, 0, 2, low, (high - low) / bins)
    above = parts.along("sum", parts.of("compare", lines, edges, relation="greater_equal"), -1, keep=False)
    beyond = parts.of("compare", parts.view(lines, (count,)), relation="greater", scalar=high)
    ends = [parts.sliced(above, 0, 1, bins), parts.along("sum", beyond, -1)]
    return parts.of("subtract", parts.sliced(above, 0, 0, bins), parts.concatenated(ends if bins > 1 else ends[1:], 0))  # fmt: skip


def _search(parts: Parts) -> int | None:
    """How many of a row's numbers in order are before each one that is looked for."""
    attributes = parts.operator.attributes
    if "right" not in attributes or attributes.get("sorter") or len(parts.operator.inputs) != 2:
        return None
    edges, value = parts.operator.inputs
    if parts.operator.function == "bucketize":
        edges, value = value, edges
    shape, length = parts.shape(value), parts.shape(edges)[-1]
    if length > EXACT or not shape:
        return None
    rows = parts.shape(edges)[:-1]
    looked = parts.view(value, (*shape, 1))
    lines = parts.view(edges, (*rows, *(1,) * (len(shape) - len(rows)), length)) if rows else edges
    before = parts.of("compare", lines, looked, relation="less_equal" if attributes["right"] else "less")
    return parts.along("sum", before, -1, keep=False)


def _among(parts: Parts) -> int | None:
    """isin: whether any of the numbers is equal."""
    if len(parts.operator.inputs) != 2 or "invert" not in parts.operator.attributes:
        return None
    value, numbers = parts.operator.inputs
    shape, count = parts.shape(value), prod(parts.shape(numbers))
    if len(parts.shape(numbers)) != 1 and parts.computed(numbers):
        numbers = parts.view(numbers, (count,))
    same = parts.of("compare", parts.view(value, (*shape, 1)), numbers, relation="equal")
    found = parts.along("max", same, -1, keep=False)
    return parts.of("reverse_subtract", found, scalar=1.0) if parts.operator.attributes["invert"] else found


def most(parts: Parts) -> tuple[int | None, ...] | None:
    """max, min along an axis, with the first place."""
    if len(parts.operator.outputs) != 2 or len(parts.axes) != 1 or not parts.shape(parts.operator.inputs[0]):
        return None
    (value,), (axis,) = parts.operator.inputs, parts.axes
    least = parts.operator.function == "min"
    if not least and not parts.wants(1):
        return None
    turned = parts.of("negate", value) if least else value
    most = parts.along("max", turned, axis)
    found = [parts.of("negate", most) if least else most, _together(parts, _place_of_most(parts, turned, axis, most)) if parts.wants(1) else None]  # fmt: skip
    wanted = parts.shape(parts.operator.outputs[0])
    return tuple(each if each is None or parts.shape(each) == wanted else parts.view(each, wanted) for each in found)  # fmt: skip


def _repeated(parts: Parts) -> int | None:
    """The number of the row that stands at each place: how many rows end before it; then the rows, if they are given."""
    repeats = parts.operator.inputs[-1]
    if len(parts.operator.inputs) > 1 or len(parts.shape(repeats)) != 1:
        return None
    ends = parts.view(parts.summed(repeats, 0), (1, *parts.shape(repeats)))
    (count,) = parts.shape(parts.operator.outputs[0])
    places = parts.numbers(count, 0, 2)
    return parts.along("sum", parts.of("compare", ends, places, relation="less_equal"), -1, keep=False)


RULES: Mapping[tuple[str, str], Rule] = {
    ("reduce", "argmax"): _place,
    ("reduce", "argmin"): _place,
    ("reduce", "max"): most,
    ("other", "isin"): _among,
    ("other", "sort"): _sort,
    ("other", "topk"): _top,
    ("other", "histc"): _histogram,
    ("other", "searchsorted"): _search,
    ("other", "bucketize"): _search,
    ("other", "repeat_interleave"): _repeated,
}
"""By kind and function."""
