"""What :func:`lanewise.models.nn.approximate` puts in place of exact functions."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from math import isfinite
from typing import Any

from lanewise.config import DEGREES, SEGMENT_COUNTS, FlexSfuConfig, MachineConfig
from lanewise.errors import UserError
from lanewise.formats import FORMATS

FLEX_FUNCTIONS = (
    "exp", "sigmoid", "silu", "tanh", "mish", "softplus", "erf", "gelu", "gelu_tanh", "hardswish", "elu",
)  # fmt: skip
"""The usual ones; ``exp`` serves softmax as well. ``softplus`` and ``elu`` are all of their kind, whatever their
parameters, SELU and CELU included."""

DEFAULT_FUNCTIONS = (*FLEX_FUNCTIONS, "logsigmoid", "quick_gelu")
"""What is replaced unless told otherwise."""

FURTHER_FUNCTIONS = ("hardsigmoid", "leaky_relu", "atan", "log", "sin", "cos", "reciprocal", "rsqrt")
"""What is replaced if asked for by name."""

GRADIENTS = ("exact", "table")
EXPONENTIALS = ("reduced", "direct")


@dataclass(frozen=True, kw_only=True)
class ApproximateConfig:
    """Which functions run on the hardware, and how.

    Raises:
        UserError: A field is not one of its choices.
    """

    segments: int = 32
    """Of Flex-SFU's tables: 4, 8, 16, 32 or 64."""
    degree: int = 1
    """Of a segment's polynomial: 1 or 2."""
    format: str = "fp16"
    """Number format of the activations: operands are rounded to it, results are its numbers. Softmax and the norms are
    FP16 with FP32 sums whatever this says: they are the vector unit's."""
    functions: tuple[str, ...] = DEFAULT_FUNCTIONS
    """Activations that are replaced: any of :data:`DEFAULT_FUNCTIONS` and :data:`FURTHER_FUNCTIONS`."""
    softmax: bool = True
    """Whether softmax is replaced, attention's included."""
    norms: bool = True
    """Whether layer, group, instance and RMS normalisation are replaced. Batch normalisation is never."""
    exponential: str = "direct"
    """Softmax's exp: ``reduced``, two look-ups and accurate relative to each weight, or ``direct``, one look-up. A table of
    less than 16 segments has the direct one alone."""
    gradient: str = "exact"
    """Of an activation, in training: ``exact``, the derivative of the function that was replaced, or ``table``, that of the
    segment's polynomial. Softmax and the norms have the exact one always."""
    ranges: tuple[tuple[str, float, float], ...] = ()
    """Function, lowest and highest operand: the interval that its table is fitted on instead of the function's own. An
    integer format's operands are scaled so that the interval just fits. :func:`~lanewise.models.nn.calibrate` fills it in."""
    exclude: tuple[str, ...] = ()
    """Layers that stay exact with all that they call: shell patterns of their names, such as ``encoder.*.attention``. A layer
    that has several names needs one of them here."""
    vlen_bits: int = 1024
    """Bits of a vector register: decides on the order of the sums in softmax and the norms."""

    def __post_init__(self) -> None:
        for name in ("functions", "exclude"):
            object.__setattr__(self, name, _strings(name, getattr(self, name)))
        object.__setattr__(self, "ranges", _ranges(self.ranges))
        known = DEFAULT_FUNCTIONS + FURTHER_FUNCTIONS
        for name in (*self.functions, *(entry[0] for entry in self.ranges)):
            _require(name in known, "functions", f"any of {', '.join(known)}", name)
        _require(
            _whole(self.segments) and self.segments in SEGMENT_COUNTS,
            "segments",
            "4, 8, 16, 32 or 64",
            self.segments,
        )
        _require(_whole(self.degree) and self.degree in DEGREES, "degree", "1 or 2", self.degree)
        _require(
            isinstance(self.format, str) and self.format in FORMATS,
            "format",
            f"one of {', '.join(FORMATS)}",
            self.format,
        )
        _require(self.exponential in EXPONENTIALS, "exponential", " or ".join(EXPONENTIALS), self.exponential)
        _require(self.gradient in GRADIENTS, "gradient", " or ".join(GRADIENTS), self.gradient)
        for name in ("softmax", "norms"):
            _require(isinstance(getattr(self, name), bool), name, "true or false", getattr(self, name))
        sound = _whole(self.vlen_bits) and 128 <= self.vlen_bits <= 65536 and self.vlen_bits.bit_count() == 1
        _require(sound, "vlen_bits", "a power of two, 128 to 65536", self.vlen_bits)

    @classmethod
    def of(
        cls, config: "ApproximateConfig | FlexSfuConfig | MachineConfig | int | None", **options: Any
    ) -> "ApproximateConfig":
        """A configuration from a machine's, or from a number of segments; ``options`` are fields that override it.

        Of several formats of a machine the first is taken.

        Raises:
            UserError: ``config`` is something else, an option is unknown, or a field is not one of its choices.

        >>> ApproximateConfig.of(FlexSfuConfig(segments=16, formats=("bf16", "fp16")), degree=2).format
        'bf16'
        """
        unknown = sorted(set(options) - {field.name for field in fields(cls)})
        if unknown:
            raise UserError(f"options must be {', '.join(f.name for f in fields(cls))}, not {unknown[0]!r}")
        given: dict[str, Any] = {}
        if isinstance(config, ApproximateConfig):
            given = {field.name: getattr(config, field.name) for field in fields(cls)}
        elif isinstance(config, MachineConfig):
            given = _of_unit(config.flex_sfu) | {"vlen_bits": config.vector.vlen_bits}
        elif isinstance(config, FlexSfuConfig):
            given = _of_unit(config)
        elif isinstance(config, int) and not isinstance(config, bool):
            given = {"segments": config}
        elif config is not None:
            kinds = "an ApproximateConfig, a FlexSfuConfig, a MachineConfig or a number of segments"
            raise UserError(f"config must be {kinds}, not {config!r}")
        return cls(**(given | options))

    def range_of(self, function: str) -> tuple[float, float] | None:
        """The interval of :attr:`ranges`, or ``None``: the function's own."""
        return next(((low, high) for name, low, high in self.ranges if name == function), None)


def _of_unit(unit: FlexSfuConfig) -> dict[str, Any]:
    return {"segments": unit.segments, "degree": unit.degree, "format": unit.formats[0]}


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _strings(name: str, value: Any) -> tuple[str, ...]:
    names = tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else (None,)
    if not all(isinstance(item, str) for item in names):
        raise UserError(f"{name} must be several names, not {value!r}")
    return names


def _ranges(value: Any) -> tuple[tuple[str, float, float], ...]:
    try:
        entries = [(name, *ends) for name, ends in value.items()] if isinstance(value, Mapping) else value
        ranges = tuple((str(name), float(low), float(high)) for name, low, high in entries)
    except (TypeError, ValueError):
        raise UserError(f"ranges must be functions with two numbers each, not {value!r}") from None
    for name, low, high in ranges:
        sound = isfinite(low) and isfinite(high) and low < high
        _require(sound, f"range of {name}", "two finite numbers, the smaller first", (low, high))
    return ranges


def _require(holds: bool, name: str, expected: str, value: object) -> None:
    if not holds:
        raise UserError(f"{name} must be {expected}, not {value!r}")
