"""Limits of time and memory for what runs in a thread of a worker."""

import ctypes
import os
import threading
from time import monotonic, sleep
from types import TracebackType
from typing import Self

import psutil

_TICK_SECONDS = 0.05
_GRACE_SECONDS = 10.0
_HARD_SHARE = 1.5


class LimitError(BaseException):
    """A limit was passed; no ``except Exception`` on the way stops it."""

    reason = "a limit was passed"


class TimeLimitError(LimitError):
    """The time is over."""

    reason = "took longer than --timeout"


class MemoryLimitError(LimitError):
    """The process has grown too large."""

    reason = "needed more than --memory"


class Limits:
    """A context in which :class:`LimitError` is raised, at any line, once a limit is passed.

    If that has no effect for ten seconds, or memory grows half again beyond its limit, the process ends: whoever waits for
    it then sees a worker that died.

    Args:
        seconds: Wall clock from the start; ``None``: no limit.
        memory_bytes: Resident memory of the process; ``None``: no limit.
    """

    def __init__(self, *, seconds: float | None = None, memory_bytes: int | None = None) -> None:
        self._seconds, self._memory = seconds, memory_bytes
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._raised: type[LimitError] | None = None
        self._process = psutil.Process()

    def __enter__(self) -> Self:
        self._thread = threading.get_ident()
        self._start = monotonic()
        if self._seconds is not None or self._memory is not None:
            threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            with self._lock:
                self._ended.set()
            if self._raised is not None and not isinstance(error, LimitError):
                sleep(_TICK_SECONDS)  # it is on its way, and comes here
                sleep(_TICK_SECONDS)
        except LimitError:
            self._ended.set()
            raise

    def _watch(self) -> None:
        while not self._ended.wait(_TICK_SECONDS):
            passed = self._passed()
            if passed is None:
                continue
            with self._lock:
                if self._ended.is_set():
                    return
                self._raised = passed
                ctypes.pythonapi.PyThreadState_SetAsyncExc(
                    ctypes.c_ulong(self._thread), ctypes.py_object(passed)
                )
            end = monotonic() + _GRACE_SECONDS
            while not self._ended.wait(_TICK_SECONDS):
                if monotonic() > end or self._resident() > _HARD_SHARE * (self._memory or float("inf")):
                    os._exit(1)
            return

    def _passed(self) -> type[LimitError] | None:
        if self._seconds is not None and monotonic() > self._start + self._seconds:
            return TimeLimitError
        return MemoryLimitError if self._memory is not None and self._resident() > self._memory else None

    def _resident(self) -> float:
        return float(self._process.memory_info().rss)
