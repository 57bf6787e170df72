"""Where tensors lie in memory, and how a write through one changes what another sees."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from torch import Tensor

Relation: TypeAlias = Literal["same", "inside", "apart", "overlapping"]


def storage_key(tensor: Tensor) -> int:
    """Identity of the memory behind ``tensor``; unique while any tensor on it is alive."""
    return int(tensor.untyped_storage()._cdata)


@dataclass(frozen=True, kw_only=True, slots=True)
class Region:
    """The elements of a storage that a tensor covers."""

    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    itemsize_bytes: int

    @classmethod
    def of(cls, tensor: Tensor) -> "Region":
        """Where ``tensor`` lies."""
        return cls(
            offset=int(tensor.storage_offset()),
            shape=tuple(tensor.shape),
            stride=tuple(tensor.stride()),
            itemsize_bytes=tensor.element_size(),
        )

    def seen_from(self, other: "Region") -> Relation:
        """How this region lies to ``other``'s.

        ``same`` elements in the same shape; all of it ``inside`` the other; ``apart``; else ``overlapping``.

        >>> row = Region(offset=4, shape=(4,), stride=(1,), itemsize_bytes=4)
        >>> matrix = Region(offset=0, shape=(2, 4), stride=(4, 1), itemsize_bytes=4)
        >>> row.seen_from(matrix), matrix.seen_from(row)
        ('inside', 'overlapping')
        """
        if self == other:
            return "same"
        if self.itemsize_bytes != other.itemsize_bytes:
            return "overlapping"
        if self.end <= other.offset or other.end <= self.offset:
            return "apart"
        if other._dense and other.offset <= self.offset and self.end <= other.end:
            return "inside"
        if self._dense and self.offset <= other.offset and other.end <= self.end:
            return "overlapping"
        mine, theirs = _elements(self), _elements(other)
        shared = np.isin(mine, theirs, assume_unique=True)
        if not shared.any():
            return "apart"
        return "inside" if shared.all() else "overlapping"

    @property
    def end(self) -> int:
        """One past the last element; the offset if there is none."""
        if 0 in self.shape:
            return self.offset
        return self.offset + 1 + sum((size - 1) * stride for size, stride in zip(self.shape, self.stride))

    @property
    def _dense(self) -> bool:
        """Whether every place from the first to the last belongs to it; broadcast axes add none."""
        sizes = sorted((stride, size) for size, stride in zip(self.shape, self.stride) if size > 1 and stride)
        reach = 1
        for stride, size in sizes:
            if stride > reach:
                return False
            reach = max(reach, (size - 1) * stride + reach)
        return True


@lru_cache(maxsize=64)
def _elements(region: Region) -> npt.NDArray[np.int64]:
    """Places in the storage, each once."""
    places = np.array([region.offset], dtype=np.int64)
    for size, stride in zip(region.shape, region.stride):
        if stride:
            places = (places[:, None] + stride * np.arange(size, dtype=np.int64)).reshape(-1)
        elif not size:
            places = places[:0]
    return np.unique(places)
