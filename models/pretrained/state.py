"""State dicts of PyTorch's files, read without unpickling code."""

from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import nn

from lanewise.errors import UserError


def read_state(path: Path, title: str) -> dict[str, Any]:
    """What a file of ``torch.save`` holds; ``title``: whose weights are expected.

    Raises:
        UserError: It cannot be read, or holds something else.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, UnpicklingError, EOFError, ValueError, LookupError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path}: cannot be read: {reason}; expected {title}'s weights") from None
    if not isinstance(state, dict):
        raise UserError(f"{path}: holds no state dict; expected {title}'s weights")
    return state


def fill(module: nn.Module, state: dict[str, Any], path: Path, title: str) -> None:
    """Give a module its weights.

    Raises:
        UserError: They do not fit.
    """
    try:
        module.load_state_dict(state)
    except (RuntimeError, AttributeError) as error:
        reason = str(error).splitlines()[-1].strip()
        raise UserError(f"{path}: {reason}; expected {title}'s weights") from None
