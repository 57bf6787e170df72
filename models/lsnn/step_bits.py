"""A step of the generating-function map in FP32, in the order of operations of the vector kernel: the golden model of its bits.

Every sum begins with its bias and takes its products one after the other, each fused and rounded once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from torch import Tensor

from lanewise.models.lsnn.network import GeneratingNetwork
from lanewise.models.vector import fused_multiply_add

Float: TypeAlias = npt.NDArray[np.float32]
Activation: TypeAlias = Callable[[Float], tuple[Float, Float]]
"""Function and derivative of each element."""

ROUND = 12582912.0
"""1.5 x 2^23: adding it to a number of magnitude below 2^22, and subtracting it, rounds to an integer."""
TURN = float(np.float32(2 * np.pi))
PER_TURN = float(np.float32(1 / (2 * np.pi)))


@dataclass(frozen=True, kw_only=True, eq=False)
class Product:
    """``y = bias + weights @ a``; shapes ``(rows, k)`` and ``(rows,)``, ``k`` may be 0."""

    weights: Float
    bias: Float


@dataclass(frozen=True, kw_only=True)
class Products:
    """All products of a gradient. Scales are folded in: the first layer takes states as they are, and results are F's gradient."""

    forward: tuple[Product, ...]
    """Of the hidden layers, the input's first."""
    backward: tuple[Product, ...]
    """What comes back to the hidden layers, the last one's first; that has no sum, but the output layer's weights for a bias."""
    by_q: Product
    """dF/dq of what came back to the first layer."""
    by_p: Product
    """dF/dP likewise."""

    @classmethod
    def of(cls, network: GeneratingNetwork) -> "Products":
        """A network's, rounded to FP32 once folded."""
        layers = [(_numbers(layer.weight), _numbers(layer.bias)) for layer in network.linear]
        scales = (network.centre, network.spread, network.offset, network.gain)
        centre, spread, offset, gain = (_numbers(value) for value in scales)
        (first, bias), *others = layers
        first = first / spread
        hidden = [(first, bias - first @ centre), *others[:-1]]
        last = gain * others[-1][0][0]
        back = [_product(np.zeros((last.size, 0)), last)]
        back += [_product(weights.T, np.zeros(weights.shape[1])) for weights, _ in reversed(hidden[1:])]
        half = first.shape[1] // 2
        ends = [_product(first.T[part], offset[part]) for part in (slice(half), slice(half, None))]
        forward = tuple(_product(weights, offsets) for weights, offsets in hidden)
        return cls(forward=forward, backward=tuple(back), by_q=ends[0], by_p=ends[1])

    @property
    def all(self) -> tuple[Product, ...]:
        """In the order in which they are used."""
        return (*self.forward, *self.backward, self.by_q, self.by_p)


def _numbers(tensor: Tensor) -> npt.NDArray[np.float64]:
    numbers: npt.NDArray[np.float64] = tensor.detach().double().numpy()
    return numbers


def _product(weights: npt.NDArray[Any], bias: npt.NDArray[Any]) -> Product:
    return Product(weights=weights.astype(np.float32), bias=bias.astype(np.float32))


def packed(products: Sequence[Product], rows: int) -> Float:
    """The tensor that the kernel reads: of each product, blocks of ``rows`` results; of a block the biases, then column by column the weights.

    >>> one = Product(weights=np.array([[1, 2], [3, 4], [5, 6]], np.float32), bias=np.array([7, 8, 9], np.float32))
    >>> packed([one], 2).tolist()
    [7.0, 8.0, 1.0, 3.0, 2.0, 4.0, 9.0, 5.0, 6.0]
    """
    parts = []
    for product in products:
        for first in range(0, len(product.bias), rows):
            block = slice(first, first + rows)
            parts += [product.bias[block], product.weights[block].T.reshape(-1)]
    return np.concatenate(parts).astype(np.float32)


def gradient_bits(products: Products, x: Float, activation: Activation, end: Product) -> Float:
    """dF/dq or dF/dP, shape ``(n / 2, orbits)``, of ``(q, P)``, shape ``(n, orbits)``.

    Args:
        end: ``products.by_q`` or ``products.by_p``.
    """
    a, slopes = x, []
    for product in products.forward:
        a, slope = activation(_sum(product, a))
        slopes.append(slope)
    delta = np.zeros((0, x.shape[1]), np.float32)
    for product, slope in zip(products.backward, reversed(slopes)):
        delta = _sum(product, delta) * slope
    return _sum(end, delta)


def step_bits(
    products: Products, x: Float, activation: Activation, *, iterations: int, angle: bool = False
) -> Float:
    """The state after a step; see :func:`~lanewise.models.lsnn.stepping.implicit_step`.

    Args:
        x: States, shape ``(n, orbits)``.
        activation: The machine's.
        iterations: Of the fixed point.
        angle: Whether the last of q is brought to [0, 2 pi) after the step.

    Returns:
        Shape as ``x``.
    """
    half = len(x) // 2
    q, p = x[:half], x[half:]
    last = p
    for _ in range(iterations):
        last = p - gradient_bits(products, np.concatenate([q, last]), activation, products.by_q)
    q = q + gradient_bits(products, np.concatenate([q, last]), activation, products.by_p)
    if angle:
        q[-1] = turned(q[-1])
    return np.concatenate([q, last])


def turned(angle: Float) -> Float:
    """An angle less whole turns: in [0, 2 pi], but for rounding."""
    one = np.float32
    turns = angle * one(PER_TURN) - one(0.5)
    turns = (turns + one(ROUND)) - one(ROUND)
    return fused_multiply_add(-turns, np.broadcast_to(one(TURN), turns.shape), angle)


def _sum(product: Product, a: Float) -> Float:
    shape = (len(product.bias), a.shape[1])
    y = np.broadcast_to(product.bias[:, None], shape)
    for column, row in zip(product.weights.T, a):
        y = fused_multiply_add(np.broadcast_to(column[:, None], shape), np.broadcast_to(row, shape), y)
    return np.ascontiguousarray(y)
