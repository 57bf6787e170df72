"""Which functions the hardware computes at this moment: one session a thread and run of a network."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeAlias

import torch

from lanewise.models.nn.config import ApproximateConfig


@dataclass(frozen=True, kw_only=True)
class Observation:
    """One call of a replaced function."""

    layer: str
    """Name of the innermost module that is running."""
    function: str
    operand: torch.Tensor
    result: torch.Tensor
    """The hardware's."""
    exact: Callable[[torch.Tensor], torch.Tensor]
    """Of the operand: what the function should be."""
    range: tuple[float, float] | None
    """Operands for which the hardware is meant to be accurate; ``None``: all."""


Observer: TypeAlias = Callable[[Observation], None]


@dataclass(kw_only=True, eq=False)
class Session:
    """What one run has of its own."""

    config: ApproximateConfig
    path: list[str] = field(default_factory=list)
    """Names of the modules that are running, the innermost last."""

    @property
    def layer(self) -> str:
        """Name of the innermost module that is running; empty for the whole network."""
        return self.path[-1] if self.path else ""


class _Local(threading.local):
    """A thread's state."""

    def __init__(self) -> None:
        self.sessions: list[Session] = []
        self.pauses = 0
        self.observers: list[Observer] = []


_LOCAL = _Local()


def current() -> Session | None:
    """The session that runs, or ``None`` if there is none, or it is paused."""
    return _LOCAL.sessions[-1] if _LOCAL.sessions and not _LOCAL.pauses else None


def innermost() -> Session | None:
    """The session that runs, paused or not."""
    return _LOCAL.sessions[-1] if _LOCAL.sessions else None


def push(session: Session) -> None:
    """Begin a session inside the one that runs."""
    _LOCAL.sessions.append(session)


def pop(session: Session) -> None:
    """End a session and what has been begun inside it."""
    del _LOCAL.sessions[_LOCAL.sessions.index(session) :]


def pause() -> None:
    """Compute exactly until :func:`resume`; pauses nest."""
    _LOCAL.pauses += 1


def resume() -> None:
    """The end of a :func:`pause`."""
    _LOCAL.pauses -= 1


@contextmanager
def paused() -> Iterator[None]:
    """Context in which everything is computed exactly."""
    pause()
    try:
        yield
    finally:
        resume()


@contextmanager
def observed(observer: Observer) -> Iterator[None]:
    """Context in which ``observer`` is told of each call of a replaced function, in this thread."""
    _LOCAL.observers.append(observer)
    try:
        yield
    finally:
        _LOCAL.observers.remove(observer)


def observe(
    session: Session, function: str, operand: torch.Tensor, result: torch.Tensor,
    exact: Callable[[torch.Tensor], torch.Tensor], range: tuple[float, float] | None = None,
) -> None:  # fmt: skip
    """Tell the observers."""
    if not _LOCAL.observers:
        return
    seen = Observation(
        layer=session.layer,
        function=function,
        operand=operand.detach(),
        result=result.detach(),
        exact=exact,
        range=range,
    )
    with paused(), torch.no_grad():
        for observer in _LOCAL.observers:
            observer(seen)
