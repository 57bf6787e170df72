"""Begins and ends sessions, with the two modes that make one."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

import torch

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
