"""Products on the integer MAC array: symmetric quantisation, exact integers, and dequantisation.

Weights have one scale an output channel, activations one scale a tensor, constant at run time: that is what
the simulator's kernels have. With ``hadamard`` both operands are first turned by a block-diagonal
Walsh-Hadamard matrix, which spreads outliers (Xi et al., NeurIPS 2023, arXiv 2306.11987); the array sees
integers all the same, and the transform's cycles are not in the simulator yet.
"""

from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

HADAMARD_BLOCK = 32
CANDIDATES = 40
"""Clipping levels tried for a scale, from the largest magnitude down to a fortieth of it."""


@dataclass(frozen=True, kw_only=True)
class QuantiseConfig:
    """How products are quantised."""

    bits: int = 4
    """Width of both operands: 4 or 8."""
    clip: bool = True
    """Whether scales minimise the squared error, clipping what is rare; else the largest value just fits."""
    hadamard: bool = False
    """Whether linear layers' operands are turned first."""

    def __post_init__(self) -> None:
        if self.bits not in (4, 8):
            raise ValueError(f"bits must be 4 or 8, not {self.bits!r}")


def hadamard(size: int) -> torch.Tensor:
    """Orthonormal Walsh-Hadamard matrix in Sylvester's order, shape ``(size, size)``.

    Raises:
        ValueError: ``size`` is no power of two.
    """
    if size < 1 or size.bit_count() != 1:
        raise ValueError(f"size must be a power of two, not {size!r}")
    matrix = torch.ones(1, 1)
    while matrix.shape[0] < size:
        matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)], 0) / 2**0.5
    return matrix


def turn(x: torch.Tensor, block: int = HADAMARD_BLOCK) -> torch.Tensor:
    """``x`` times the block-diagonal Hadamard matrix along its last axis, a multiple of ``block`` long."""
    turned: torch.Tensor = torch.matmul(x.reshape(-1, block), hadamard(block).to(x.dtype))
    return turned.reshape(x.shape)


def best_scale(x: torch.Tensor, bits: int, *, clip: bool = True) -> torch.Tensor:
    """Scale of each row, by the least squared quantisation error or by the largest magnitude.

    Args:
        x: Shape ``(rows, n)``.
        bits: Width of the integers.
        clip: As :attr:`QuantiseConfig.clip`.

    Returns:
        Positive, shape ``(rows, 1)``.
    """
    top = 2 ** (bits - 1) - 1
    peak = x.abs().amax(1, keepdim=True).clamp_min(1e-12)
    best: torch.Tensor = peak / top
    least = torch.full_like(peak, torch.inf)
    for step in range(CANDIDATES, 0 if clip else CANDIDATES - 1, -1):
        scale = peak * step / CANDIDATES / top
        error = (quantise(x, scale, bits) * scale - x).square().sum(1, keepdim=True)
        best, least = torch.where(error < least, scale, best), torch.minimum(error, least)
    return best


def quantise(x: torch.Tensor, scale: torch.Tensor, bits: int) -> torch.Tensor:
    """Nearest integers (ties to even) of ``x / scale``, saturated to the signed range, held as floats."""
    limit = 2 ** (bits - 1)
    return torch.round(x / scale).clamp(-limit, limit - 1)


