"""The arithmetic that a network is scored with: the one place where the accuracy study meets the hardware's bits."""

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from lanewise.errors import UserError
from lanewise.models.nn import ApproximateConfig, Fp16Results, activation, approximate
from lanewise.models.nn.activation import nonpositive_exponential
from lanewise.models.nn.session import Observation, current, innermost, observed
from lanewise.models.pretrained.network import Outputs, PretrainedNetwork, Samples
from lanewise.models.pretrained.rms_norm import with_whole_rms_norms

EVERY_PATTERN = np.arange(1 << 16, dtype=np.uint16)


@dataclass(frozen=True, kw_only=True)
class Variant:
    """Arithmetic to score: FP32, FP16 with exact functions, or FP16 with Flex-SFU.

    Raises:
        UserError: Flex-SFU is asked for in FP32, the format is another, or Flex-SFU cannot be so.
    """

    format: str = "fp16"
    """``fp16``, or ``fp32`` for PyTorch's own arithmetic."""
    segments: int | None = None
    """Of Flex-SFU; ``None`` for exact functions, rounded to the format."""
    degree: int = 1
    exponential: str = "direct"
    """Softmax's exp, as :class:`~lanewise.models.nn.ApproximateConfig` has it."""

    def __post_init__(self) -> None:
        if self.format not in ("fp16", "fp32"):
            raise UserError(f"format must be fp16 or fp32, not {self.format!r}")
        if self.segments is None:
            return
        if self.format == "fp32":
            raise UserError(f"format must be fp16 for Flex-SFU, not {self.format!r}")
        self.config()  # checks the rest

    @property
    def name(self) -> str:
        """As tables show it.

        >>> Variant(segments=32, degree=2).name
        'Flex-SFU, 32 quadratic segments'
        """
        if self.segments is None:
            return "FP32" if self.format == "fp32" else "FP16, exact functions"
        text = f"Flex-SFU, {self.segments} {'linear' if self.degree == 1 else 'quadratic'} segments"
        return text if self.exponential == "direct" else f"{text}, range-reduced exp"

    def config(self) -> ApproximateConfig:
        """What replaces the exact functions."""
        return ApproximateConfig.of(self.segments, degree=self.degree, exponential=self.exponential)


FP32, FP16 = Variant(format="fp32"), Variant()
VARIANTS = (
    FP32,
    FP16,
    *(Variant(segments=segments) for segments in (8, 16, 32, 64)),
    Variant(segments=32, exponential="reduced"),
    *(Variant(segments=segments, degree=2) for segments in (8, 16, 32)),
)
"""Of the study."""


class HalfResults(Fp16Results):  # type: ignore[no-untyped-call]
    """Context in which operators' results are rounded to FP16, but not those inside a function of the hardware's.

    They have their own roundings: sums, for one, are FP32.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if innermost() is not None and current() is None:
            return func(*args, **(kwargs or {}))
        return super().__torch_dispatch__(func, types, args, kwargs)


class Hardware:
    """A variant's arithmetic, and what ran in it.

    Attributes:
        calls: How many tensors each function was computed of by the hardware's bits, in all runs so far.
    """

    def __init__(self, variant: Variant) -> None:
        self.variant = variant
        self.calls: Counter[str] = Counter()

    def fingerprint(self, functions: tuple[str, ...]) -> str:
        """What decides the bits of a network of these functions: tables, by what they give, and code.

        Raises:
            UserError: As :func:`~lanewise.models.fit.fit`.
        """
        parts = [repr(self.variant).encode()]
        if self.variant.format == "fp16":
            parts += [path.read_bytes() for path in _sources()]
        if self.variant.segments is not None:
            parts += [_bits(name, self.variant.config()) for name in functions]
        return hashlib.sha256(b"".join(parts)).hexdigest()

    def run(self, network: PretrainedNetwork, module: nn.Module, samples: Samples) -> Outputs:
        """What ``network`` gives in this arithmetic; ``module`` is its exact one, and stays so."""
        if self.variant.format == "fp32":
            return network.run(module, samples, tuple)
        exact = self.variant.segments is None
        prepared = with_whole_rms_norms(module) if exact else approximate(module, self.variant.config())
        with observed(self._count):
            return network.run(prepared, samples, lambda: (HalfResults(),))

    def _count(self, observation: Observation) -> None:
        self.calls[observation.function] += 1


def _bits(function: str, config: ApproximateConfig) -> bytes:
    if function == "softmax":
        return nonpositive_exponential(config)(EVERY_PATTERN).tobytes()
    if function.endswith("_norm"):
        return b""  # code alone
    hardware = activation(function, (), config)
    return b"" if hardware is None else hardware.bits(EVERY_PATTERN).tobytes()


def _sources() -> list[Path]:
    folder = Path(__file__).parent.parent
    names = ("vector", "rows", "reduction", "pretrained/hardware", "pretrained/rms_norm")
    return [*sorted((folder / "nn").glob("*.py")), *(folder / f"{name}.py" for name in names)]
