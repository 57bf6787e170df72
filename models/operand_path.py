"""Bits of the operand path: to fixed point, transformed, quantised."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lanewise.formats import FORMATS, NumberFormat
from lanewise.models.int4_quantiser import Ints, QuantiserSettings, inside, multiplier_of, nibbles
from lanewise.models.lfsr import States, random_bits
from lanewise.models.numbers import Bits
from lanewise.models.row_norms import row_norms
from lanewise.models.walsh_hadamard import fixed_point, walsh_hadamard


@dataclass(frozen=True, kw_only=True)
class OperandSettings:
    """What the path does with a tensor."""

    block: int
    """Of the transform: 1 (none), 8, 16, 32 or 64."""
    exponent: int
    """Elements times ``2**exponent`` are rounded to 16 bits: -16 to 31."""
    quantiser: QuantiserSettings
    format: str = "fp16"
    """Of the elements: ``fp16`` or ``bf16``."""

    @property
    def form(self) -> NumberFormat:
        """The format."""
        return FORMATS[self.format]


def quantiser_scale(step: float, block: int, exponent: int) -> tuple[int, int]:
    """Multiplier and shift that divide by ``step`` and take the transform's ``sqrt(block)`` and ``2**exponent`` back.

    Raises:
        ValueError: ``step`` is too far from the fixed-point unit.

    >>> quantiser_scale(0.125, 16, 10)
    (32768, 24)
    """
    if not step > 0:
        raise ValueError(f"step must be positive, not {step!r}")
    return multiplier_of(1 / (step * float(np.sqrt(block)) * 2.0**exponent))


def operand_path(
    x: Bits, settings: OperandSettings, states: States
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8], npt.NDArray[np.bool_], States]:
    """``(hi, lo, inside)`` of each element, and the states of the lanes' random bits after them.

    Args:
        x: Bit patterns, shape ``(beats, lanes)``: whole blocks, whose beats follow each other.
        states: Shape ``(lanes,)``. Each beat takes 16 bits a lane.

    Returns:
        Of shape ``(beats, lanes)``: hi and lo as :func:`lanewise.models.int4_quantiser.nibbles`, and whether a
        gradient passes, as :func:`lanewise.models.int4_quantiser.inside`; then the states.

    Raises:
        ValueError: ``x`` is not of ``states``' lanes, or not of whole blocks.

    >>> from lanewise.models.lfsr import lane_states
    >>> ones = np.full((1, 8), 0x3C00, np.uint16)
    >>> multiplier, shift = quantiser_scale(0.5, 8, 8)
    >>> settings = OperandSettings(block=8, exponent=8, quantiser=QuantiserSettings(multiplier=multiplier, shift=shift))
    >>> operand_path(ones, settings, lane_states(1, 8))[1].tolist()
    [[6, 0, 0, 0, 0, 0, 0, 0]]
    """
    if x.ndim != 2 or x.shape[1] != len(states):
        raise ValueError(f"x must have the shape (beats, {len(states)}), not {x.shape}")
    fixed = fixed_point(x, settings.exponent, settings.form)
    blocks = fixed.reshape(-1, max(settings.block, len(states))) if fixed.size else fixed
    transformed = walsh_hadamard(blocks, settings.block).reshape(x.shape)
    random, after = random_bits(states, len(x))
    hi, lo = nibbles(transformed, settings.quantiser, random)
    passes = inside(transformed, settings.quantiser)
    return hi.astype(np.uint8), lo.astype(np.uint8), passes, after


def from_nibbles(hi: npt.NDArray[np.uint8], lo: npt.NDArray[np.uint8]) -> Ints:
    """The INT8 (or sign-extended INT4) of two nibbles: what they stand for unless they are a split's.

    >>> from_nibbles(np.array([15, 1], np.uint8), np.array([14, 2], np.uint8)).tolist()
    [-2, 18]
    """
    return (hi << 4 | lo).astype(np.uint8).view(np.int8).astype(np.int64)


def signed_nibbles(nibble: Sequence[int] | npt.NDArray[np.uint8]) -> Ints:
    """Two's complement nibbles as numbers.

    >>> signed_nibbles([0, 7, 8, 15]).tolist()
    [0, 7, -8, -1]
    """
    return (np.asarray(nibble, np.int64) ^ 8) - 8


def word_norms(hi: npt.NDArray[np.uint8], lo: npt.NDArray[np.uint8], row_beats: int) -> npt.NDArray[np.int64]:
    """What leaves at ``norms``: of each row the sums of squares ``(lo, hi)``, shape ``(rows, 2)``.

    Nibbles are two's complement each: an INT4's sum is lo's, a split's are both, and an INT8's are of no use.

    Args:
        hi, lo: As :func:`operand_path` returns them, shape ``(beats, lanes)``.
        row_beats: Beats of a row; 0: there are no rows, and no norms.

    Raises:
        ValueError: The beats are not whole rows.

    >>> word_norms(np.array([[0, 1], [15, 2]], np.uint8), np.array([[8, 8], [0, 6]], np.uint8), 1).tolist()
    [[128, 1], [36, 5]]
    """
    if row_beats == 0:
        return np.zeros((0, 2), np.int64)
    if row_beats < 0 or len(lo) % row_beats:
        raise ValueError(f"row_beats must be 0 or divide the {len(lo)} beats, not {row_beats}")
    row = row_beats * lo.shape[1]
    return np.stack([row_norms(signed_nibbles(word).reshape(-1, row)) for word in (lo, hi)], axis=1)
