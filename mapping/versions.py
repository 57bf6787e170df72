"""Which value every tensor holds, through views and writes in place.

A tensor is known by its identity; all that were seen are kept alive, so that no identity is used twice. A
write in place is a version of the storage: another tensor on it is brought up to date when it is read, and
no sooner, so that a result assembled from pieces is one movement.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from lanewise.mapping.aliases import Region, storage_key
from lanewise.mapping.builder import GraphBuilder
from lanewise.mapping.constants import Reference
from lanewise.mapping.graph import Attribute


@dataclass(slots=True)
class _Known:
    """A tensor, the value it holds, and how many writes to its storage that value includes.

    A view of what was out of date when the view was made has no value until it is read: then it is made of
    ``source``.
    """

    tensor: Tensor
    value: int | None
    writes: int
    source: Tensor | None = None
    attributes: Mapping[str, Attribute] = field(default_factory=dict)


@dataclass(slots=True)
class _Storage:
    known: list[_Known] = field(default_factory=list)
    writes: list[tuple[Region, int]] = field(default_factory=list)


class Versions:
    """Values of tensors.

    Args:
        builder: Gets the movements that views and pieces need.
    """

    def __init__(self, builder: GraphBuilder) -> None:
        self._builder = builder
        self._known: dict[int, _Known] = {}
        self._storages: dict[int, _Storage] = {}

    def register(self, tensor: Tensor, value: int) -> None:
        """``tensor`` is new and holds ``value``."""
        self._add(_Known(tensor, value, len(self._storage(tensor).writes)))

    def defer(self, tensor: Tensor, source: Tensor, attributes: Mapping[str, Attribute]) -> None:
        """``tensor`` is a new view of ``source``; it is recorded when it is read before it is written."""
        self._add(_Known(tensor, None, len(self._storage(tensor).writes), source, attributes))

    def write(self, tensor: Tensor, value: int) -> None:
        """``tensor`` was overwritten in place and holds ``value`` now."""
        storage = self._storage(tensor)
        storage.writes.append((Region.of(tensor), value))
        if id(tensor) not in self._known:
            self.register(tensor, value)
        known = self._known[id(tensor)]
        known.value, known.writes = value, len(storage.writes)

    def stale(self, tensor: Tensor) -> bool:
        """Whether reading ``tensor`` may need a movement first."""
        known = self._known.get(id(tensor))
        return known is not None and (known.value is None or known.writes < len(self._storage(tensor).writes))

    def constant(self, tensor: Tensor) -> bool:
        """Whether ``tensor`` depends on no input and no parameter; records nothing."""
        known = self._known.get(id(tensor))
        storage = self._storage(tensor)
        if known is None:
            return not storage.known or all(self.constant(other.tensor) for other in storage.known)
        writes = all(self._builder.constant(value) for _, value in storage.writes[known.writes :])
        if known.value is None:
            return writes and known.source is not None and self.constant(known.source)
        return writes and self._builder.constant(known.value)

    def read(self, tensor: Tensor) -> int:
        """Id of the value that ``tensor`` holds now."""
        if id(tensor) not in self._known:
            self._adopt(tensor)
        known = self._known[id(tensor)]
        writes = self._storage(tensor).writes
        if known.value is None or known.writes < len(writes):
            known.value = self._updated(known, writes[known.writes :])
            known.writes = len(writes)
        return known.value

    def _storage(self, tensor: Tensor) -> _Storage:
        return self._storages.setdefault(storage_key(tensor), _Storage())

    def _add(self, known: _Known) -> None:
        self._known[id(known.tensor)] = known
        self._storage(known.tensor).known.append(known)

    def _updated(self, known: _Known, writes: Sequence[tuple[Region, int]]) -> int:
        """The value of ``known.tensor`` after ``writes``.

        What was written in pieces is put together by one movement, ``update``, whose first operand is the
        old value.
        """
        mine = Region.of(known.tensor)
        base: tuple[Region, int] | None = None if known.value is None else (mine, known.value)
        pieces: list[tuple[Region, int]] = []
        for write in writes:
            relation = mine.seen_from(write[0])
            if relation in ("same", "inside"):
                base, pieces = write, []
            elif relation == "overlapping":
                pieces.append(write)
        if base is None:
            assert known.source is not None
            value = self.read(known.source)  # as it is now: all writes are in it
            return self._move("view", [(Region.of(known.source), value)], known.tensor, known.attributes)
        value = base[1]
        if base[0] != mine:
            value = self._move("view", [base], known.tensor, {"operation": "alias"})
        if pieces:
            value = self._move("copy", [(mine, value), *pieces], known.tensor, {"operation": "update"})
        return value

    def _adopt(self, tensor: Tensor) -> None:
        """A tensor that no recorded operator made: a constant, or an alias such as ``x.data``."""
        known = self._storage(tensor).known
        if not known:
            value = self._builder.leaf(tensor, "constant")
            self.register(tensor, value)
            self._builder.constants.give(value, tensor)
            return
        mine = Region.of(tensor)
        sources = [other.tensor for other in known]
        source = next((s for s in sources if mine.seen_from(Region.of(s)) in ("same", "inside")), sources[0])
        value = self._move("view", [(Region.of(source), self.read(source))], tensor, {"operation": "alias"})
        self.register(tensor, value)

    def _move(
        self,
        function: str,
        parts: Sequence[tuple[Region, int]],
        tensor: Tensor,
        attributes: Mapping[str, Attribute],
    ) -> int:
        """Record that ``tensor`` is made of ``parts`` of its storage."""
        reads = [value for _, value in parts]
        (value,) = self._builder.emit(
            "movement", function, reads, [tensor], attributes, label=str(attributes["operation"])
        )
        if all(self._builder.constant(read) for read in reads):
            func = partial(_assemble, Region.of(tensor), [region for region, _ in parts])
            self._builder.constants.define([value], [], func, [Reference(read, tensor) for read in reads], {})
        return value


def _assemble(region: Region, places: Sequence[Region], *parts: Tensor) -> Tensor:
    """What ``region`` of a storage holds when ``parts`` are put in their ``places``, one after another."""
    if any(place.itemsize_bytes != region.itemsize_bytes for place in places):
        raise LookupError("it was written and read as different types")
    storage = torch.empty(max(place.end for place in (region, *places)), dtype=parts[0].dtype)
    for place, part in zip(places, parts):
        storage.as_strided(place.shape, place.stride, place.offset).copy_(part)
    return storage.as_strided(region.shape, region.stride, region.offset).clone()
