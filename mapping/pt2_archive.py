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
from lanewise.files import check_regular

FEW = 1 << 16
"""Elements of the largest constant whose values are read."""

LARGEST_JSON = 1 << 29
"""Bytes of JSON that are read at most; of compressed JSON, ``LARGEST_COMPRESSED``: PyTorch compresses none."""

LARGEST_COMPRESSED = 1 << 26

LARGEST_CONSTANT = 1 << 26
"""Bytes from the first to the last element of the largest constant whose values are read."""

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
    check_regular(path, "an archive of torch.export.save")
    try:
        with zipfile.ZipFile(path) as archive:
            return _read(path, archive)
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}; expected a file") from None
    except Exception as error:  # noqa: BLE001 - zipfile, zlib, json and torch raise a dozen kinds for a damaged file
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
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
    info = archive.getinfo(name)
    largest = LARGEST_JSON if info.compress_type == zipfile.ZIP_STORED else LARGEST_COMPRESSED
    if info.file_size > largest:
        raise ValueError(f"{name} has more than {largest} bytes")
    return json.loads(_bytes(archive, name, info.file_size))


def _bytes(archive: zipfile.ZipFile, name: str, size: int) -> bytes:
    """The first ``size`` bytes of a file in the archive: no more is unpacked, whatever its header says.

    Raises:
        ValueError: It is encrypted, or compressed by a method whose output has no limit.
    """
    info = archive.getinfo(name)
    if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{name} is encrypted or compressed by method {info.compress_type}")
    with archive.open(info) as stream:
        return stream.read(size)


def _tensor(
    path: Path, archive: zipfile.ZipFile, names: Mapping[str, str], name: str, item: Mapping[str, Any],
    folder: str,
) -> Tensor:  # fmt: skip
    meta = item.get("tensor_meta")
    if meta is None or item["use_pickle"]:
        raise UserError(f"{path}: {name} can only be unpickled; expected a plain tensor")
    shape = [side["as_int"] for side in meta["sizes"]]
    stride = [step["as_int"] for step in meta["strides"]]
    offset = meta["storage_offset"]["as_int"]
    dtype = DTYPES[meta["dtype"]]
    if min(*shape, *stride, offset, 0) < 0 or len(shape) != len(stride):
        raise ValueError(f"{name} has shape {shape}, strides {stride} and offset {offset}")
    extent = 0 if 0 in shape else 1 + offset + sum((side - 1) * step for side, step in zip(shape, stride))
    size = extent * dtype.itemsize
    if folder == "weights" or prod(shape) > FEW:
        return torch.empty_strided(shape, stride, dtype=dtype, device="meta")
    if not size:
        return torch.empty(shape, dtype=dtype)
    file = names[f"data/{folder}/{item['path_name']}"]
    if archive.getinfo(file).file_size < size:
        raise ValueError(f"{name} has {archive.getinfo(file).file_size} bytes, not {size}")
    if size > LARGEST_CONSTANT:
        return torch.empty_strided(shape, stride, dtype=dtype, device="meta")
    data = bytearray(_bytes(archive, file, size))
    return torch.frombuffer(data, dtype=dtype).as_strided(shape, stride, offset).clone()
