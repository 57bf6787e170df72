"""Values of constants, computed only when a network asks for one.

On the meta device nothing has a value, but networks look at some: is this mask all true, what is the largest
position? If no input and no parameter is involved, the answer is known: the operators that made it are run
on the CPU.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map


@dataclass(frozen=True, slots=True)
class Reference:
    """Stands for a tensor among recorded arguments."""

    value: int | None
    """Id of the constant; ``None`` where the shape alone matters."""
    like: Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class _Recipe:
    func: Any
    arguments: Any
    result: int
    """Place among the results."""
    overwritten: int | None
    """The constant that ``func`` replaces by this one, if it works in place."""


_ONE_NUMBER = tuple(
    f"{before}{name}" for name in ("zeros", "ones", "full") for before in ("", "new_")
) + tuple(f"{name}_like" for name in ("zeros", "ones", "full"))


def _name(func: Any) -> str:
    return str(func.name()).removeprefix("aten::").partition(".")[0] if hasattr(func, "name") else ""


_SAME_NUMBER = ("detach", "alias", "clone", "expand", "expand_as", "view", "reshape", "unsqueeze")
"""Operators that show the same number elsewhere."""


class Constants:
    """How each constant came to be."""

    def __init__(self) -> None:
        self._recipes: dict[int, _Recipe] = {}
        self._known: dict[int, Tensor] = {}

    @property
    def known(self) -> dict[int, Tensor]:
        """Those that have a value, by id."""
        return dict(self._known)

    def give(self, value: int, tensor: Tensor) -> None:
        """``value`` is what ``tensor`` holds now, if it holds anything."""
        if tensor.device.type != "meta":
            self._known[value] = tensor.clone()

    def define(
        self,
        values: Sequence[int],
        overwritten: Sequence[int | None],
        func: Any,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
    ) -> None:
        """``values`` are what ``func`` returns and then what it puts in the place of ``overwritten``.

        Tensors among the arguments are :class:`Reference`.
        """
        fresh = len(values) - len(overwritten)
        for place, value in enumerate(values):
            self._recipes[value] = _Recipe(
                func=func,
                arguments=(tuple(args), dict(kwargs)),
                result=place,
                overwritten=overwritten[place - fresh] if place >= fresh else None,
            )

    def evaluate(self, value: int) -> Tensor:
        """What ``value`` is, on the CPU.

        Raises:
            LookupError: It rests on something without a value, such as a buffer on the meta device.
        """
        if value not in self._known:
            if value not in self._recipes:
                raise LookupError("it depends on a value that is not known before the network runs")
            recipe = self._recipes[value]
            result, arguments = self._run(recipe.func, recipe.arguments)
            if recipe.overwritten is not None:
                self._known[value] = arguments[recipe.overwritten]
            else:
                self._known[value] = (result if isinstance(result, Tensor) else result[recipe.result]).clone()
        return self._known[value]

    def number(self, value: int, elements: int) -> float | None:
        """The one number that ``value`` holds in all of its places; ``None``: it is not known to be one."""
        recipe = self._recipes.get(value)
        while recipe is not None and recipe.overwritten is None and not recipe.result:
            name, arguments = _name(recipe.func), recipe.arguments[0]
            if name in _ONE_NUMBER:
                fill = 0.0 if "zeros" in name else 1.0 if "ones" in name else arguments[-1]
                return float(fill) if isinstance(fill, int | float) else None
            seen = arguments[0] if name in _SAME_NUMBER and arguments else None
            recipe = (
                self._recipes.get(seen.value)
                if isinstance(seen, Reference) and seen.value is not None
                else None
            )
        if elements != 1:
            return None
        try:
            found = self.evaluate(value)
        except (LookupError, RuntimeError):
            return None
        return float(found)

    def call(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """What ``func`` returns for these constants, on the CPU.

        Raises:
            LookupError: As :meth:`evaluate`.
        """
        return self._run(func, (tuple(args), dict(kwargs)))[0]

    def _run(self, func: Any, arguments: Any) -> tuple[Any, dict[int, Tensor]]:
        """The result, and the tensors that stood for each constant (``func`` may have written to them)."""
        tensors: dict[int, Tensor] = {}

        def argument(part: Any) -> Any:
            if isinstance(part, torch.device):
                return torch.device("cpu")
            if not isinstance(part, Reference):
                return part
            if part.value is None:
                return torch.empty_like(part.like, device="cpu")
            if part.value not in tensors:
                tensors[part.value] = self.evaluate(part.value).clone()
            return tensors[part.value]

        args, kwargs = tree_map(argument, arguments, is_leaf=lambda part: isinstance(part, Reference))
        return func(*args, **kwargs), tensors
