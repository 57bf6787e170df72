"""Values of a running ONNX graph by name."""

from typing import Any

import torch
from torch import Tensor


class Scope:
    """Values by name, and what is known of them before the network runs."""

    def __init__(self, *, values: dict[str, Any], known: dict[str, Any], device: torch.device) -> None:
        self.values = values
        self.known = known
        self.device = device

    def add(self, name: str, value: Any, known: Any) -> None:
        """A value; ``None`` if it is only known."""
        if not name:
            return
        self.values.pop(name, None)
        self.known.pop(name, None)
        if value is not None:
            self.values[name] = value
        if known is not None:
            self.known[name] = known

    def value(self, name: str) -> Any:
        """A value on the network's device."""
        if name not in self.values:
            if name not in self.known:
                raise ValueError(f"{name} is read before it is computed")
            known = self.known[name]
            moved = (
                [part.to(self.device) for part in known] if isinstance(known, list) else known.to(self.device)
            )
            self.values[name] = moved
        return self.values[name]

    def truth(self, name: str) -> bool:
        """A condition.

        Raises:
            ValueError: It is not known.
        """
        known = self.known.get(name)
        if known is None and not self.value(name).is_meta:
            known = self.value(name)
        if known is None:
            raise ValueError(f"{name} must be known before the network runs")
        return bool(known)


def is_real(value: Any) -> bool:
    """Whether a value has numbers."""
    if isinstance(value, list):
        return all(isinstance(part, Tensor) and not part.is_meta for part in value)
    return isinstance(value, Tensor) and not value.is_meta
