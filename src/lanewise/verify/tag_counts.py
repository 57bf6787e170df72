"""The host's side of the tags: what each access of a buffer waits for, from the order of the Program alone."""

from dataclasses import dataclass, field
from typing import Self

from lanewise.rtl.tags import COUNT_BITS

MODULUS = 1 << COUNT_BITS
"""Counts are modulo this; reads are compared for equality, writes for at least so many."""


@dataclass
class _Buffer:
    reads: int = 0
    writes: int = 0
    settled: int = 0
    """Writes that have landed when a load of the next place in the Program may start: all before the last access that was no load."""
    reads_since: int = 0
    """Reads since the last write."""
    idle: tuple[int, int] = (0, 0)
    """Reads and writes when nothing was on its way, and"""
    seen: dict[str, tuple[int, int]] = field(default_factory=dict)
    """by stream, how many are done at least when its next instruction waits: those that its last access has waited for."""


@dataclass
class TagCounts:
    """Counts the accesses of every buffer, in Program order.

    >>> counts = TagCounts()
    >>> [counts.add(0, "load", write=True) for _ in range(2)], counts.add(0), counts.add(0, write=True)
    ([(0, 0), (0, 0)], (0, 2), (1, 2))
    """

    _buffers: dict[int, _Buffer] = field(default_factory=dict)

    def add(self, tag: int, stream: str = "vector", *, write: bool = False) -> tuple[int, int]:
        """Finished reads and writes of the buffer that the next access waits for: a reader for all writes before it, a writer for
        all reads, too; but loads land in their order, and so a load does not wait for the loads since the last other access.

        Raises:
            ValueError: The counts would come round: while the access waits, or before the next one.
        """
        buffer, load = self._buffers.setdefault(tag, _Buffer()), stream == "load"
        before = buffer.reads, buffer.settled if load else buffer.writes
        reads, writes = buffer.seen.get(stream, buffer.idle)
        if before[1] - writes >= MODULUS // 2 or (write and before[0] - reads >= MODULUS):
            raise ValueError(
                f"a buffer must be written less than {MODULUS // 2} times and read less than {MODULUS} times between two accesses of the stream "
                f"{stream}, not {before[1] - writes} and {before[0] - reads} times"
            )
        buffer.seen[stream] = before[0] if write else reads, max(writes, before[1])
        buffer.reads += not write
        buffer.writes += write
        buffer.reads_since = 0 if write else buffer.reads_since + 1
        if not load:
            buffer.settled = buffer.writes
        if buffer.reads_since >= MODULUS:
            raise ValueError(
                f"a buffer must be read less than {MODULUS} times between two writes, not more often"
            )
        if buffer.writes - buffer.settled >= MODULUS // 2:
            raise ValueError(
                f"a buffer must be loaded less than {MODULUS // 2} times between two other accesses, not more often"
            )
        return before

    def idle(self) -> None:
        """All accesses are done."""
        for buffer in self._buffers.values():
            buffer.idle = buffer.reads, buffer.writes
            buffer.seen.clear()
            buffer.settled, buffer.reads_since = buffer.writes, 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Access:
    """An access of a buffer: by which tag, and after how many finished reads and writes."""

    tag: int
    reads: int
    writes: int
    stream: str
    stores: bool = False

    @classmethod
    def counted(cls, counts: TagCounts, tag: int, stream: str, *, stores: bool = False) -> Self:
        """The next access of the Program whose accesses are counted.

        Raises:
            ValueError: The counts would come round.
        """
        reads, writes = counts.add(tag, stream, write=stores)
        return cls(tag=tag, reads=reads, writes=writes, stream=stream, stores=stores)

    def recounted(self, counts: TagCounts) -> Self:
        """The same behind other accesses."""
        return self.counted(counts, self.tag, self.stream, stores=self.stores)

    @property
    def request(self) -> dict[str, int]:
        """As :data:`lanewise.rtl.tags.REQUEST` has it."""
        return {"tag": self.tag, "reads": self.reads % MODULUS, "writes": self.writes % MODULUS}

    @property
    def buffer(self) -> str:
        """Its name for the engine."""
        return f"@{self.tag}"
