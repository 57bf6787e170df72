"""Networks whose activations, softmax and norms are the hardware's bits."""

from copy import deepcopy
from dataclasses import replace
from fnmatch import fnmatchcase
from math import inf
from typing import Any

import torch
from torch import nn

from lanewise.config import FlexSfuConfig, MachineConfig
from lanewise.errors import UserError
from lanewise.formats import FORMATS
from lanewise.models.functions import FUNCTIONS
from lanewise.models.nn.config import ApproximateConfig
from lanewise.models.nn.layer_forward import LayerForward
from lanewise.models.nn.recognise import recognise
from lanewise.models.nn.session import Observation, observed
from lanewise.models.reduction import REDUCED


def approximate(
    module: nn.Module,
    config: ApproximateConfig | FlexSfuConfig | MachineConfig | int | None = None,
    *,
    inplace: bool = False,
    **options: Any,
) -> nn.Module:
    """A copy of ``module`` whose activations, softmax and norms are the hardware's bits whenever it or a part of it runs.

    It does not matter how the network calls them: modules, functions, tensors' methods, attention and recurrent layers (which
    are taken apart), norms and GELUs that a class writes out. The copy is of the same class, with the same parameters,
    names, methods and state dict; it can be trained, copied and saved. Results have the operand's type.

    Backward passes are straight-through: ``gradient`` chooses the derivative, and "exact" is the default because it is
    continuous and because softmax and the norms have no other.

    Stays exact: ReLU and its like, batch normalisation, log-softmax, what an unknown class writes out in elementary operators.
    An approximated module that is approximated again takes the new configuration.

    Args:
        module: Any network; the hardware's functions are computed on the CPU.
        config: What to replace and how; of a machine its Flex-SFU, with its first format; or a number of segments.
        inplace: Change ``module`` itself and return it.
        options: Fields of :class:`ApproximateConfig`, which override ``config``'s.

    Raises:
        UserError: ``module`` is no network, a field is not one of its choices, or nothing has a name that ``exclude`` says.

    >>> approximated = approximate(nn.Sequential(nn.Linear(4, 4), nn.GELU()), segments=16, format="bf16")
    >>> sorted(approximated.state_dict())
    ['0.bias', '0.weight']
    """
    if not isinstance(module, nn.Module):
        raise UserError(f"module must be a torch.nn.Module, not {type(module).__name__}")
    if isinstance(module, torch.jit.ScriptModule):
        raise UserError(
            "module must be written in Python around the TorchScript one, which takes no hooks, not TorchScript's own"
        )
    chosen = ApproximateConfig.of(config, **options)
    for pattern in chosen.exclude:
        if not any(fnmatchcase(name, pattern) for name, _ in module.named_modules(remove_duplicate=False)):
            raise UserError(f"exclude must match layers of {type(module).__name__}, not {pattern!r}")
    if not inplace:
        module = deepcopy(module)
    exact(module)
    excluded = {
        part
        for name, part in module.named_modules(remove_duplicate=False)
        if any(fnmatchcase(name, pattern) for pattern in chosen.exclude)
    }
    for name, part in module.named_modules():
        if not isinstance(part, torch.jit.ScriptModule):
            form = None if part in excluded else recognise(part)
            LayerForward(part, name, chosen, excluded=part in excluded, form=form).attach()
    return module


def exact(module: nn.Module) -> nn.Module:
    """``module`` itself, made exact again in place; one that never was approximated stays as it is.

    >>> network = approximate(nn.Sigmoid(), segments=4)
    >>> exact(network)(torch.zeros(1)).item()
    0.5
    """
    for part in module.modules():
        LayerForward.detach(part)
    return module


def calibrate(
    module: nn.Module,
    config: ApproximateConfig | FlexSfuConfig | MachineConfig | int | None,
    *inputs: Any,
    **options: Any,
) -> ApproximateConfig:
    """``config`` with each activation's range set to the operands that ``inputs`` bring.

    An integer format needs it: the range decides what a unit of its operands stands for. A floating-point format gains if the
    operands fill less than the function's own range; beyond that, where an asymptote serves, its range does not grow. The network
    runs with FP16's tables meanwhile. Range-reduced functions have no range to set.

    Args:
        module: The exact network.
        config: As for :func:`approximate`.
        inputs: One for each run: a tensor, a tuple of positional or a mapping of keyword arguments.
        options: As for :func:`approximate`.

    Raises:
        UserError: As :func:`approximate`, or no input is given.

    >>> calibrate(nn.Tanh(), None, torch.tensor([-1.0, 3.0]), format="int8").ranges
    (('tanh', -1.0, 3.0),)
    """
    chosen = ApproximateConfig.of(config, **options)
    if not inputs:
        raise UserError("inputs must be at least one, not none")
    seen: dict[str, tuple[float, float]] = {}

    def widen(observation: Observation) -> None:
        operand = observation.operand[observation.operand.isfinite()]
        kind = observation.function.partition("(")[0]
        if observation.range is None or not operand.numel() or kind not in {*chosen.functions} - {*REDUCED}:
            return
        least, most = float(operand.min()), float(operand.max())
        if FORMATS[chosen.format].floating:
            own, function = observation.range, FUNCTIONS[kind]
            least = least if function.left is None else max(least, own[0])
            most = most if function.right is None else min(most, own[1])
        if least <= most:
            low, high = seen.get(kind, (inf, -inf))
            seen[kind] = (min(low, least), max(high, most))

    probe = approximate(module, replace(chosen, format="fp16", ranges=())).eval()
    with observed(widen), torch.no_grad():
        for given in inputs:
            run(probe, given)
    ranges = {name: (low, high) for name, low, high in chosen.ranges} | {
        name: (low, high) for name, (low, high) in seen.items() if low < high
    }
    return replace(chosen, ranges=tuple((name, low, high) for name, (low, high) in ranges.items()))


def run(module: nn.Module, inputs: Any) -> Any:
    """``module`` of a tensor, a tuple of positional or a mapping of keyword arguments."""
    if isinstance(inputs, tuple):
        return module(*inputs)
    if hasattr(inputs, "keys"):  # transformers' batches are mappings, too, but no dict
        return module(**inputs)
    return module(inputs)
