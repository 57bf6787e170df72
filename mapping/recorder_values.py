"""Where operands have values and where shapes alone, when an operator is run while a network is recorded."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from lanewise.mapping.canonical import tensors_in

_ASKING = frozenset((torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape))
"""Operators that need values and not shapes alone."""


def asks(func: Any, args: Sequence[Any]) -> bool:
    """Whether an operator needs values and not shapes alone; picking by integers does not."""
    if func is torch.ops.aten.index.Tensor:
        return any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1])
    if func.name().startswith("aten::to."):  # as ``tolist`` does first
        return torch.device("cpu") in args
    return not _ASKING.isdisjoint(func.tags)


def where_values_are(
    func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[Sequence[Any], Mapping[str, Any]]:
    """The arguments on one device: known values stay known, unless they meet a tensor that has none."""
    tensors = [tensor for tensor in tensors_in((args, kwargs)) if tensor.dim()]
    places = {tensor.is_meta for tensor in tensors}
    if True in places and func is torch.ops.aten.masked_fill.Tensor:  # wants its number there, too
        return tree_map_only(Tensor, lambda t: t.to("meta"), (tuple(args), dict(kwargs)))  # type: ignore[no-any-return]
    if len(places) > 1:  # an index without a value, an operand with one, or the reverse
        if func is torch.ops.aten.expand_as.default and not args[0].is_meta:
            return (args[0], args[0].new_empty(()).expand(args[1].shape)), kwargs
        if func in (
            torch.ops.aten.index.Tensor,
            torch.ops.aten.index_put_.default,
            torch.ops.aten.index_put.default,
        ):
            args = (args[0], _integers(args[1]), *args[2:])
        return tree_map_only(Tensor, lambda t: t if t.is_meta else t.to("meta"), (tuple(args), dict(kwargs)))  # type: ignore[no-any-return]
    if places == {False}:  # a value is not lost on the way to the meta device
        meta, cpu = torch.device("meta"), torch.device("cpu")
        return tree_map_only(torch.device, lambda d: cpu if d == meta else d, (tuple(args), dict(kwargs)))  # type: ignore[no-any-return]
    return args, kwargs


def everything(index: Tensor | None) -> Tensor | None:
    """A mask that depends on an input's values, as if it left nothing out: the most that there can be to do."""
    if index is None or not index.is_meta or index.dtype not in (torch.bool, torch.uint8):
        return index
    return torch.ones(index.shape, dtype=torch.bool, device="cpu")


def _integers(indices: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Masks whose values are known, as the places that they name."""
    found: list[Tensor | None] = []
    for index in indices:
        if index is not None and index.dtype == torch.bool and not index.is_meta:
            found.extend(index.nonzero(as_tuple=True))
        else:
            found.append(index)
    return found
