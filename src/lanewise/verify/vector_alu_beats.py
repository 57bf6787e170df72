"""Beats for the vector unit's ALU, as its surroundings deliver them, and what it must make of them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from lanewise.formats import FORMATS, NumberFormat
from lanewise.isa.operations import OPERATIONS, Latency, Operation, Unit, Width
from lanewise.models.vector_elements import evaluate
from lanewise.models.vector_integers import unsigned_dtype
from lanewise.models.vector_permutations import permute
from lanewise.rtl.vector_alu import CONTROL, INDEX_BITS, control_of
from lanewise.verify.operands import special_values
from lanewise.verify.words import to_words

Array: TypeAlias = npt.NDArray[Any]

PERMUTATIONS = ("vslide", "vfslide", "vrgather", "vcompress", "vid")
ONE_CLOCK = tuple(
    operation for operation in OPERATIONS.values()
    if operation.unit is Unit.ALU and operation.latency is not Latency.REDUCE
)  # fmt: skip
"""Everything that :class:`~lanewise.rtl.vector_alu.VectorAlu` does."""


@dataclass(frozen=True, kw_only=True)
class Beats:
    """Beats of one instruction; every port that it does not read has random values."""

    label: str
    ports: dict[str, list[int]]
    """A word for each beat, by port."""
    expected: Array
    """Fields of ``y``, or of ``bits``, shape ``(beats, fields)``."""
    bits: int
    """Width of a field."""
    output: str = "y"
    written: npt.NDArray[np.bool_] | None = None
    """Which fields matter, where not all do."""


def control_word(operation: Operation) -> int:
    """The port ``control``."""
    fields = control_of(operation)
    return sum(fields[name] << field.offset for name, field in CONTROL)


def settings(operation: Operation) -> list[tuple[int, bool]]:
    """SEW and ``altfmt`` for which an instruction differs."""
    return [
        (sew, altfmt)
        for sew in operation.sews
        for altfmt in ((False, True) if operation.floating and sew == 16 else (False,))
    ]


def form_of(operation: Operation, bits: int, altfmt: bool) -> NumberFormat:
    """What elements of a width are."""
    names = {8: "int8", 16: "bf16" if altfmt else "fp16", 32: "fp32"} if operation.floating else {}
    return FORMATS[names.get(bits, f"int{bits}")]


class Stimuli:
    """Makes beats for ``lanes`` lanes."""

    def __init__(self, lanes: int, rng: np.random.Generator) -> None:
        self.rng = rng
        self.size = 32 * lanes
        """Bits of a beat."""

    def of(self, operation: Operation, sew: int, altfmt: bool, beats: int, *, corners: bool = True) -> Beats:
        """So many beats of random values; if ``corners``, behind all corner values with each other."""
        if operation.vs2 is Width.MASK:
            return self._mask_logic(operation, beats)
        if operation.base.startswith(PERMUTATIONS):
            kind: Callable[[Operation, int, int], Beats] = (
                self._index if operation.base == "vid" else self._moves
            )
            return kind(operation, sew, beats)
        count, widths = self._grid(operation, sew)
        parts = [self._drawn(operation, widths, count, beats)]
        if corners:
            parts.insert(0, self._corners(operation, widths, altfmt, count))
        vs2, vs1 = (np.concatenate(operands) for operands in zip(*parts, strict=True))
        return self._elements(operation, sew, altfmt, vs2, vs1)

    def pairs(self, operation: Operation) -> Beats:
        """Every pair of operands of 8 bits."""
        count, _ = self._grid(operation, 8)
        vs2, vs1 = np.divmod(np.arange(1 << 16).reshape(-1, count), 256)
        return self._elements(operation, 8, False, vs2.astype(np.uint8), vs1.astype(np.uint8))

    def unary(self, operation: Operation, sew: int, altfmt: bool, words: Array) -> Beats:
        """The elements ``words`` through an instruction with one operand."""
        count = self.size // sew
        vs2 = np.resize(words, (-(-words.size // count), count)).astype(unsigned_dtype(sew))
        ports = self._ports(operation, sew, len(vs2), altfmt) | {"a": to_words(vs2, sew)}
        expected = evaluate(operation, vs2, None, sew_bits=sew, altfmt=altfmt)
        return Beats(label=_label(operation, sew, altfmt), ports=ports, expected=expected, bits=sew)

    def _grid(self, operation: Operation, sew: int) -> tuple[int, tuple[int, int]]:
        """Elements of a beat; widths of the operands."""
        operands = (operation.vd, operation.vs2, operation.vs1)
        widths = [sew, *(width.bits(sew) for width in operands if width is not None)]
        return self.size // max(widths), (operation.vs2.bits(sew) if operation.vs2 else sew, sew)

    def _elements(self, operation: Operation, sew: int, altfmt: bool, vs2: Array, vs1: Array) -> Beats:
        count, (bits2, _) = self._grid(operation, sew)
        grid = self.size // count
        beats = len(vs2)
        ports = self._ports(operation, sew, beats, altfmt)
        if operation.vs2:
            ports["a"] = self._source(vs2, bits2, ports["part"])
        second: Array | None = None
        if operation.vs1:
            second, ports["b"] = vs1, self._source(vs1, sew, ports["part"])
        elif operation.scalar:
            scalars = self._scalars(operation, vs1[:, 0], sew)
            ports["scalar"] = scalars.tolist()
            second = (scalars & ((1 << sew) - 1)).astype(unsigned_dtype(sew))[:, None]
        mask = self.rng.random((beats, count)) < 0.5
        if operation.vm == 0:
            ports["mask"] = _words(self._filled(mask.astype(np.uint8), self.size // 8, 1), 1)
        result = evaluate(
            operation, vs2 if operation.vs2 else None, second, sew_bits=sew, altfmt=altfmt,
            mask=mask if operation.vm == 0 else None,
        )  # fmt: skip
        result = np.broadcast_to(result, (beats, count))
        label = _label(operation, sew, altfmt)
        assert operation.vd is not None
        if operation.vd is Width.MASK:
            expected = np.tile(result.astype(np.uint8), self.size // 8 // count)
            return Beats(label=label, ports=ports, expected=expected, bits=1, output="bits")
        bits = operation.vd.bits(sew)
        return Beats(label=label, ports=ports, expected=np.tile(result, grid // bits), bits=bits)

    def _corners(
        self, operation: Operation, widths: tuple[int, int], altfmt: bool, count: int
    ) -> tuple[Array, Array]:
        """Corner values with each other; a scalar with those of a few beats."""
        firsts, seconds = (special_values(form_of(operation, bits, altfmt)) for bits in widths)
        if operation.scalar in ("i", "u"):
            seconds = np.arange(32).astype(seconds.dtype)
        if operation.scalar:
            firsts = np.resize(firsts, (-(-firsts.size // count), count))
            vs1 = np.repeat(seconds, len(firsts))
            return np.tile(firsts, (seconds.size, 1)), np.repeat(vs1[:, None], count, axis=1)
        one, other = (
            np.resize(grid, (-(-grid.size // count), count)) for grid in np.meshgrid(firsts, seconds)
        )
        return one, other

    def _drawn(
        self, operation: Operation, widths: tuple[int, int], count: int, beats: int
    ) -> tuple[Array, Array]:
        """Random values, one pair in four equal or different in a bit."""
        vs2, vs1 = (self.rng.integers(0, 1 << bits, (beats, count)) for bits in widths)
        flips = (1 << self.rng.integers(0, widths[1], vs2.shape)) * self.rng.integers(0, 2, vs2.shape)
        near = (vs2 ^ flips) & ((1 << widths[1]) - 1)
        vs1 = np.where(self.rng.random(vs2.shape) < 0.25, near, vs1)
        if operation.scalar:
            vs1[:] = vs1[:, :1]
        return vs2.astype(unsigned_dtype(widths[0])), vs1.astype(unsigned_dtype(widths[1]))

    def _scalars(self, operation: Operation, drawn: Array, sew: int) -> npt.NDArray[np.int64]:
        """32 bits: immediates of 5 bits, extended; above a register's SEW bits anything."""
        low = drawn.astype(np.int64)
        if operation.scalar == "i":
            return ((low & 31 ^ 16) - 16) & 0xFFFFFFFF
        if operation.scalar == "u":
            return low & 31
        return low | (self.rng.integers(0, 1 << 32, drawn.size) >> sew << sew)

    def _index(self, operation: Operation, sew: int, limit: int) -> Beats:
        count = self.size // sew
        whole = permute(operation, np.zeros(0, unsigned_dtype(sew)), 0, np.ones(1 << 16, bool))[0]
        chosen = self.rng.permutation((1 << 16) // count)[:limit]
        ports = self._ports(operation, sew, chosen.size) | {"index": (chosen * count).tolist()}
        expected = whole.reshape(-1, count)[chosen]
        return Beats(label=_label(operation, sew, False), ports=ports, expected=expected, bits=sew)

    def _moves(self, operation: Operation, sew: int, limit: int) -> Beats:
        """Groups of a few beats, walked through."""
        rows: list[tuple[int, int, int]] = []
        expected, written = [], []
        walk = self._slide if "slide" in operation.base else self._gather
        while len(rows) < limit:
            vs2 = self.rng.integers(0, 1 << sew, 4 * self.size // sew).astype(unsigned_dtype(sew))
            for row, result, counts in walk(operation, sew, vs2):
                rows.append(row)
                expected.append(result)
                written.append(counts)
        a, b, position = ([row[k] for row in rows] for k in range(3))
        ports = self._ports(operation, sew, len(rows)) | {"a": a, "b": b, "position": position}
        return Beats(
            label=_label(operation, sew, False), ports=ports, expected=np.array(expected), bits=sew,
            written=np.array(written),
        )  # fmt: skip

    def _slide(
        self, operation: Operation, sew: int, vs2: Array
    ) -> Iterator[tuple[tuple[int, int, int], Array, Array]]:
        single, up = "slide1" in operation.base, operation.base.endswith("up")
        distance = 1 if single else int(self.rng.integers(0, vs2.size + 2))
        result, active = permute(operation, vs2, distance, np.ones(vs2.size, bool))
        if single:
            active[0 if up else -1] = False  # the scalar's
        count, size = self.size // sew, self.size // 8
        beats = [*to_words(vs2.reshape(-1, count), sew), 0]
        for beat in range(len(beats) - 1):
            first, position = divmod(beat * size + (-distance if up else distance) * sew // 8, size)
            a, b = (beats[k] if 0 <= k < len(beats) else 0 for k in (first, first + 1))
            if position == 0:
                b = self._random(1)[0]
            part = slice(beat * count, (beat + 1) * count)
            yield (a, b, position), result[part], active[part]

    def _gather(
        self, operation: Operation, sew: int, vs2: Array
    ) -> Iterator[tuple[tuple[int, int, int], Array, Array]]:
        places, every = np.arange(vs2.size), np.ones(vs2.size, bool)
        vs1: Array | int
        if operation.base == "vcompress":
            vs1 = self.rng.random(vs2.size) < 0.5
            index = np.flatnonzero(vs1)
        elif operation.scalar:
            vs1 = int(self.rng.integers(0, vs2.size + 2))
            index = np.full(1, vs1)
        else:
            vs1 = self.rng.integers(0, min(vs2.size + 2, 1 << sew), vs2.size).astype(vs2.dtype)
            index = vs1.astype(np.int64)
        result, _ = permute(operation, vs2, vs1, every)
        count = self.size // sew
        beats = to_words(vs2.reshape(-1, count), sew)
        for place, source in zip(places, index.tolist(), strict=False):
            beat, element = divmod(source, count)
            a = beats[beat] if beat < len(beats) else 0
            yield (a, self._random(1)[0], element * sew // 8), np.repeat(result[place], count), every[:count]

    def _mask_logic(self, operation: Operation, limit: int) -> Beats:
        vs2, vs1 = self.rng.random((2, limit, self.size)) < 0.5
        sew = 8 << int(self.rng.integers(0, 3))
        ports = self._ports(operation, sew, limit) | {"a": _words(vs2, 1), "b": _words(vs1, 1)}
        expected = evaluate(operation, vs2, vs1, sew_bits=sew).astype(np.uint8)
        return Beats(label=_label(operation, sew, False), ports=ports, expected=expected, bits=1)

    def _ports(
        self, operation: Operation, sew: int, beats: int, altfmt: bool | None = None
    ) -> dict[str, list[int]]:
        """Every input port."""

        def drawn(bits: int) -> list[int]:
            values: list[int] = self.rng.integers(0, 1 << bits, beats).tolist()
            return values

        floats = operation.floating and sew == 16 and altfmt is not None
        return {
            "control": [control_word(operation)] * beats, "sew": [sew.bit_length() - 4] * beats,
            "altfmt": [int(bool(altfmt))] * beats if floats else drawn(1), "part": drawn(3), "index": drawn(INDEX_BITS),
            "a": self._random(beats), "b": self._random(beats), "scalar": drawn(32),
            "mask": _words(self.rng.integers(0, 2, (beats, self.size // 8)), 1),
            "position": drawn((self.size // 8 - 1).bit_length()),
        }  # fmt: skip

    def _random(self, beats: int) -> list[int]:
        return to_words(self.rng.integers(0, 256, (beats, self.size // 8)), 8)

    def _source(self, elements: Array, bits: int, parts: list[int]) -> list[int]:
        """Raw beats: the elements in the part that is to be used, random ones in the others."""
        beats, count = elements.shape
        ratio = self.size // bits // count
        whole = self.rng.integers(0, 1 << bits, (beats, ratio, count))
        whole[np.arange(beats), np.array(parts) % ratio] = elements
        return to_words(whole.reshape(beats, -1), bits)

    def _filled(self, fields: Array, count: int, bits: int) -> Array:
        """More fields above, random ones."""
        more = self.rng.integers(0, 1 << bits, (len(fields), count - fields.shape[1]))
        return np.hstack([fields, more])


def _words(fields: Array, bits: int) -> list[int]:
    return to_words(fields.astype(np.uint8), bits)


def _label(operation: Operation, sew: int, altfmt: bool) -> str:
    return f"{operation.mnemonic} of {'bf' if altfmt else ''}{sew}"
