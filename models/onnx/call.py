"""One call of an ONNX operator: its operands, which of them are known, and its attributes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from lanewise.models.onnx.file import OnnxNode


@dataclass(frozen=True, kw_only=True, eq=False)
class Call:
    """What an operator is called with.

    A value is known if it depends on constants and shapes alone: such values are on the CPU and hold numbers
    even when the network runs on the ``meta`` device.
    """

    node: OnnxNode
    operands: Sequence[Any]
    """Tensors, lists of them, or ``None`` where one is left out."""
    known: Sequence[Any]
    """The same where they are known."""
    device: torch.device
    exact: bool = True
    """Whether numbers count. Otherwise quantisers leave values as they are, and an operator of PyTorch's stands
    for one whose numbers it does not give to the last place."""
    run: Callable[..., Sequence[Any]] | None = None
    """Runs a graph among the attributes: called with the graph and its operands. Known ones and known results are
    on the CPU, as with :meth:`early`."""

    @property
    def opset(self) -> int:
        """Version of the operator's set."""
        return self.node.opset

    def __len__(self) -> int:
        return len(self.operands)

    def has(self, place: int) -> bool:
        """Whether an operand is given."""
        return place < len(self.operands) and self.operands[place] is not None

    def __getitem__(self, place: int) -> Any:
        """An operand that must be there."""
        if not self.has(place):
            raise ValueError(f"operand {place} is missing")
        return self.operands[place]

    def maybe(self, place: int) -> Any:
        """An operand or ``None``."""
        return self.operands[place] if self.has(place) else None

    def early(self, place: int) -> Any:
        """An operand, on the CPU if it is known and the network runs on the ``meta`` device."""
        known = self.known[place] if self.has(place) else None
        return self[place] if known is None or self.device.type != "meta" else known

    def value(self, place: int) -> Any:
        """An operand's numbers: a known one's on the CPU, any other's if the network runs on real numbers.

        Raises:
            ValueError: It is computed from the network's input, which has none.
        """
        known = self.known[place] if self.has(place) else None
        if known is None and isinstance(self.maybe(place), Tensor) and not self[place].is_meta:
            return self[place]
        if known is None:
            name = self.node.inputs[place] if place < len(self.node.inputs) else f"operand {place}"
            raise ValueError(
                f"{name} must be a constant or follow from shapes, but depends on an input's values"
            )
        return known

    def number(self, place: int) -> Any:
        """A known operand of one element as a number, if that leaves the result's shape; else the tensor."""
        known = self.known[place]
        others = [len(x.shape) for i, x in enumerate(self.operands) if i != place and isinstance(x, Tensor)]
        if not isinstance(known, Tensor) or known.numel() != 1 or known.dim() > max(others, default=0):
            return self[place]
        if all(self.known[i] is not None for i in range(len(self.operands)) if i != place):
            return self[place]
        return known.item()

    def ints(self, name: str, place: int | None = None) -> list[int] | None:
        """Integers that are an attribute or (in newer sets) an operand; ``None`` if neither is there."""
        if name in self.node.attributes:
            return [int(part) for part in self.node.attributes[name]]
        if place is not None and self.has(place):
            return [int(part) for part in self.value(place).reshape(-1).tolist()]
        return None

    def attribute(self, name: str, default: Any = None) -> Any:
        """An attribute, or the default where it is not given."""
        value = self.node.attributes.get(name)
        return default if value is None else value


Operator: TypeAlias = Callable[[Call], Any]
"""Returns the result, or a tuple of them."""
