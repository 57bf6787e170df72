"""Networks from ONNX files: shapes alone, with sizes for what the file leaves open."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from lanewise.errors import UserError
from lanewise.mapping.networks_sizes import Sizes


def load_onnx(name: str, sizes: Sizes) -> tuple[Any, dict[str, Any]]:
    """The network of a file and its inputs by name, on the ``meta`` device.

    Quantisers of the file leave values as they are: the machine has its own.

    Raises:
        UserError: The file cannot be read, has an unknown operator, or leaves a size open that is not given.
    """
    import torch

    from lanewise.models.onnx.file import read_onnx
    from lanewise.models.onnx.module import OnnxModule

    network = OnnxModule(read_onnx(Path(name), shapes_only=True), exact=False)
    model = f"onnx:{name}"
    inputs: dict[str, Any] = {}
    for item in network.inputs:
        if item.dtype is None or item.shape is None:
            raise UserError(f"{model}: input {item.name} has no shape; expected a tensor of known rank")
        shape = sizes.bind(model, item.name, item.shape, is_float=item.dtype.is_floating_point)
        try:
            inputs[item.name] = torch.empty(shape, dtype=item.dtype, device="meta")
        except (RuntimeError, TypeError):
            raise UserError(
                f"{model}: input {item.name}: shape {shape} is too large; expected less than 2^63 bytes"
            ) from None
    sizes.check(model)
    return network, inputs


def content(name: str) -> Mapping[str, Any]:
    """What a trace of the file depends on: its bytes, and which files lie beside it.

    Raises:
        UserError: The file cannot be read.
    """
    from lanewise.mapping.networks_sizes import file_hash
    from lanewise.models.onnx.proto import check_size, external_files

    path = Path(name)
    with suppress(OSError):  # said below
        check_size(path)
    key: dict[str, Any] = {"file": file_hash(path)}
    if b"location" in path.read_bytes():
        beside = [part for part in external_files(path) if part.exists()]
        key["beside"] = [[part.name, part.stat().st_size, part.stat().st_mtime_ns] for part in beside]
    return key
