"""Which network comes next: those of a family one after another on one worker, whose caches then know most of their works."""

from collections import deque
from collections.abc import Iterable

from lanewise.sweep.network import NetworkTask


class Families:
    """Tasks, handed out to workers.

    A worker goes through a family; then it takes the largest that nobody has begun; then it takes half of what is left of
    another worker's.

    Args:
        tasks: In the order in which those of a family are handed out.
    """

    def __init__(self, tasks: Iterable[NetworkTask]) -> None:
        families: dict[tuple[str, str], deque[NetworkTask]] = {}
        for task in tasks:
            families.setdefault((task.model.library, task.model.family), deque()).append(task)
        self._left = sorted(families.values(), key=len)
        self._begun: dict[str, deque[NetworkTask]] = {}

    def __len__(self) -> int:
        return sum(map(len, (*self._left, *self._begun.values())))

    def take(self, worker: str) -> NetworkTask | None:
        """The next task of a worker; ``None`` if there is none."""
        own = self._begun.setdefault(worker, deque())
        if not own and self._left:
            own = self._begun[worker] = self._left.pop()
        if not own:
            other = max(self._begun.values(), key=len)
            own.extend(other.pop() for _ in range((len(other) + 1) // 2))
        return own.popleft() if own else None
