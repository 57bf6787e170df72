"""From PyTorch's operators (aten) to the canonical kinds of :class:`lanewise.mapping.graph.Operator`.

Kinds, their operands (in order) and attributes. Axes are never negative; sizes are in elements.

============ ======================= ======================================================================
kind         operands                attributes
============ ======================= ======================================================================
convolution  x, weight, (bias)       stride, padding, dilation, output_padding (an entry an axis), groups,
                                     transposed, bias
matmul       left (.., m, k), right  batch, m, k, n; weight: one operand is known at compile time; bias;
             (.., k, n), (bias (n,)) transposed_a, transposed_b: m, k lies innermost in memory
softmax      x                       axis, length, log
normalise    x, (weight), (bias),    length: elements a mean is taken over (batch_norm: channels), affine,
             (mean, variance)        epsilon; group_norm: groups
pool         x                       kernel, stride, padding, dilation; function max, average, adaptive_average
                                     or adaptive_max; average: counts_padding, and divisor if it is given
                                     (else 0); the adaptive ones: output
elementwise  those that are tensors  scalar: the operand that is a number, if one is; pow: exponent or
                                     base; clamp: minimum, maximum; compare: relation; leaky_relu: slope;
                                     softplus: beta, threshold; elu: alpha; cast: from, to; logit: epsilon;
                                     round_decimals: decimals; nan_to_num: nan, positive, negative
reduce       x                       axes, keep; norm: order
embedding    table, indices          rows, width
movement     what is moved           function: view if no data moves, else copy; operation: reshape,
                                     permute, slice, concat, pad, update, ...; permute: permutation; slice,
                                     select: axis, start, stop, step; split, concat: axis; pad: padding as
                                     PyTorch has it, mode, value; roll: shifts, axes (flip: no shifts);
                                     update: the old contents and the pieces written into them are the
                                     operands
recurrent    x, states, weights      macs, hidden, layers, bidirectional, steps; function lstm, gru,
                                     rnn_tanh, rnn_relu
other        all tensors             those of :mod:`lanewise.mapping.rules.ordering`; the function is the aten
                                     name
============ ======================= ======================================================================

``reverse_subtract``, ``reverse_divide`` and other ``reverse_`` functions have their operands exchanged (``scalar - x``).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from lanewise.mapping.graph import Attribute

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call of an aten operator."""

    name: str
    """Without ``aten::`` and without the underscore of an in-place form: ``relu``."""
    overload: str
    arguments: Mapping[str, Any]
    """By the schema's names, defaults filled in, in the schema's order."""

    def __getitem__(self, argument: str) -> Any:
        return self.arguments[argument]

    @property
    def tensors(self) -> "tuple[Tensor, ...]":
        """All tensors that are operands, in order; lists are flattened."""
        return tuple(tensors_in(self.arguments.values()))


@dataclass(frozen=True, kw_only=True)
class Canonical:
    """What a call is."""

    kind: str
    function: str = ""
    tensors: "tuple[Tensor, ...]"
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    transposed_weight: bool = False
    """The second tensor is (n, k) and is to be read through a transposition."""


Rule: TypeAlias = Callable[[Call], Canonical | None]
"""``None``: not in this form; take the operator apart or call it ``other``."""


def tensors_in(value: Any) -> "list[Tensor]":
    """All tensors in nested lists, tuples, mappings and result objects, in order."""
    from torch import Tensor

    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, Mapping):
        value = value.values()
    elif hasattr(value, "__dataclass_fields__"):
        value = [getattr(value, name) for name in value.__dataclass_fields__]
    elif isinstance(value, str | bytes) or not hasattr(value, "__iter__") or hasattr(value, "layers"):
        return []  # also of a transformers cache: what it holds are no results
    return [tensor for part in value for tensor in tensors_in(part)]


def canonical(call: Call) -> Canonical | None:
    """The canonical form of ``call``, or ``None`` if no rule knows it."""
    from lanewise.mapping.rules import RULES

    rule = RULES.get(call.name)
    return None if rule is None else rule(call)
