"""Scales of products: what multiplies an operand multiplies the product."""

from lanewise.mapping.graph import Operator
from lanewise.mapping.patterns.rewriter import Rewriter

_SAME_NUMBERS = ("reshape", "permute", "clone", "alias", "expand", "repeat", "slice", "select")
"""Movements that leave out and repeat at most."""


def gather_scales(rewriter: Rewriter) -> None:
    """A number that one or both operands of a product of two activations are multiplied by is multiplied with the product.

    Attention's scale is then in one place, wherever it is written, and the matrix unit's output path has it.
    """
    for index in sorted(rewriter.operators):
        product = rewriter.operators.get(index)
        if (
            product is None
            or product.kind != "matmul"
            or len(product.inputs) != 2
            or product.attributes.get("weight")
        ):
            continue
        if product.inputs[0] == product.inputs[1]:
            continue
        factor, scaled = 1.0, 0
        for value in product.inputs:
            while (found := _scaled(rewriter, product, value)) is not None:
                factor, scaled = factor * _number(found), scaled + 1
                rewriter.drop(found, found.inputs[0])
                product = rewriter.operators[index]
                value = _again(product, value, found)
        while (after := rewriter.only_reader(product.outputs[0])) is not None and _is_scale(after) and scaled:
            factor *= _number(after)
            rewriter.drop(after, product.outputs[0])
        if scaled and factor != 1:
            rewriter.put(product, "elementwise", "multiply", {"scalar": factor}, f"{product.name}.scale")


def _again(product: Operator, value: int, dropped: Operator) -> int:
    """An operand after a multiplication was dropped, which may have been its producer."""
    return value if value in product.inputs else dropped.inputs[0]


def _is_scale(operator: Operator) -> bool:
    """Whether it multiplies by a positive number."""
    one = (
        operator.kind == "elementwise"
        and operator.function in ("multiply", "divide")
        and len(operator.inputs) == 1
    )
    scalar = operator.attributes.get("scalar")
    return one and isinstance(scalar, int | float) and scalar > 0


def _number(operator: Operator) -> float:
    scalar = float(operator.attributes["scalar"])  # type: ignore[arg-type]
    return 1 / scalar if operator.function == "divide" else scalar


def _scaled(rewriter: Rewriter, product: Operator, value: int) -> Operator | None:
    """The multiplication behind an operand, through views, if only the product sees it."""
    reader = product
    while True:
        only = rewriter.only_reader(value)
        producer = rewriter.producer(value)
        if only is None or only.index != reader.index or producer is None:
            return None
        if _is_scale(producer):
            return producer
        moves = producer.kind == "movement" and len(producer.inputs) == 1 and len(producer.outputs) == 1
        operation = producer.attributes.get("operation")
        names = [str(producer.attributes.get(name)) for name in ("from", "to")]
        casts = producer.function == "cast" and all("float" in name for name in names)
        if not casts and not (moves and operation in _SAME_NUMBERS):
            return None
        reader, value = producer, producer.inputs[0]
