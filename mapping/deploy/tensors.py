"""The tensors of a network in external memory: FP16, or the matrix unit's operands with what one step of them stands for."""

from collections.abc import Sequence
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

    def name(self, value: int, form: str) -> str:
        """A value's tensor in its own order."""
        return f"value {self.layouts.of(value)} {form}"

    def moved(self, value: int, shape: Sequence[int], order: Order, form: str) -> str:
        """The tensor that holds a value in another order, expanded to ``shape``."""
        sizes = "x".join(str(shape[axis]) for axis in order)
        return f"value {value} as {sizes} of axes {','.join(map(str, order))} {form}"

    def room(self, value: int, form: str) -> str:
        """Make room for a value, once.

        Returns:
            The tensor's name.
        """
        return self.room_for(self.name(value, form), self.layouts.size(value), self.line(value), form)

    def room_for(self, name: str, size: int, line: int, form: str) -> str:
        """Likewise for so many elements in lines, of which each of quantised elements begins with a byte."""
        if name not in self.memory:
            size_bytes = 2 * size if form == "fp16" else size // line * ceil(line * self.bits / 8)
            self.memory[name] = np.zeros(size_bytes, np.uint8)
        return name

    def line(self, value: int) -> int:
        """Elements of the innermost axis."""
        return self.layouts.line(value)

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

    def value(self, value: int, shape: Sequence[int] | None = None) -> npt.NDArray[np.float16]:
        """An FP16 value in its own shape, or expanded to ``shape``, axes as the network has them.

        Raises:
            ValueError: It is a view that steps do not tell.
        """
        shape = self.layouts.shape(value) if shape is None else shape
        places = self.layouts.spread(value, shape)
        if places is None:
            raise ValueError(f"value {value} must be a view whose elements lie at steps")
        lying = self.fp16(self.name(value, "fp16"))[places.first :]
        return np.lib.stride_tricks.as_strided(lying, shape, [2 * step for step in places.steps])
