"""Opening ONNX files: the model as protobuf has it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lanewise.errors import UserError
from lanewise.files import check_regular

OLDEST = 6
"""Oldest set of operators that is read."""

LARGEST_FILE = 1 << 31
"""Bytes that protobuf can hold; weights of a larger model lie beside it."""


def load_proto(path: Path) -> Any:
    """The model of a file, whatever it is called, its functions written out.

    Raises:
        UserError: It is no ONNX file, is too large, or of operators that are too old or too new.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        check_size(path)
        model = onnx.load(path, format="protobuf", load_external_data=False)
    except (OSError, DecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise UserError(f"{path}: cannot be read: {reason}; expected an ONNX file") from None
    if not model.HasField("graph") or not model.opset_import:
        raise UserError(f"{path}: has no graph; expected an ONNX file")
    newest = onnx.defs.onnx_opset_version()
    for item in model.opset_import:
        if item.domain in ("", "ai.onnx") and not OLDEST <= item.version <= newest:
            span = f"{OLDEST} or newer" if item.version < OLDEST else f"{newest} or older"
            raise UserError(f"{path}: operator set must be {span}, not {item.version}")
    return _inlined(path, model)


def check_size(path: Path) -> None:
    """Before a file is read.

    Raises:
        OSError: It is not there.
        UserError: It is a device or a pipe, or too large.
    """
    check_regular(path, "an ONNX file")
    size = path.stat().st_size
    if size >= LARGEST_FILE and not path.is_dir():
        raise UserError(
            f"{path}: has {size} bytes; expected less than {LARGEST_FILE}, weights beside the file"
        )


def external_files(path: Path) -> list[Path]:
    """The files beside an ONNX file that hold weights of it; none if it is no ONNX file."""
    import onnx

    try:
        model = onnx.load(path, format="protobuf", load_external_data=False)
        places = {
            entry.value
            for item in _tensors([model.graph, *model.functions])
            if item.data_location == onnx.TensorProto.EXTERNAL
            for entry in item.external_data
            if entry.key == "location"
        }
    except Exception:  # noqa: BLE001 - the reader says what is wrong
        return []
    return [path.parent / place for place in sorted(places)]


def _tensors(graphs: list[Any]) -> Iterator[Any]:
    """All constants of graphs and functions, and of the graphs within."""
    while graphs:
        graph = graphs.pop()
        yield from getattr(graph, "initializer", ())
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    yield attribute.t
                yield from attribute.tensors
                graphs += [*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])]


def _inlined(path: Path, model: Any) -> Any:
    """The model without functions of its own.

    Raises:
        UserError: One calls itself.
    """
    if not model.functions:
        return model
    from onnx.inliner import inline_local_functions

    calls = {
        (function.domain, function.name): {(node.domain, node.op_type) for node in _nodes(function)}
        for function in model.functions
    }
    while leaves := [key for key, called in calls.items() if not called & set(calls)]:
        for key in leaves:
            del calls[key]
    if calls:
        raise UserError(f"{path}: function {min(calls)[1]} calls itself; expected one that ends")
    return inline_local_functions(model)


def _nodes(function: Any) -> Iterator[Any]:
    """The nodes of a function, and of the graphs within."""
    graphs = [function]
    while graphs:
        for node in graphs.pop().node:
            yield node
            for attribute in node.attribute:
                graphs += [*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])]
