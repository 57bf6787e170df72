"""The tensors of a network in external memory: FP16, or the matrix unit's operands with what one step of them stands for."""

from dataclasses import dataclass, field
from math import ceil
from typing import Any

import numpy as np
import numpy.typing as npt

from lanewise.mapping.layout import Layouts, Order

Bytes = npt.NDArray[np.uint8]


@dataclass
class Tensors:
    """External memory by name, and what is known of values there.

    Args:
        layouts: Of the network's graph.
        bits: Width of the matrix unit's operands.
    """

    layouts: Layouts
    bits: int
    memory: dict[str, npt.NDArray[Any]] = field(default_factory=dict)
    scales: dict[str, float] = field(default_factory=dict)
    """What one step of a quantised tensor stands for."""
    moved: dict[tuple[int, Order], str] = field(default_factory=dict)
    """Tensors that hold a value in another order than its own."""

    def name(self, value: int, form: str) -> str:
        """A value's tensor in its own order."""
        return f"value {self.layouts.of(value)} {form}"

    def room(self, value: int, form: str, name: str = "") -> str:
        """Make room for a value, once.

        Returns:
            The tensor's name.
        """
        name = name or self.name(value, form)
        if name not in self.memory:
            self.memory[name] = np.zeros(self.size_bytes(value, form), np.uint8)
        return name

    def size_bytes(self, value: int, form: str) -> int:
        """Bytes of a value: every line of quantised elements begins with a byte."""
        size = self.layouts.size(value)
        if form == "fp16":
            return 2 * size
        line = self.line(value)
        return size // line * ceil(line * self.bits / 8)

    def line(self, value: int) -> int:
        """Elements of the innermost axis."""
        root = self.layouts.of(value)
        shape, order = self.layouts.shape(root), self.layouts.order(root)
        return shape[order[-1]] if order else 1

    def put(self, name: str, array: npt.NDArray[Any]) -> str:
        """A tensor that the host lays out.

        Returns:
            ``name``.
        """
        self.memory[name] = np.ascontiguousarray(array)
        return name

    def fp16(self, name: str) -> npt.NDArray[np.float16]:
        """An FP16 tensor's elements as they lie."""
        found: npt.NDArray[np.float16] = self.memory[name].reshape(-1).view(np.float16)
        return found

    def value(self, value: int) -> npt.NDArray[np.float16]:
        """An FP16 value in its own shape, axes as the network has them."""
        root = self.layouts.of(value)
        order, shape = self.layouts.order(root), self.layouts.shape(root)
        lying = self.fp16(self.name(value, "fp16")).reshape([shape[axis] for axis in order])
        found: npt.NDArray[np.float16] = lying.transpose(np.argsort(order)) if order else lying
        return found.reshape(self.layouts.shape(value)) if root == value else found