@dataclass(frozen=True, kw_only=True, eq=False)
class ActivationQuantiser:
    """The vector unit's quantisation: FP16 values times the FP16 inverse step, to an integer, saturated."""

    inverse: torch.Tensor
    """FP16 number, no dimensions."""
    bits: int

    @staticmethod
    def calibrated(values: torch.Tensor, config: QuantiseConfig) -> "ActivationQuantiser":
        """For values like ``values``, of any shape."""
        scale = best_scale(_sample(values).reshape(1, -1), config.bits, clip=config.clip).squeeze()
        return ActivationQuantiser(inverse=(1 / scale).clamp_max(65504).to(torch.float16), bits=config.bits)

    @property
    def scale(self) -> torch.Tensor:
        """What one step stands for, FP32."""
        return 1 / self.inverse.to(torch.float32)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Integers as floats, shape of ``x``. A product beyond FP16 becomes infinite and saturates."""
        limit = 2 ** (self.bits - 1)
        product = x.to(torch.float16) * self.inverse
        return torch.round(product.to(torch.float32)).clamp(-limit, limit - 1)


def integer_matmul(a: torch.Tensor, w: torch.Tensor, bits: int) -> torch.Tensor:
    """``a @ w`` of integers held as floats, exact: equal to :func:`lanewise.models.mac_array.mac_array`.

    Every partial sum is an integer below 2**24 or 2**53, so that no order of summation rounds.

    Args:
        a: Shape ``(..., m, k)``, signed integers of ``bits`` bits.
        w: Shape ``(..., k, n)``, likewise.
        bits: 4 or 8.

    Returns:
        FP32, shape ``(..., m, n)``: the INT32 sums after their conversion to FP32.

    Raises:
        ValueError: The sum could wrap at 32 bits.
    """
    largest = a.shape[-1] * 4 ** (bits - 1)
    if largest >= 1 << 31:
        raise ValueError(f"k must be below {2**31 // 4 ** (bits - 1)}, not {a.shape[-1]}: INT32 sums wrap")
    dtype = torch.float32 if largest <= 1 << 24 else torch.float64
    return (a.to(dtype) @ w.to(dtype)).to(torch.float32)


class IntegerLinear(nn.Module):
    """``y = fp16(fma(sum(xq * wq), sx * sw, b))``: integers on the array, FP32 scale and bias, FP16 result.

    The fused multiply-add goes through float64, so that one in about 2**29 may be rounded twice.
    """

    def __init__(self, linear: nn.Linear, quantiser: ActivationQuantiser, config: QuantiseConfig) -> None:
        super().__init__()
        self.config = config
        self.quantiser = quantiser
        weight = linear.weight.detach().to(torch.float32)
        weight = turn(weight) if config.hadamard else weight
        weight_scale = best_scale(weight, config.bits, clip=config.clip)
        self.weight = quantise(weight, weight_scale, config.bits)
        """Integers as floats, shape ``(n, k)``."""
        self.scale = quantiser.scale * weight_scale.squeeze(1)
        """Of the sums, FP32, shape ``(n,)``."""
        self.bias = torch.zeros(()) if linear.bias is None else linear.bias.detach().to(torch.float32)

    def integers(self, x: torch.Tensor) -> torch.Tensor:
        """The array's operand for ``x``: integers as floats, shape of ``x``."""
        half = x.to(torch.float16).to(torch.float32)
        return self.quantiser(turn(half) if self.config.hadamard else half)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Shape ``(..., k)`` to ``(..., n)``; dtype of ``x``."""
        with _disable_current_modes():  # a context that rounds results must not round the sums
            total = integer_matmul(self.integers(x), self.weight.T, self.config.bits)
            result = total.to(torch.float64) * self.scale.to(torch.float64) + self.bias.to(torch.float64)
            return result.to(torch.float32).to(torch.float16).to(x.dtype)


def quantise_linears(
    module: nn.Module,
    config: QuantiseConfig,
    calibrate: Callable[[nn.Module], object],
    skip: Iterable[str] = (),
) -> nn.Module:
    """A copy of ``module`` whose linear layers are integer.

    Args:
        module: Network.
        config: How.
        calibrate: Runs what it is given on representative inputs; they set the activations' scales.
        skip: Names of linear layers that stay as they are.

    Raises:
        ValueError: ``calibrate`` left a linear layer without data, or a layer's width is no multiple of the
            Hadamard block.
    """
    module, kept = deepcopy(module).eval(), set(skip)
    seen: dict[str, list[torch.Tensor]] = {}
    parts = {name: part for name, part in module.named_modules() if isinstance(part, nn.Linear)}
    targets = {name: part for name, part in parts.items() if name not in kept}

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
            raise ValueError(
                f"in_features of {name} must be a multiple of {HADAMARD_BLOCK}, not {part.in_features}"
            )
        values = torch.cat(seen[name]).to(torch.float16).to(torch.float32)
        values = turn(values) if config.hadamard else values
        quantiser = ActivationQuantiser.calibrated(values, config)
        parent, _, child = name.rpartition(".")
        setattr(module.get_submodule(parent), child, IntegerLinear(part, quantiser, config))
    return module


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Keeps the operands of every product of two batches of matrices, by their order of execution."""

    def __init__(self, seen: list[tuple[list[torch.Tensor], list[torch.Tensor]]]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen, self.place = seen, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.bmm.default:
            if self.place == len(self.seen):
                self.seen.append(([], []))
            for values, operand in zip(self.seen[self.place], args):
                values.append(operand.detach().reshape(-1))
            self.place += 1
        return func(*args, **(kwargs or {}))


class IntegerMatmuls(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Context of one run, in which products of two activations (attention's QK^T and PV) are integer.

    The products are told apart by their order, which must be that of the calibration.

    Raises:
        ValueError: More products run than were calibrated.
    """

    def __init__(self, quantisers: Sequence[tuple[ActivationQuantiser, ActivationQuantiser]]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.quantisers, self.place = quantisers, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not torch.ops.aten.bmm.default:
            return func(*args, **(kwargs or {}))
        if self.place == len(self.quantisers):
            raise ValueError(f"products must be at most the {self.place} that were calibrated, not more")
        left, right = self.quantisers[self.place]
        self.place += 1
        total = integer_matmul(left(args[0]), right(args[1]), left.bits)
        return (total * (left.scale * right.scale)).to(torch.float16).to(args[0].dtype)


def calibrate_matmuls(
    run: Callable[[Callable[[], TorchDispatchMode]], object], config: QuantiseConfig
) -> list[tuple[ActivationQuantiser, ActivationQuantiser]]:
    """Quantisers for :class:`IntegerMatmuls`.

    Args:
        run: Runs the network on representative inputs, each run inside a context made by its argument.
        config: How; ``hadamard`` does not apply here.
    """
    seen: list[tuple[list[torch.Tensor], list[torch.Tensor]]] = []
    with torch.no_grad():
        run(lambda: _Recorder(seen))

    def quantiser(values: list[torch.Tensor]) -> ActivationQuantiser:
        return ActivationQuantiser.calibrated(torch.cat(values), config)

    return [(quantiser(left), quantiser(right)) for left, right in seen]


def _sample(values: torch.Tensor, most: int = 1 << 18) -> torch.Tensor:
    """At most ``most`` of the values, evenly spaced, and the two extremes."""
    flat = values.reshape(-1)
    if flat.numel() <= most:
        return flat
    return torch.cat([flat[:: -(-flat.numel() // most)], flat.min().reshape(1), flat.max().reshape(1)])
