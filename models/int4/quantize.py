"""Any network on the INT4 array."""

from collections.abc import Sequence
from copy import deepcopy
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from lanewise.errors import UserError
from lanewise.models.int4.config import Int4Config
from lanewise.models.int4.layers import Int4Linear, Int4MultiheadAttention


def quantize(
    module: nn.Module,
    config: Int4Config | None = None,
    *,
    include: Sequence[str] = ("*",),
    exclude: Sequence[str] = (),
    inplace: bool = False,
    **options: Any,
) -> nn.Module:
    """A copy of ``module`` whose linear layers, those of attention included, multiply in INT4, in evaluation and in training.

    Parameters keep their names, so a checkpoint of the exact network loads with ``strict=False``; each layer has two learned steps more, which an
    optimiser must be told of: make it afterwards. The first batch sets the steps of the layers' inputs. What a layer draws at random
    depends on the seed and on its place among the replaced layers; equal seeds give equal networks, bit for bit.

    Args:
        module: Any network, on the CPU.
        config: How.
        include: Patterns of names, as ``encoder.*``, of layers to replace.
        exclude: Patterns of names of layers that stay.
        inplace: Change ``module`` itself and return it, unless it is a linear layer, which cannot become another in place.
        options: Fields of :class:`Int4Config`, which override ``config``'s.

    Raises:
        UserError: ``module`` is no network, a field is not one of its choices, a pattern matches no linear layer, or attention is of a kind
            that cannot be INT4.

    >>> network = quantize(nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 2)), exclude=["2"])
    >>> [type(part).__name__ for part in network]
    ['Int4Linear', 'GELU', 'Linear']
    """
    if not isinstance(module, nn.Module):
        raise UserError(f"module must be a torch.nn.Module, not {type(module).__name__}")
    chosen = Int4Config.of(config, **options)
    replaceable = (nn.Linear, nn.MultiheadAttention)
    names = [name for name, part in module.named_modules() if isinstance(part, replaceable)]
    for title, patterns in (("include", include), ("exclude", exclude)):
        for pattern in patterns:
            if not any(fnmatchcase(name, pattern) for name in names):
                raise UserError(
                    f"{title} must match linear layers of {type(module).__name__}, not {pattern!r}"
                )

    def matches(name: str) -> bool:
        return any(fnmatchcase(name, p) for p in include) and not any(fnmatchcase(name, p) for p in exclude)

    result = module if inplace else deepcopy(module)
    for place, name in enumerate(filter(matches, names)):
        part = result.get_submodule(name)
        changed: nn.Module
        if isinstance(part, nn.MultiheadAttention):
            changed = Int4MultiheadAttention.of(part, chosen, place)
        else:
            assert isinstance(part, nn.Linear)
            changed = Int4Linear.of(part, chosen, place)
        if not name:
            result = changed
            continue
        parent, _, child = name.rpartition(".")
        setattr(result.get_submodule(parent), child, changed)
    for part in result.modules():
        if isinstance(part, nn.TransformerEncoderLayer):
            part.activation_relu_or_gelu = 0  # PyTorch's fused evaluation would pass over the layers
    return result
