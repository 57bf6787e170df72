"""Replaces PyTorch's functions above autograd, where their derivatives can be chosen."""

from collections.abc import Callable
from functools import lru_cache
from types import FunctionType
from typing import Any

import torch
from torch.nn import functional as F  # noqa: N812 - its usual name
from torch.overrides import TorchFunctionMode

from lanewise.models.nn.operators import ACTIVATIONS, OTHERS, Handler
from lanewise.models.nn.session import Session, current


class FunctionMode(TorchFunctionMode):
    """Context in which calls of PyTorch's functions and of tensors' methods go to the hardware.

    Functions that PyTorch itself writes in Python, multi-head attention above all, are entered, so that what they
    call is replaced in turn.
    """

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if current() is not self.session:
            return func(*args, **kwargs)
        if isinstance(func, FunctionType):
            inner = _entered(func)
            if inner is None:
                return func(*args, **kwargs)
            with self:
                return inner(*args, **kwargs)
        name = getattr(func, "__name__", "")
        in_place = name.endswith("_") and not name.endswith("__")
        name = name.removesuffix("_") if in_place else name
        if name in ACTIVATIONS:
            result = self.activate(ACTIVATIONS[name], in_place, args, dict(kwargs))
        elif name in OTHERS and not in_place:
            given = dict(kwargs)
            out = given.pop("out", None)
            result = OTHERS[name](self.session, *args, **given)
            if out is not None and result is not NotImplemented:
                return _into(out, result)
        else:
            return func(*args, **kwargs)
        return func(*args, **kwargs) if result is NotImplemented else result

    def activate(self, handler: Handler, in_place: bool, args: Any, kwargs: dict[str, Any]) -> Any:
        """An activation, into a tensor of its own, its operand or a given one."""
        out = kwargs.pop("out", None)
        x = args[0] if args else kwargs.pop("input")
        if not isinstance(x, torch.Tensor):
            return NotImplemented
        operand = x.clone() if in_place else x  # whose derivative needs it as it was
        result = handler(self.session, operand, *args[1:], **kwargs)
        if result is NotImplemented or not (in_place or out is not None):
            return result
        return x.copy_(result) if in_place else _into(out, result)


def _into(out: Any, result: torch.Tensor) -> Any:
    """``out``, made as large as PyTorch makes it, with ``result`` in it."""
    return out.resize_(result.shape).copy_(result)


@lru_cache(maxsize=1024)
def _entered(func: FunctionType) -> Callable[..., Any] | None:
    """A function of :mod:`torch.nn.functional` without its question whether somebody else wants to run it, which would never
    end; ``None`` of any other, and of pooling (a closure over two functions that ask), which call nothing that is replaced."""
    if func.__module__ != F.__name__ or func.__closure__ is not None:
        return None
    inner = FunctionType(func.__code__, _NAMES, func.__name__, func.__defaults__, func.__closure__)
    inner.__kwdefaults__ = func.__kwdefaults__
    return inner


def _no(*_: object) -> bool:
    return False


_CHECKS = ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic")
_NAMES = vars(F) | dict.fromkeys(_CHECKS, _no)
