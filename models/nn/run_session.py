"""Begins and ends sessions, with the two modes that make one."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import wraps
from typing import Any, NoReturn

import torch
from torch.utils import checkpoint

from lanewise.errors import UserError
from lanewise.models.nn import session
from lanewise.models.nn.config import ApproximateConfig
from lanewise.models.nn.dispatch_mode import DispatchMode
from lanewise.models.nn.function_mode import FunctionMode
from lanewise.models.nn.session import Session


@contextmanager
def in_session(config: ApproximateConfig, path: Sequence[str] = ()) -> Iterator[Session]:
    """Context in which functions go to the hardware, as ``config`` has it.

    Raises:
        UserError: PyTorch records the network instead of running it.
    """
    if torch.jit.is_tracing():  # type: ignore[attr-defined,no-untyped-call]
        refuse("torch.jit.trace")
    if torch.compiler.is_exporting():
        refuse("torch.export")
    running = Session(config=config, path=list(path))
    session.push(running)
    try:
        with DispatchMode(running), FunctionMode(running):
            yield running
    finally:
        session.pop(running)


def refuse(recorder: str) -> NoReturn:
    """Say that an approximated network cannot be written down.

    Raises:
        UserError: Always.
    """
    raise UserError(
        f"an approximated network must be run by PyTorch itself, not recorded by {recorder}, which cannot hold the hardware's "
        "functions; expected the exact network there"
    )


def repeatable(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` that computes in this moment's session, or exactly if that is paused, whenever it is called later."""
    running = session.innermost()
    if running is None:
        return function
    config, path, exactly = running.config, tuple(running.path), session.current() is None

    def repeated(*args: Any, **kwargs: Any) -> Any:
        if session.innermost() is running:
            return function(*args, **kwargs)
        with in_session(config, path), session.paused() if exactly else nullcontext():
            return function(*args, **kwargs)

    return repeated


def keep_sessions_of_checkpoints() -> None:
    """Make gradient checkpoints recompute in the session that they were computed in.

    PyTorch recomputes in the backward pass, long after the session, and has no public place to say how. Outside sessions
    nothing changes.
    """
    frame: Any = checkpoint._CheckpointFrame
    function: Any = checkpoint.CheckpointFunction
    begin, forward = frame.__init__, function.forward

    @wraps(begin)
    def begin_repeatable(self: Any, recompute: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        begin(self, repeatable(recompute), *args, **kwargs)

    @wraps(forward)
    def forward_repeatable(ctx: Any, run: Callable[..., Any], *args: Any) -> Any:
        return forward(ctx, repeatable(run), *args)

    frame.__init__ = begin_repeatable
    function.forward = staticmethod(forward_repeatable)


keep_sessions_of_checkpoints()
