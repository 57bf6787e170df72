"""Reading archives of ``torch.export.save``: a graph and its shapes from JSON.

PyTorch's own loader unpickles and evaluates text of the file. Nothing here does: weights are their shapes, small
constants are read from their bytes.
"""

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lanewise.errors import UserError

FEW = 1 << 16
"""Elements of the largest constant whose values are read."""

LARGEST_JSON = 1 << 29
"""Bytes of JSON that are read at most."""

DTYPES: Mapping[int, torch.dtype] = {
    1: torch.uint8, 2: torch.int8, 3: torch.int16, 4: torch.int32, 5: torch.int64, 6: torch.float16,
    7: torch.float32, 8: torch.float64, 9: torch.complex32, 10: torch.complex64, 11: torch.complex128,
    12: torch.bool, 13: torch.bfloat16, 28: torch.uint16, 29: torch.float8_e4m3fn, 30: torch.float8_e5m2,
    31: torch.float8_e4m3fnuz, 32: torch.float8_e5m2fnuz, 34: torch.uint32, 35: torch.uint64,
}  # fmt: skip
"""``ScalarType`` of PyTorch's ``torch/_export/serde/schema.py``."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Pt2Archive:
    """One exported program."""

    path: Path
    graph: Mapping[str, Any]
    """Inputs, nodes and outputs as the file has them."""
    signature: Mapping[str, Any]
    """What each input and output is."""
    ranges: Mapping[str, tuple[int | None, int | None]]
    """Least and greatest size of each open axis, by its symbol."""
    weights: Mapping[str, Tensor]
    """Parameters and persistent buffers by name, on the ``meta`` device."""
    constants: Mapping[str, Tensor]
    """Others; the small ones with their values."""


def read_pt2(path: Path) -> Pt2Archive:
    """The exported program of an archive.

    Raises:
        UserError: It is no such archive, or holds what only unpickling would give.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _read(path, archive)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}; expected a file") from None
    except (zipfile.BadZipFile, ValueError, KeyError, TypeError, AttributeError, EOFError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"{path}: cannot be read: {reason}; expected an archive of torch.export.save"
        ) from None


def _read(path: Path, archive: zipfile.ZipFile) -> Pt2Archive:
    names = {name.partition("/")[2]: name for name in archive.namelist()}
    models = [name for name in names if name.startswith("models/") and name.endswith(".json")]
    if len(models) != 1:
        old = any(name.endswith("serialized_exported_program.json") for name in archive.namelist())
        found = "is of the format before PyTorch 2.8" if old else f"has {len(models)} programs"
        raise UserError(f"{path}: {found}; expected one, as torch.export.save writes it today")
    (place,) = models
    model = place.removeprefix("models/").removesuffix(".json")
    program = _json(archive, names[place])
    module = program["graph_module"]
    tensors: dict[str, dict[str, Tensor]] = {}
    for folder in ("weights", "constants"):
        config = names.get(f"data/{folder}/{model}_{folder}_config.json")
        if config is None:
            raise UserError(
                f"{path}: its {folder} can only be unpickled; expected an archive that lists their shapes"
            )
        tensors[folder] = {
            name: _tensor(path, archive, names, name, item, folder)
            for name, item in _json(archive, config)["config"].items()
        }
    ranges = {
        name: (item.get("min_val"), item.get("max_val"))
        for name, item in program["range_constraints"].items()
    }
    return Pt2Archive(
        path=path, graph=module["graph"], signature=module["signature"], ranges=ranges,
        weights=tensors["weights"], constants=tensors["constants"],
    )  # fmt: skip


def _json(archive: zipfile.ZipFile, name: str) -> Any:
    if archive.getinfo(name).file_size > LARGEST_JSON:
        raise ValueError(f"{name} has more than {LARGEST_JSON} bytes")
    return json.loads(archive.read(name))


def _tensor(
    path: Path, archive: zipfile.ZipFile, names: Mapping[str, str], name: str, item: Mapping[str, Any],
    folder: str,
) -> Tensor:  # fmt: skip
    meta = item.get("tensor_meta")
    if meta is None or item["use_pickle"]:
        raise UserError(f"{path}: {name} can only be unpickled; expected a plain tensor")
    shape = [side["as_int"] for side in meta["sizes"]]
    stride = [step["as_int"] for step in meta["strides"]]
    dtype = DTYPES[meta["dtype"]]
    if folder == "weights" or prod(shape) > FEW:
        return torch.empty_strided(shape, stride, dtype=dtype, device="meta")
    data = bytearray(archive.read(names[f"data/{folder}/{item['path_name']}"]))
    if not data:
        return torch.empty(shape, dtype=dtype)
    flat = torch.frombuffer(data, dtype=dtype)
    return flat.as_strided(shape, stride, meta["storage_offset"]["as_int"]).clone()
