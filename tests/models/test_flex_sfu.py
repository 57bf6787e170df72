"""The golden Flex-SFU against real arithmetic, its special values, and the tables that it refuses."""

import re

import numpy as np
import pytest

from lanewise.config import FlexSfuConfig
from lanewise.formats import FORMATS
from lanewise.models.flex_sfu import SfuTable, flex_sfu
from lanewise.models.multiply_add import multiply_add
from lanewise.models.numbers import bits_dtype, decode, encode, rank
from lanewise.verify.fp16_reference import fp16_fma_reference
from lanewise.verify.operands import corner_elements
from lanewise.verify.sfu_tables import breakpoint_tables, random_table

EVERY = np.arange(1 << 16, dtype=np.uint16)
SEED = 7
ASCENDING = "breakpoints must be ascending"
ALL = list(FORMATS.values())


def name_of(form):
    return form.name


def bits(*values):
    return np.array(values, np.float16).view(np.uint16)


def lines(*pairs):
    """Coefficients from offsets and slopes."""
    return np.array(pairs, np.float16).view(np.uint16)


@pytest.mark.parametrize("segments", [4, 8, 16, 32, 64])
def test_every_element_by_its_definition(segments):
    """Segment by numpy's own comparison of values (no breakpoint is a zero), multiply-add in integers."""
    rng = np.random.default_rng(SEED)
    values = np.sort(rng.normal(0, 4, segments - 1)).astype(np.float16)
    coefficients = rng.normal(0, 2, (segments, 2)).astype(np.float16).view(np.uint16)
    table = SfuTable(breakpoints=values.view(np.uint16), coefficients=coefficients)
    x = EVERY.view(np.float16)
    segment = np.sum(values[None, :] <= x[:, None], axis=1)
    segment[np.isnan(x)] = np.where(np.signbit(x[np.isnan(x)]), 0, segments - 1)
    offsets, slopes = coefficients[segment].T
    expected = fp16_fma_reference(slopes, EVERY, offsets)  # no slope is zero
    np.testing.assert_array_equal(flex_sfu(EVERY, table), expected)


@pytest.mark.parametrize("degree", [1, 2])
@pytest.mark.parametrize("form", ALL, ids=name_of)
def test_one_element_at_a_time(form, degree):
    """The whole-array model against a search and Horner's rule, element by element."""
    print(f"seed {SEED}")
    rng = np.random.default_rng(SEED)
    config = FlexSfuConfig(segments=8, degree=degree, formats=(form.name,))
    table = random_table(rng, config, form)
    x = rng.choice(corner_elements(rng, form, 4096), size=500)
    place = rank(table.breakpoints, form).tolist()
    results = flex_sfu(x, table)
    for element, result in zip(x, results, strict=True):
        segment = sum(p <= int(rank(np.array([element]), form)[0]) for p in place)
        own = table.coefficients[segment]
        y = own[degree]
        for step, power in enumerate(range(degree - 1, -1, -1)):
            shifts = table.shifts[step] if table.shifts else (0, 0)
            y = multiply_add(
                np.array([y]), np.array([element]), own[power : power + 1], form,
                shifts=shifts, zero_annihilates=True,
            )[0]  # fmt: skip
        assert y == result


@pytest.mark.parametrize("form", ALL, ids=name_of)
def test_kinds_of_tables_are_what_their_names_say(form):
    """What the benches of the RTL run on."""
    tables = breakpoint_tables(np.random.default_rng(SEED), 31, form)
    assert np.unique(tables["random"]).size == 31
    assert np.unique(tables["duplicates"]).size < 16
    edges = decode(tables["edges"], form)
    assert np.isinf(edges).any() == (form.floating and form.infinities)
    zero_bits = tables["around zero"]
    assert np.abs(decode(zero_bits, form)).max() <= (16 if not form.floating else 1)
    config = FlexSfuConfig(formats=(form.name,))
    for kind in tables:
        random_table(np.random.default_rng(SEED), config, form, kind)  # refuses what is not sorted


def test_zero_signs_decide_between_neighbouring_segments():
    coefficients = lines((10, 0), (20, 0), (30, 0), (40, 0))
    table = SfuTable(breakpoints=bits(-0.0, 0.0, 1.0), coefficients=coefficients)
    y = flex_sfu(bits(-1, -0.0, 0.0, 0.5, 1.0), table)
    np.testing.assert_array_equal(y.view(np.float16), [10, 20, 30, 30, 40])


