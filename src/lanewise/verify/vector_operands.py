"""Operands at which instructions of the vector unit go wrong, if they do, in rows of a beat's elements."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lanewise.formats import FORMATS, NumberFormat
from lanewise.isa.operations import Operation
from lanewise.models.numbers import Bits, bits_dtype, decode, encode
from lanewise.verify.operands import random_triples, special_values

_EXHAUSTIVE_BITS = 16
"""The only operand of an instruction takes all values up to this width."""
_SUMS = ("vfadd", "vfsub", "vfrsub", "vfwadd", "vfwsub")


@dataclass(frozen=True, kw_only=True)
class Setting:
    """An instruction with the vtype that it runs under."""

    operation: Operation
    sew_bits: int
    altfmt: bool

    @property
    def label(self) -> str:
        """For messages."""
        return f"{self.operation.mnemonic} e{self.sew_bits}{' altfmt' if self.altfmt else ''}"

    @property
    def widths(self) -> tuple[int, int, int]:
        """Bits of an element of vs2, of vs1 or the scalar, and of vd."""
        operation = self.operation
        assert operation.vs2 is not None
        assert operation.vd is not None
        return operation.vs2.bits(self.sew_bits), self.sew_bits, operation.vd.bits(self.sew_bits)

    @property
    def conversion(self) -> tuple[str, str]:
        """What a conversion makes, and of what: ``f``, ``x`` or ``xu``."""
        target, source = self.operation.base.split(".")[-2:]
        return target, source

    def form(self, bits: int, *, floating: bool) -> NumberFormat:
        """The format of an operand."""
        if not floating:
            return FORMATS[f"int{bits}"]
        return FORMATS["fp32" if bits == 32 else "bf16" if self.altfmt else "fp16"]

    @property
    def forms(self) -> tuple[NumberFormat, NumberFormat, NumberFormat]:
        """Formats of vs2, vs1 and vd."""
        floating = [self.operation.floating] * 3
        if self.operation.vs1_code is not None:
            target, source = (side == "f" for side in self.conversion)
            floating = [source, source, target]
        return tuple(self.form(w, floating=f) for w, f in zip(self.widths, floating, strict=True))  # type: ignore[return-value]


def settings(operation: Operation) -> list[Setting]:
    """Every vtype for which an instruction is something of its own."""
    found = []
    for sew_bits in operation.sews:
        for altfmt in (False, True):
            setting = Setting(operation=operation, sew_bits=sew_bits, altfmt=altfmt)
            if not altfmt or any(form.name == "bf16" for form in setting.forms):
                found.append(setting)
    return found


def operand_rows(
    rng: np.random.Generator, setting: Setting, width: int, random_rows: int
) -> tuple[Bits, Bits, Bits]:
    """vs2, vs1 and vd, each of shape ``(rows, width)``; a scalar is the same along its row.

    All pairs of special values of vs2 and vs1, with special values of vd, then random ones. Of an instruction with one operand,
    all its values, or, of 32 bits, special and random values.
    """
    forms = setting.forms
    if setting.operation.vs1_code is not None:
        vs2 = _conversion_sources(rng, setting, random_rows * width)
        vs2 = np.resize(rng.permutation(vs2), (-(-vs2.size // width), width))
        return vs2, np.zeros(vs2.shape, bits_dtype(forms[1])), np.zeros(vs2.shape, bits_dtype(forms[2]))
    values = [special_values(form) for form in forms]
    if setting.operation.scalar:
        each = np.resize(values[0], (-(-values[0].size // width), width))
        vs2 = np.tile(each, (values[1].size, 1))
        vs1 = np.repeat(values[1], len(each))[:, None]
    else:
        order = rng.permutation(values[0].size * values[1].size)
        order = np.resize(order, (-(-order.size // width), width))
        vs2, vs1 = values[0][order // values[1].size], values[1][order % values[1].size]
    pairs = (vs2, np.broadcast_to(vs1, vs2.shape), rng.choice(values[2], vs2.shape))
    more = _random_rows(rng, setting, (random_rows, width))
    if setting.operation.scalar:
        more = (more[0], np.broadcast_to(more[1][:, :1], more[1].shape), more[2])
    return tuple(np.vstack(both) for both in zip(pairs, more, strict=True))  # type: ignore[return-value]


def _random_rows(
    rng: np.random.Generator, setting: Setting, shape: tuple[int, int]
) -> tuple[Bits, Bits, Bits]:
    forms, base = setting.forms, setting.operation.base
    drawn = [_random_bits(rng, form, shape) for form in forms]
    vs2, vs1, vd = drawn
    if not forms[2].floating:
        return vs2, vs1, vd
    near = rng.random(shape) < 0.5
    with np.errstate(all="ignore"):
        if base in _SUMS:  # some nearly cancel
            close = _disturbed(rng, encode(decode(vs1, forms[1]), forms[0]), forms[0])
            return np.where(near, close, vs2), vs1, vd
        if forms[0] == forms[2]:
            a, b, c = (operand.reshape(shape) for operand in random_triples(rng, vs2.size, forms[2]))
            overwrites = base.endswith(("madd", "msub"))
            return (c, a, b) if overwrites else (a, b, c)
        product = encode(decode(vs2, forms[0]) * decode(vs1, forms[1]), forms[2])
        return vs2, vs1, np.where(near, _disturbed(rng, product, forms[2]), vd)


def _random_bits(rng: np.random.Generator, form: NumberFormat, shape: Any) -> Bits:
    """Uniform bits; half of the integers smaller."""
    bits: Bits = rng.integers(0, 1 << form.bits, shape, bits_dtype(form))
    if not form.floating:
        bits = np.where(rng.random(shape) < 0.5, bits >> rng.integers(0, form.bits, shape), bits)
        bits = np.where(rng.random(shape) < 0.25, ~bits, bits).astype(bits_dtype(form))
    return bits


def _disturbed(rng: np.random.Generator, bits: Bits, form: NumberFormat) -> Bits:
    """Some last bits and the sign changed."""
    low = rng.integers(0, 1 << (form.fraction_bits + 2), bits.shape) >> rng.integers(
        0, form.fraction_bits + 2, bits.shape
    )
    sign = rng.integers(0, 2, bits.shape) << (form.bits - 1)
    changed: Bits = bits ^ (low | sign).astype(bits_dtype(form))
    return changed


def _conversion_sources(rng: np.random.Generator, setting: Setting, count: int) -> npt.NDArray[Any]:
    source, target = setting.forms[0], setting.forms[2]
    kind = bits_dtype(source)
    if source.bits <= _EXHAUSTIVE_BITS:
        return np.arange(1 << source.bits).astype(kind)
    parts = [special_values(source), _random_bits(rng, source, count)]
    nudge = rng.integers(-1, 2, count)
    if not source.floating:  # numbers between two of the target's, or next to them
        precision = target.precision
        odd = rng.integers(1 << precision, 2 << precision, count) | 1
        ties = (odd << rng.integers(0, 32 - precision, count)) + nudge
        parts.append(np.where(rng.integers(0, 2, count) == 1, ties, -ties).astype(np.uint32))
    elif target.floating:
        narrow = rng.integers(0, target.infinity_bits, count).astype(bits_dtype(target))
        middle = (
            decode(narrow, target) + decode((narrow + 1).astype(narrow.dtype), target).clip(max=target.maximum * 1.01)
        ) / 2  # fmt: skip
        parts.append(_signed(rng, encode(middle, source) + nudge))
    else:
        whole = rng.integers(0, 1 << 32, count) >> rng.integers(0, 33, count)
        parts.append(_signed(rng, encode(whole + 0.5, source) + nudge))
        limit = rng.choice([0.0, 0.5, 1.0, *(2.0**k for k in (7, 8, 15, 16, 31, 32))], count)
        near = encode(limit + rng.choice([-1.0, -0.5, 0.0, 0.5], count), source)
        parts.append(_signed(rng, near + nudge))
    return np.concatenate([part.astype(kind) for part in parts])


def _signed(rng: np.random.Generator, bits: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """With random signs, and without what a step below zero gives."""
    return (bits & 0x7FFF_FFFF) | rng.integers(0, 2, bits.shape) << 31
