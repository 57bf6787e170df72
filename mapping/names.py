"""Names of operators: the path of the module that runs them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook


class ModulePath:
    """Follows which module runs, by forward hooks.

    The first operator of a module without children carries the module's path, such as ``layer1.0.conv1``;
    all others its path and their own label, ``layer1.0.add``. A name that was given before gets ``#2``,
    ``#3``, ...
    """

    def __init__(self, module: torch.nn.Module) -> None:
        self._paths = {id(part): path for path, part in module.named_modules()}
        self._stack: list[tuple[str, bool]] = []
        """Path, and whether the path alone is still to be given."""
        self._given: dict[str, int] = {}

    @property
    def current(self) -> str:
        """Path of the innermost module that runs; empty for the network itself."""
        return self._stack[-1][0] if self._stack else ""

    @contextmanager
    def following(self) -> Iterator[None]:
        """Follow the modules that run inside the block."""
        handles = [register_module_forward_pre_hook(self._enter), register_module_forward_hook(self._leave)]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def name(self, label: str, *, is_view: bool) -> str:
        """A name for an operator of the module that runs, not given before."""
        path, fresh = self._stack[-1] if self._stack else ("", False)
        if fresh and not is_view:
            self._stack[-1] = (path, False)
            name = path
        else:
            name = f"{path}.{label}" if path else label
        count = self._given[name] = self._given.get(name, 0) + 1
        return name if count == 1 else f"{name}#{count}"

    def _enter(self, module: torch.nn.Module, _args: Any) -> None:
        path = self._paths.get(id(module), self.current)
        self._stack.append((path, bool(path) and not any(True for _ in module.children())))

    def _leave(self, _module: torch.nn.Module, _args: Any, _result: Any) -> None:
        self._stack.pop()
