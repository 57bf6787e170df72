"""A sweep's folder: ``results.parquet``, always whole, and a log of the rows that are not in it yet.

A row is appended to the log and reaches the disk before it counts as done. Now and then the log is merged: the table with its rows
is written to another name, renamed, and only then is the log emptied. Killed in between, rows are in both, and are merged once more to the
same table. A last line that was not finished is removed.
"""

import fcntl
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, fields
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from lanewise.errors import UserError
from lanewise.files import atomic_write
from lanewise.sweep.row import SweepRow

TABLE, LOG, LOCK = "results.parquet", "rows.log", ".lock"

_COUNTS = pa.map_(pa.string(), pa.int64())
_TYPES = {
    "year": pa.int64(), "cycles": pa.int64(), "baseline_cycles": pa.int64(), "speedup": pa.float64(), "macs": pa.int64(),
    "parameters": pa.int64(), "bytes": pa.int64(), "instructions": pa.int64(), "tasks": pa.int64(), "activations": _COUNTS,
    "activation_share": pa.float64(), "busy_clk": _COUNTS, "baseline_busy_clk": _COUNTS, "kinds": _COUNTS,
    "baseline_kinds": _COUNTS, "unmapped": pa.list_(pa.string()), "trace_seconds": pa.float64(), "seconds": pa.float64(),
    "peak_bytes": pa.int64(),
}  # fmt: skip
COLUMNS = tuple(field.name for field in fields(SweepRow))
SCHEMA = pa.schema([(name, _TYPES.get(name, pa.string())) for name in COLUMNS])

Key = tuple[str, str, str]


class Results:
    """The rows of a folder, for the one sweep that writes there; a context that holds its lock.

    Args:
        folder: Is made.

    Raises:
        UserError: Another sweep writes there, or what is there cannot be read or written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._rows: dict[Key, SweepRow] = {}
        self._unmerged = 0

    def __enter__(self) -> Self:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self._folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise UserError(
                f"{self._folder}: cannot be written: {error.strerror}; expected a writable folder"
            ) from None
        try:
            self._take_lock()
            self._remove_temporary()
            self._rows = {row.key: row for row in (*_read_table(self._folder / TABLE), *self._recover())}
            self._log = os.open(self._folder / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        except BaseException:
            os.close(self._lock)
            raise
        self.merge()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.merge()
        finally:
            os.close(self._log)
            os.close(self._lock)

    def get(self, key: Key) -> SweepRow | None:
        """The row of a model, its options and a machine."""
        return self._rows.get(key)

    def add(self, rows: Iterable[SweepRow]) -> None:
        """Keep rows, each in place of one of its key; they are on the disk when this returns."""
        rows = list(rows)
        text = "".join(json.dumps(asdict(row), separators=(",", ":"), allow_nan=False) + "\n" for row in rows)
        try:
            left = memoryview(text.encode())
            while left:
                left = left[os.write(self._log, left) :]
            os.fsync(self._log)
        except OSError as error:
            raise UserError(
                f"{self._folder / LOG}: cannot be written: {error.strerror}; expected room and a writable file"
            ) from None
        self._rows |= {row.key: row for row in rows}
        self._unmerged += len(rows)

    def merge(self) -> None:
        """Bring ``results.parquet`` up to date and empty the log."""
        path = self._folder / TABLE
        if self._unmerged or not path.exists():
            write_rows(path, self._rows.values())
            _sync_folder(self._folder)
        os.ftruncate(self._log, 0)
        os.fsync(self._log)
        self._unmerged = 0

    def _take_lock(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            process = os.pread(self._lock, 32, 0).decode().strip() or "unknown"
            raise UserError(
                f"{self._folder}: another sweep writes there (process {process}); expected one at a time"
            ) from None
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)

    def _remove_temporary(self) -> None:
        """What a process that was killed left of a table that it had not finished."""
        for path in self._folder.glob(f".{TABLE}.*"):
            path.unlink()

    def _recover(self) -> list[SweepRow]:
        """The log's rows; a last line that was not finished is none, and goes when the log is emptied."""
        path = self._folder / LOG
        try:
            text = path.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror}; expected a sweep's log") from None
        lines = text.split(b"\n")
        lines.pop()  # empty, or a line that was not finished
        rows = []
        for number, line in enumerate(lines, 1):
            try:
                rows.append(SweepRow(**json.loads(line)))
            except (ValueError, TypeError) as error:
                raise UserError(
                    f"{path}: line {number} is no row of a sweep ({error}); expected what a sweep has written"
                ) from None
        self._unmerged = len(rows)
        return rows


def read_rows(folder: Path) -> list[SweepRow]:
    """The rows of a folder's ``results.parquet``.

    Raises:
        UserError: There is none, or it is no such file.
    """
    path = folder / TABLE
    if not path.exists():
        raise UserError(f"{path}: is not there; expected a folder that lanewise sweep has written")
    return _read_table(path)


def write_rows(path: Path, rows: Iterable[SweepRow]) -> None:
    """Write a table, whole or not at all."""
    rows = list(rows)
    columns = {}
    for column in SCHEMA:
        values: list[Any] = [getattr(row, column.name) for row in rows]
        if column.type == _COUNTS:
            values = [list(value.items()) for value in values]
        columns[column.name] = pa.array(values, column.type)
    with atomic_write(path) as stream:
        pq.write_table(pa.table(columns, schema=SCHEMA), stream)


def _read_table(path: Path) -> list[SweepRow]:
    if not path.exists():
        return []
    try:
        table = pq.read_table(path, partitioning=None)
        names = [name for name in table.column_names if name in COLUMNS]
        rows = table.select(names).to_pylist(maps_as_pydicts="strict")
        return [SweepRow(**row) for row in rows]
    except (OSError, pa.ArrowException, TypeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path}: cannot be read: {reason}; expected what a sweep has written") from None


def _sync_folder(folder: Path) -> None:
    """So that a renamed file keeps its name when the power fails."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
