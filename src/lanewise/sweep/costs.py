"""What works take, kept between networks, processes and runs.

A work is a value, and many networks have the same; what it takes depends on it, on the machine and on lanewise's own code alone. So a
file for each version of that code holds costs by a digest of machine and work. SQLite's write-ahead log makes it safe with several
processes, and under ``kill -9``: a transaction is there or is not.
"""

import hashlib
import logging
import sqlite3
import struct
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from threading import Lock

from lanewise.config import MachineConfig
from lanewise.mapping.lower import Work
from lanewise.mapping.simulate import OperatorCost, work_cost
from lanewise.sim.timing import UNITS
from lanewise.sources import source_hash
from lanewise.sweep.sources import PRICES

_NUMBERS = struct.Struct(f"<{4 + len(UNITS)}q")
_AT_ONCE = 400
"""Works of a statement; each is two variables at most, of which SQLite has always allowed 999."""
_WAIT_SECONDS = 60.0


class CostStore:
    """A file of costs. One that cannot be read or written is as an empty one: works are priced, and nothing is kept.

    Args:
        path: The file; it and its folder are made.
    """

    def __init__(self, path: Path) -> None:
        self._lock = Lock()
        self._connection: sqlite3.Connection | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(
                path, timeout=_WAIT_SECONDS, isolation_level=None, check_same_thread=False
            )
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(
                "CREATE TABLE IF NOT EXISTS costs (key BLOB PRIMARY KEY, cost BLOB NOT NULL) WITHOUT ROWID"
            )
            self._connection = connection
        except (OSError, sqlite3.Error) as error:
            _without(error)

    def read(self, works: Iterable[Work], config: MachineConfig) -> dict[Work, OperatorCost]:
        """Those of ``works`` whose cost on ``config``'s machine is known."""
        machine = config.hash
        keys = {_key(work, machine): work for work in works}
        found: dict[Work, OperatorCost] = {}
        wanted = list(keys)
        for first in range(0, len(wanted), _AT_ONCE):
            part = wanted[first : first + _AT_ONCE]
            marks = ",".join("?" * len(part))
            for key, cost in self._execute(f"SELECT key, cost FROM costs WHERE key IN ({marks})", part):
                try:
                    found[keys[key]] = _cost(cost)
                except struct.error as error:  # a damaged file: priced again
                    _without(error)
        return found

    def write(self, costs: Mapping[Work, OperatorCost], config: MachineConfig) -> None:
        """Keep what works take on ``config``'s machine."""
        machine = config.hash
        items = list(costs.items())
        for first in range(0, len(items), _AT_ONCE):
            part = items[first : first + _AT_ONCE]
            marks = ",".join(["(?,?)"] * len(part))
            values = [value for work, cost in part for value in (_key(work, machine), _bytes(cost))]
            self._execute(f"INSERT OR IGNORE INTO costs VALUES {marks}", values)

    def _execute(self, statement: str, values: list[bytes]) -> list[tuple[bytes, bytes]]:
        with self._lock:
            if self._connection is None:
                return []
            try:
                return self._connection.execute(statement, values).fetchall()
            except sqlite3.Error as error:
                self._connection = None
                _without(error)
                return []


class KnownCosts:
    """Stands for :func:`~lanewise.mapping.simulate.work_cost`: looks a network's works up at once, prices what is missing, and keeps it.

    Args:
        store: Where costs are kept.
        works: All works of the network.
        configs: All machines that it is run on.
    """

    def __init__(self, store: CostStore, works: Iterable[Work], configs: Iterable[MachineConfig]) -> None:
        self._store = store
        distinct = list(dict.fromkeys(works))
        self._known = {config: store.read(distinct, config) for config in configs}
        self._new: dict[MachineConfig, dict[Work, OperatorCost]] = {config: {} for config in self._known}

    def __call__(self, work: Work, config: MachineConfig) -> OperatorCost:
        """Clocks of ``work`` on ``config``'s machine.

        Raises:
            ValueError: As :func:`~lanewise.mapping.simulate.work_cost`.
        """
        known = self._known[config]
        if work not in known:
            known[work] = self._new[config][work] = work_cost(work, config)
        return known[work]

    def save(self) -> None:
        """Keep what was priced since."""
        for config, costs in self._new.items():
            self._store.write(costs, config)
            costs.clear()


@cache
def cost_store(folder: Path) -> CostStore:
    """The store of a cache folder, for this version of lanewise; a process opens it once."""
    return CostStore(folder / "costs" / f"{source_hash(PRICES)}.sqlite")


def _key(work: Work, machine: str) -> bytes:
    """``repr`` has every field of a work, and of what it is made of, exactly."""
    return hashlib.blake2b(f"{machine} {work!r}".encode(), digest_size=16).digest()


def _bytes(cost: OperatorCost) -> bytes:
    return _NUMBERS.pack(cost.cycles, cost.instructions, cost.loaded_bytes, cost.stored_bytes, *cost.busy)


def _cost(data: bytes) -> OperatorCost:
    cycles, instructions, loaded, stored, *busy = _NUMBERS.unpack(data)
    return OperatorCost(
        cycles=cycles, busy=tuple(busy), instructions=instructions, loaded_bytes=loaded, stored_bytes=stored
    )


def _without(error: Exception) -> None:
    logging.getLogger(__name__).warning("costs of works are not kept: %s", error)
