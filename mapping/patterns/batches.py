"""Batches of products: several axes that were put together for one batched product are several again, and views that undo each other are none.

``torch.bmm`` and ``torch.einsum`` take one axis of products where ``torch.matmul`` takes any number of them. The axes put together are a copy where they do
not lie one behind the other, as attention's heads in every token do not; the matrix unit reads either.
"""

from collections.abc import Iterable
from math import prod

from lanewise.mapping.graph import Attribute, Operator
from lanewise.mapping.layout import Places, dense, reshaped
from lanewise.mapping.patterns.rewriter import Rewriter

_RESHAPE: dict[str, Attribute] = {"operation": "reshape"}


def split_batches(rewriter: Rewriter) -> None:
    """Products of operands whose leading axes were put together by a reshape read what was reshaped."""
    for index in sorted(rewriter.operators):
        product = rewriter.operators[index]
        if (
            product.kind != "matmul"
            or len(product.inputs) != 2
            or not all(rewriter.computed(i) for i in product.inputs)
        ):
            continue
        shapes = [rewriter.shape(value) for value in product.inputs]
        if any(len(shape) != 3 for shape in shapes) or not 1 < shapes[0][0] == shapes[1][0]:
            continue
        found = [_before_reshape(rewriter, value) for value in product.inputs]
        batches = {each[2] for each in found if each is not None}
        if len(batches) != 1:
            continue
        (batch,) = batches
        operands: list[int] = []
        passed = list(product.inputs)
        for value, shape, each in zip(product.inputs, shapes, found, strict=True):
            if each is None:
                operands.append(rewriter.insert(product, (value,), (*batch, *shape[1:]), _RESHAPE))
                continue
            source, exchanged, _ = each
            sides = (shape[2], shape[1]) if exchanged else shape[1:]
            if rewriter.shape(source) != (*batch, *sides):
                source = rewriter.insert(product, (source,), (*batch, *sides), _RESHAPE)
            if exchanged:
                rank = len(batch) + 2
                permuted: dict[str, Attribute] = {
                    "operation": "permute", "permutation": (*range(rank - 2), rank - 1, rank - 2)
                }  # fmt: skip
                source = rewriter.insert(product, (source,), (*batch, *shape[1:]), permuted)
            operands.append(source)
        rewriter.read_others(product, tuple(operands))
        shape = rewriter.shape(product.outputs[0])
        name = f"{product.name}.batch"
        rewriter.put(rewriter.operators[index], "movement", "view", _RESHAPE, name, (*batch, *shape[1:]))
        sweep(rewriter, passed)


def _before_reshape(rewriter: Rewriter, value: int) -> tuple[int, bool, tuple[int, ...]] | None:
    """What was reshaped to three axes; whether the last two were exchanged behind the reshape; and the axes that the first was."""
    producer, exchanged = rewriter.producer(value), False
    if producer is not None and producer.attributes.get("permutation") == (0, 2, 1):
        exchanged, producer = True, rewriter.producer(producer.inputs[0])
    if (
        producer is None
        or producer.kind != "movement"
        or producer.attributes.get("operation") != "reshape"
        or len(producer.inputs) != 1
    ):
        return None
    before, after = rewriter.shape(producer.inputs[0]), rewriter.shape(producer.outputs[0])
    if len(before) < 4 or len(after) != 3:
        return None
    for axes in range(2, len(before) - 1):
        own = tuple(size for size in before[axes:] if size != 1)
        if prod(before[:axes]) == after[0] and own == tuple(size for size in after[1:] if size != 1):
            return producer.inputs[0], exchanged, before[:axes]
    return None


def join_views(rewriter: Rewriter) -> None:
    """Reshapes and permutations in a row that leave the elements in their order are one reshape, or none."""
    seen: dict[int, tuple[int, Places]] = {}
    for index in sorted(rewriter.operators):
        operator = rewriter.operators.get(index)
        if (
            operator is None
            or operator.kind != "movement"
            or len(operator.inputs) != 1
            or len(operator.outputs) != 1
        ):
            continue
        (source,), (out,) = operator.inputs, operator.outputs
        before, after = rewriter.shape(source), rewriter.shape(out)
        root, places = seen.get(source, (source, Places(0, dense(before, tuple(range(len(before)))))))
        steps = _steps(operator, before, places.steps, after)
        if steps is None:
            continue
        straight = dense(after, tuple(range(len(after))))
        if not all(size == 1 or a == b for size, a, b in zip(after, steps, straight, strict=True)):
            seen[out] = root, Places(0, steps)
            continue
        seen[out] = root, Places(0, straight)
        if source == root:
            continue
        if after == rewriter.shape(root):
            rewriter.drop(operator, root)
        else:
            rewriter.replace([index], operator, "movement", "view", (root,), _RESHAPE)
        sweep(rewriter, [source])


def _steps(
    operator: Operator, before: tuple[int, ...], steps: tuple[int, ...], after: tuple[int, ...]
) -> tuple[int, ...] | None:
    """Steps of the result's elements in what they are a view of; ``None``: it is no such view."""
    permutation = operator.attributes.get("permutation")
    if operator.function != "view" or prod(before) != prod(after) or 0 in before:
        return None
    if isinstance(permutation, tuple):
        return tuple(steps[int(axis)] for axis in permutation)
    return (
        reshaped(before, steps, after)
        if operator.attributes.get("operation") in ("reshape", "alias")
        else None
    )


def sweep(rewriter: Rewriter, values: Iterable[int]) -> None:
    """Take out the movements that made values which nobody reads any more."""
    waiting = list(values)
    while waiting:
        value = waiting.pop()
        producer = rewriter.producer(value)
        if (
            producer is None
            or producer.kind != "movement"
            or any(rewriter.readers.get(out) or out in rewriter.results for out in producer.outputs)
        ):
            continue
        rewriter.remove(producer)
        waiting += producer.inputs
