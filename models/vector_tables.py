"""Flex-SFU's tables as the vector unit's instructions load them: words of 32 bits."""

import numpy as np
import numpy.typing as npt

from lanewise.config import FlexSfuConfig
from lanewise.formats import NumberFormat
from lanewise.models.flex_sfu import SfuTable
from lanewise.models.numbers import Bits, bits_dtype

Words = npt.NDArray[np.uint32]

_SHIFT_BITS = (6, 5)
"""Of the product's shift and of the addend's; those of the second multiply-add follow."""


def replicate(x: Bits, form: NumberFormat) -> Words:
    """Words that hold each element as often as it fits.

    >>> from lanewise.formats import FORMATS
    >>> [hex(word) for word in replicate(np.array([0x3C00], np.uint16), FORMATS["fp16"])]
    ['0x3c003c00']
    """
    factor = ((1 << 32) - 1) // ((1 << form.bits) - 1)
    return x.astype(np.uint32) * np.uint32(factor)


def table_words(config: FlexSfuConfig, table: SfuTable) -> tuple[Words, Words]:
    """The words of a table's breakpoints and of its coefficients, as ``sfu.breakpoints`` and ``sfu.coefficients`` take them.

    Of each segment the coefficients, lowest power first; if the unit has an integer format, then a word of shifts: 6 bits of the
    first multiply-add's product, 5 of its addend, and of degree 2 as many of the second's.
    """
    columns = list(replicate(table.coefficients, table.form).T)
    if config.integers:
        word = sum(
            (product | addend << _SHIFT_BITS[0]) << step * sum(_SHIFT_BITS)
            for step, (product, addend) in enumerate(table.shifts)
        )
        columns.append(np.full(table.segments, word, np.uint32))
    return replicate(table.breakpoints, table.form), np.stack(columns, axis=1).reshape(-1)


class TableWords:
    """One table of the unit, as far as it is loaded.

    Args:
        config: The unit.
    """

    def __init__(self, config: FlexSfuConfig) -> None:
        self._config = config
        self._entry = config.degree + 1 + config.integers
        self._breakpoints: list[int | None] = [None] * config.breakpoints
        self._coefficients: list[int | None] = [None] * (config.segments * self._entry)
        self._cache: dict[str, SfuTable] = {}

    def load(self, kind: str, words: Words) -> None:
        """Write the first words.

        Args:
            kind: ``breakpoints`` or ``coefficients``.
            words: At most as many as the table has; of coefficients whole segments.

        Raises:
            ValueError: There are too many, or a segment's are incomplete.
        """
        held, unit = (self._breakpoints, 1) if kind == "breakpoints" else (self._coefficients, self._entry)
        if words.size > len(held) or words.size % unit:
            raise ValueError(
                f"sfu.{kind}: vl must be a multiple of {unit} up to {len(held)}, not {words.size}"
            )
        held[: words.size] = words.tolist()
        self._cache.clear()

    def table(self, form: NumberFormat) -> SfuTable:
        """The function, of elements of ``form``.

        Raises:
            ValueError: A word was never loaded, or does not hold its element as often as it fits; or see
                :class:`~lanewise.models.flex_sfu.SfuTable`.
        """
        if form.name not in self._cache:
            self._cache[form.name] = self._make(form)
        return self._cache[form.name]

    def _make(self, form: NumberFormat) -> SfuTable:
        if None in self._breakpoints or None in self._coefficients:
            raise ValueError("sfu.execute: the table is not loaded")
        breakpoints = np.array(self._breakpoints, np.uint32)
        entries = np.array(self._coefficients, np.uint32).reshape(self._config.segments, self._entry)
        coefficients = entries[:, : self._config.degree + 1]
        shifts: list[tuple[int, int]] = []
        if not form.floating:
            word, (product, addend) = int(entries[-1, -1]), _SHIFT_BITS
            for step in range(self._config.degree):
                both = word >> step * (product + addend)
                shifts.append((both & (1 << product) - 1, both >> product & (1 << addend) - 1))
        return SfuTable(
            format=form.name, breakpoints=_elements(breakpoints, form), coefficients=_elements(coefficients, form),
            shifts=tuple(shifts),
        )  # fmt: skip


def _elements(words: Words, form: NumberFormat) -> Bits:
    x: Bits = words.astype(bits_dtype(form))
    if not np.array_equal(replicate(x, form), words):
        raise ValueError(f"sfu.execute: a word of the table does not hold {form.name} as often as it fits")
    return x
