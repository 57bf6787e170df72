"""A user's own module, from Python: ``lanewise.simulate`` and ``lanewise.trace``."""

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lanewise.config import MachineConfig, load_config
from lanewise.errors import UserError
from lanewise.mapping.graph import Graph
from lanewise.mapping.simulate import Simulation
from lanewise.mapping.simulate import simulate as simulate_graph

if TYPE_CHECKING:
    import torch

    Given = torch.Tensor | Sequence[Any] | Mapping[str, Any]


def simulate(
    module: "torch.nn.Module",
    inputs: "Given",
    *,
    config: "MachineConfig | Path | str | None" = None,
    allow_unmapped: bool = False,
) -> Simulation:
    """Cycles of a module on a machine and on its baseline.

    Args:
        module: On any device; it is left as it is.
        inputs: What its forward pass takes: a tensor, a sequence of positional arguments, or arguments by name.
            Tensors may be on any device; their shapes and types count.
        config: The machine, or its TOML file; by default the default machine.
        allow_unmapped: Price operators without a kernel as a fallback.

    Raises:
        UserError: The module or the inputs are no such things, the forward pass cannot be traced, the
            configuration is wrong, or an operator has no kernel.

    >>> import torch
    >>> simulate(torch.nn.Linear(64, 32), torch.zeros(8, 64)).speedup
    1.0
    """
    machine = (
        config if isinstance(config, MachineConfig) else load_config(None if config is None else Path(config))
    )
    return simulate_graph(trace(module, inputs), machine, allow_unmapped=allow_unmapped)


def trace(module: "torch.nn.Module", inputs: "Given") -> Graph:
    """The operators of a module with their shapes.

    A copy without weights runs on the ``meta`` device. Where that is not enough, as the forward pass asks for
    values, it runs once more with its buffers and then on the real numbers, if there are any.

    Args:
        module: On any device; it is left as it is.
        inputs: As of :func:`simulate`.

    Raises:
        UserError: The module or the inputs are no such things, or the forward pass cannot be traced.

    >>> import torch
    >>> trace(torch.nn.Linear(64, 32), torch.zeros(8, 64)).macs
    16384
    """
    import torch
    from torch.utils._pytree import tree_map_only

    from lanewise.mapping.canonical import tensors_in
    from lanewise.mapping.trace import UNTRACEABLE, untraceable
    from lanewise.mapping.trace import trace as trace_once

    if not isinstance(module, torch.nn.Module):
        raise UserError(f"module: must be a torch.nn.Module, not {type(module).__name__}")
    if not isinstance(inputs, torch.Tensor | list | tuple | Mapping):
        raise UserError(
            f"inputs: must be a tensor, a tuple, or a dict of arguments, not {type(inputs).__name__}"
        )
    if not tensors_in(inputs):
        raise UserError("inputs: must hold a tensor")
    if any(tensor.is_nested or tensor.layout != torch.strided for tensor in tensors_in(inputs)):
        raise UserError("inputs: must be dense tensors, of one shape each; expected no nested or sparse ones")
    if isinstance(inputs, Mapping) and (wrong := [name for name in inputs if not isinstance(name, str)]):
        raise UserError(f"inputs: names of arguments must be text, not {wrong[0]!r}")
    given = (
        (inputs,)
        if isinstance(inputs, torch.Tensor)
        else inputs
        if isinstance(inputs, Mapping)
        else tuple(inputs)
    )
    model = type(module).__name__
    shapes: Any = tree_map_only(torch.Tensor, _shape_of, given)
    attempts: list[tuple[Callable[[], torch.nn.Module], Any]] = [
        (lambda: _on_meta(module, buffers=False), shapes)
    ]
    everything = [*module.parameters(), *module.buffers(), *tensors_in(given)]
    if any(not buffer.is_meta for buffer in module.buffers()):
        attempts.append((lambda: _on_meta(module, buffers=True), shapes))
    if not any(tensor.is_meta for tensor in everything):
        attempts.append((lambda: copy.deepcopy(module), given))
    first: Exception | None = None
    for prepared, arguments in attempts:
        try:
            return trace_once(prepared(), arguments, model=model)
        except UNTRACEABLE as error:
            first = first or error
    assert first is not None
    raise untraceable(model, first) from first


def _shape_of(tensor: "torch.Tensor") -> "torch.Tensor":
    return tensor.to("meta")


def _on_meta(module: "torch.nn.Module", *, buffers: bool) -> "torch.nn.Module":
    """A copy whose parameters are on the ``meta`` device; so are the buffers, unless they stay on the CPU."""
    import torch

    copies: dict[int, Any] = {}
    for parameter in module.parameters():
        copies[id(parameter)] = torch.nn.Parameter(parameter.detach().to("meta"), requires_grad=False)
    for buffer in module.buffers():
        copies[id(buffer)] = buffer.detach().to(
            "cpu" if buffers and not buffer.is_meta else "meta", copy=True
        )
    return copy.deepcopy(module, copies)
