"""Networks from archives of ``torch.export.save``: shapes alone, with sizes for what the file leaves open."""

import ast
import operator
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lanewise.errors import UserError
from lanewise.files import check_regular
from lanewise.mapping.networks_sizes import Sizes, file_hash

if TYPE_CHECKING:
    from lanewise.mapping.pt2_archive import Pt2Archive

_ARITHMETIC: Mapping[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.FloorDiv: operator.floordiv,
}  # fmt: skip


def load_pt2(name: str, sizes: Sizes) -> tuple[Any, dict[str, Any]]:
    """The network of an archive and its inputs by name, on the ``meta`` device.

    Raises:
        UserError: The archive cannot be read, calls an unknown operator, or leaves a size open that is not
            given.
    """
    from lanewise.mapping.pt2_archive import read_pt2

    archive = read_pt2(Path(name))
    try:
        network, inputs = _network(f"pt2:{name}", archive, sizes)
    except UserError:
        raise
    except Exception as error:
        reason = " ".join(repr(error).split())
        raise UserError(
            f"{archive.path}: cannot be read: {reason}; expected an archive of torch.export.save"
        ) from error
    sizes.check(f"pt2:{name}")
    return network, inputs


def _network(model: str, archive: "Pt2Archive", sizes: Sizes) -> tuple[Any, dict[str, Any]]:
    import torch

    from lanewise.mapping.pt2_archive import DTYPES
    from lanewise.mapping.pt2_module import Pt2Module

    network = Pt2Module(archive)
    shapes = {
        key: [_side(part) for part in archive.graph["tensor_values"][key]["sizes"]]
        for key in network.inputs
        if key in archive.graph["tensor_values"]
    }
    dtypes = {key: DTYPES[archive.graph["tensor_values"][key]["dtype"]] for key in shapes}
    bound: dict[str, int] = {}
    for key, sides in shapes.items():  # first the symbols alone, then what is computed from them
        for axis, side in enumerate(sides):
            if isinstance(side, str) and side.isidentifier() and side not in bound:
                is_float = dtypes[key].is_floating_point
                bound[side] = sizes.size(model, key, axis, len(sides), side, is_float=is_float)
                _within(model, key, axis, bound[side], archive.ranges.get(side, (None, None)))
    inputs: dict[str, Any] = {}
    for key, sides in shapes.items():
        known = [part if isinstance(part, int) else _evaluated(part, bound) for part in sides]
        shape = sizes.bind(model, key, known, is_float=dtypes[key].is_floating_point)
        inputs[key] = torch.empty(shape, dtype=dtypes[key], device="meta")
    for key in network.inputs:
        if key and key not in inputs:
            inputs[key] = sizes.bind(model, key, [key], is_float=False)[0]
    return network, inputs


def content(name: str) -> Mapping[str, Any]:
    """What a trace of the archive depends on: its bytes.

    Raises:
        UserError: The file cannot be read.
    """
    check_regular(Path(name), "an archive of torch.export.save")
    return {"file": file_hash(Path(name))}


def _side(part: Mapping[str, Any]) -> int | str:
    """A size or the text of one that is open."""
    if "as_int" in part:
        return int(part["as_int"])
    return _readable(str(part["as_expr"]["expr_str"]))


def _readable(text: str) -> str:
    """SymPy's writing of a size, ``Mul(Integer(2), Symbol('s0', integer=True))``, as ``2*s0``."""

    def infix(node: ast.expr) -> str:
        match node:
            case ast.Call(func=ast.Name(id="Symbol"), args=[ast.Constant(value=str(name))]):
                return name
            case ast.Call(func=ast.Name(id="Integer"), args=[ast.Constant(value=int(number))]):
                return str(number)
            case ast.Call(func=ast.Name(id="Mul"), args=parts):
                return "*".join(infix(part) for part in parts)
            case ast.Call(func=ast.Name(id="Add"), args=parts):
                return f"({'+'.join(infix(part) for part in parts)})"
        raise ValueError(f"size {text} is not known")

    tree = ast.parse(text, mode="eval").body
    return infix(tree) if isinstance(tree, ast.Call) else text


def _within(model: str, name: str, axis: int, size: int, limits: tuple[int | None, int | None]) -> None:
    low, high = limits
    if (high is not None and size > high) or (low is not None and low > 2 and size < low):
        raise UserError(
            f"{model}: axis {axis} of input {name} must be {low} to {high}, as it was exported, not {size}"
        )


def _evaluated(text: str, bound: Mapping[str, int]) -> int | str:
    """A size that is computed from others, such as ``2*s0``; the text itself if that cannot be done."""

    def value(node: ast.expr) -> int:
        if isinstance(node, ast.Constant) and isinstance(node.value, int):
            return node.value
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return -value(node.operand)
        if isinstance(node, ast.Name):
            return bound[node.id]
        if isinstance(node, ast.BinOp):
            return _ARITHMETIC[type(node.op)](value(node.left), value(node.right))
        raise KeyError(ast.dump(node))

    try:
        return value(ast.parse(text, mode="eval").body)
    except (KeyError, SyntaxError, RecursionError, ZeroDivisionError, MemoryError):
        return text
