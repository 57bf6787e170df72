"""Linear layers on the integer MAC array: symmetric quantisation, exact integer products, the vector unit's dequantisation.

Weights have one scale an output channel, activations one scale a tensor, as the simulator's kernels have; both minimise the squared error
of the values that calibration saw. With ``hadamard`` both operands are first turned by a block-diagonal Walsh-Hadamard matrix, which spreads outliers
(Xi et al., NeurIPS 2023, arXiv 2306.11987); the array sees the same integers, the transform's cost is not in the simulator yet.
"""

from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import nn

HADAMARD_BLOCK = 32
CANDIDATES = 40
"""Clipping levels tried for a scale, from the largest magnitude down to a fortieth of it."""


@dataclass(frozen=True, kw_only=True)
class QuantiseConfig:
    """How linear layers are quantised."""

    bits: int = 4
    """Width of both operands: 4 or 8."""
    hadamard: bool = False

    def __post_init__(self) -> None:
        if self.bits not in (4, 8):
            raise ValueError(f"bits must be 4 or 8, not {self.bits!r}")


def hadamard(size: int) -> torch.Tensor:
    """Orthonormal Walsh-Hadamard matrix in Sylvester's order, shape ``(size, size)``, ``size`` a power of two."""
    matrix = torch.ones(1, 1)
    while matrix.shape[0] < size:
        matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)], 0) / 2**0.5
    return matrix


def turn(x: torch.Tensor, block: int = HADAMARD_BLOCK) -> torch.Tensor:
    """``x`` times the block-diagonal Hadamard matrix along its last axis, whose length is a multiple of ``block``."""
    shape = x.shape
    return (x.reshape(-1, block) @ hadamard(block).to(x.dtype)).reshape(shape)


def best_scale(x: torch.Tensor, bits: int) -> torch.Tensor:
    """Scale of each row with the least squared quantisation error; ``x`` of shape ``(rows, n)``, result ``(rows, 1)``."""
    top = 2 ** (bits - 1) - 1
    peak = x.abs().amax(1, keepdim=True).clamp_min(1e-12)
    best = peak / top
    least = torch.full_like(peak, torch.inf)
    for step in range(1, CANDIDATES + 1):
        scale = peak * step / CANDIDATES / top
        error = (quantise(x, scale, bits) * scale - x).square().sum(1, keepdim=True)
        best, least = torch.where(error < least, scale, best), torch.minimum(error, least)
    return best


def quantise(x: torch.Tensor, scale: torch.Tensor, bits: int) -> torch.Tensor:
    """Nearest integers (ties to even) of ``x / scale``, saturated to the signed range; a float tensor of integers."""
    limit = 2 ** (bits - 1)
    return torch.round(x / scale).clamp(-limit, limit - 1)


class IntegerLinear(nn.Module):
    """``y = fp16(sum(xq * wq) * sx * sw + b)``: integers on the array, scale and bias in FP32, result in FP16.

    The products are summed in float64, exact far beyond INT32's range of these layers (tested against integer arithmetic).
    """

    def __init__(self, linear: nn.Linear, scale: torch.Tensor, config: QuantiseConfig) -> None:
        super().__init__()
        self.config = config
        weight = linear.weight.detach()
        if config.hadamard:
            weight = turn(weight)
        self.weight_scale = best_scale(weight, config.bits)
        self.weight = quantise(weight, self.weight_scale, config.bits).to(torch.float64)
        self.scale = scale
        self.bias = None if linear.bias is None else linear.bias.detach()

    def integers(self, x: torch.Tensor) -> torch.Tensor:
        """The array's operand for ``x``."""
        half = x.to(torch.float16).to(torch.float32)
        return quantise(turn(half) if self.config.hadamard else half, self.scale, self.config.bits)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Shape ``(..., k)`` to ``(..., n)``."""
        total = (self.integers(x).to(torch.float64) @ self.weight.T).to(torch.float32)
        result = total * (self.scale * self.weight_scale.T).squeeze(0)
        if self.bias is not None:
            result = result + self.bias
        return result.to(torch.float16).to(x.dtype)


def quantise_linears(module: nn.Module, config: QuantiseConfig, calibrate: Callable[[nn.Module], object], skip: Iterable[str] = ()) -> nn.Module:
    """A copy of ``module`` whose linear layers are integer; activation scales from what ``calibrate(module)`` runs through it.

    Raises:
        ValueError: ``calibrate`` left a linear layer without data, or a layer's width is no multiple of the Hadamard block.
    """
    module = deepcopy(module).eval()
    seen: dict[str, list[torch.Tensor]] = {}
    targets = {name: part for name, part in module.named_modules() if isinstance(part, nn.Linear) and name not in set(skip)}

    def record(name: str) -> Callable[..., None]:
        def hook(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            seen.setdefault(name, []).append(inputs[0].detach().reshape(-1, inputs[0].shape[-1]))

        return hook

    hooks = [part.register_forward_pre_hook(record(name)) for name, part in targets.items()]
    with torch.no_grad():
        calibrate(module)
    for hook in hooks:
        hook.remove()
    for name, part in targets.items():
        if name not in seen:
            raise ValueError(f"calibrate must run every linear layer, not leave out {name!r}")
        if config.hadamard and part.in_features % HADAMARD_BLOCK:
            raise ValueError(f"in_features of {name} must be a multiple of {HADAMARD_BLOCK}, not {part.in_features}")
        values = torch.cat(seen[name])
        values = turn(values) if config.hadamard else values
        scale = best_scale(values.reshape(1, -1), config.bits).squeeze()
        parent, _, child = name.rpartition(".")
        setattr(module.get_submodule(parent), child, IntegerLinear(part, scale, config))
    return module
