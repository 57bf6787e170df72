"""Where tensors lie in memory, and how a write through one changes what another sees."""

from dataclasses import dataclass
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

        ``same`` elements in the same shape; all of it ``inside`` the other; ``apart``; or ``overlapping`` otherwise.

        >>> row = Region(offset=4, shape=(4,), stride=(1,), itemsize_bytes=4)
        >>> matrix = Region(offset=0, shape=(2, 4), stride=(4, 1), itemsize_bytes=4)
        >>> row.seen_from(matrix), matrix.seen_from(row)
        ('inside', 'overlapping')
        """
        if self == other:
            return "same"
        if self.itemsize_bytes != other.itemsize_bytes:
            return "overlapping"
        mine, theirs = self._elements(), other._elements()
        if not np.intersect1d(mine, theirs).size:
            return "apart"
        return "inside" if np.isin(mine, theirs).all() else "overlapping"

    def _elements(self) -> npt.NDArray[np.int64]:
        places = np.array([self.offset], dtype=np.int64)
        for size, stride in zip(self.shape, self.stride):
            if stride:
                places = (places[:, None] + stride * np.arange(size, dtype=np.int64)).reshape(-1)
            elif not size:
                places = places[:0]
        return np.unique(places)