@pytest.mark.parametrize("form", [form for form in ALL if form.floating], ids=name_of)
@pytest.mark.parametrize("degree", [1, 2])
def test_special_elements(form, degree):
    """A level tail is level to infinity, a rising one rises to it; NaN gives the one NaN; overflow as documented."""
    coefficients = np.zeros((4, degree + 1))
    coefficients[0, 0], coefficients[3, 1] = 0.5, 1.0
    coefficients[1:3, 1] = form.maximum / 2
    table = SfuTable(
        format=form.name,
        breakpoints=encode([-4, 0, 4], form),
        coefficients=encode(coefficients, form),
    )
    x = [-np.inf, np.inf] if form.infinities else [-form.maximum, form.maximum]
    assert decode(flex_sfu(encode(x, form), table), form).tolist() == [0.5, x[1]]
    sign = bits_dtype(form)(1 << (form.bits - 1))
    nan = np.array([form.nan_bits], bits_dtype(form))
    assert flex_sfu(np.concatenate([nan, nan | sign]), table).tolist() == [form.nan_bits] * 2
    limit = np.inf if form.infinities else form.maximum
    assert decode(flex_sfu(encode([-3.0, 3.0], form), table), form).tolist() == [-limit, limit]
    assert flex_sfu(encode([-0.0], form), table)[0] in (0, sign), "-0 x slope + 0"


@pytest.mark.parametrize("form", [form for form in ALL if not form.floating], ids=name_of)
def test_integers_saturate_and_round_to_even(form):
    top = (1 << (form.bits - 1)) - 1
    table = SfuTable(
        format=form.name,
        breakpoints=encode([-10, 0, 10], form),
        coefficients=encode([[0, top], [0, 1], [1, 1], [0, top]], form),
        shifts=((1, 0),),
    )
    y = decode(flex_sfu(encode([-100, -3, -1, 0, 1, 2, 3, 100], form), table), form).tolist()
    assert y == [-top - 1, -2, 0, 0, 1, 2, 2, top]


def test_tables_cannot_be_changed_afterwards():
    coefficients = lines((0, 1), (0, 2), (0, 3), (0, 4))
    table = SfuTable(breakpoints=bits(0, 1, 2), coefficients=coefficients)
    coefficients[0] = 0
    assert table.coefficients[0, 1] == 0x3C00
    assert (table.segments, table.degree) == (4, 1)
    with pytest.raises(ValueError, match="read-only"):
        table.coefficients[0] = 0


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"breakpoints": bits(1, 0, 2)}, ValueError, f"{ASCENDING}, not 1.0 before 0.0 at index 0"),
        ({"breakpoints": bits(0, 0, -0.0)}, ValueError, f"{ASCENDING}, not 0.0 before -0.0 at index 1"),
        (
            {"breakpoints": bits(0, 1, np.nan)},
            ValueError,
            "breakpoints must not be NaN, not 0x7e00 at index 2",
        ),
        (
            {"coefficients": lines((0, 0), (np.nan, 0), (0, 0), (0, 0))},
            ValueError,
            "coefficients must not be NaN, not 0x7e00 at index (1, 0)",
        ),
        ({"breakpoints": bits(0, 1)}, ValueError, "breakpoints must be of shape (3,), not (2,)"),
        (
            {"coefficients": bits(0, 1)},
            ValueError,
            "coefficients must be of shape (segments, degree + 1), not (2,)",
        ),
        (
            {"coefficients": lines((0, 1), (0, 1))},
            ValueError,
            "coefficients must hold one of (4, 8, 16, 32, 64) segments, not 2",
        ),
        (
            {"coefficients": np.zeros((4, 2))},
            TypeError,
            "coefficients must be a uint16 array (fp16), not dtype('float64')",
        ),
        (
            {"breakpoints": [0, 0, 0]},
            TypeError,
            "breakpoints must be a uint16 array (fp16), not [0, 0, 0]",
        ),
        (
            {"format": "fp24"},
            ValueError,
            "format must be one of int8, int16, int32, fp8e4m3, fp8e5m2, fp16, bf16, fp32, not 'fp24'",
        ),
        (
            {"shifts": ((1, 1),)},
            ValueError,
            "shifts must be 0 pairs below (32, 16) for fp16 of degree 1, not ((1, 1),)",
        ),
        (
            {"format": "int16", "shifts": ((32, 0),)},
            ValueError,
            "shifts must be 1 pairs below (32, 16) for int16 of degree 1, not ((32, 0),)",
        ),
    ],
)
def test_bad_tables_are_refused(change, error, message):
    fields = {"breakpoints": bits(0, 1, 2), "coefficients": lines((0, 0), (0, 0), (0, 0), (0, 1))} | change
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        SfuTable(**fields)
