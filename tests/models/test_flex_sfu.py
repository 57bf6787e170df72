"""The golden Flex-SFU against real arithmetic, and the tables that it refuses."""

import re

import numpy as np
import pytest

from lanewise.models.flex_sfu import SfuTable, flex_sfu
from lanewise.verify.fp16_reference import fp16_fma_reference
from lanewise.verify.sfu_tables import breakpoint_tables, random_table

EVERY = np.arange(1 << 16, dtype=np.uint16)
SEED = 7
ASCENDING = "breakpoints must be ascending"


def bits(*values):
    return np.array(values, np.float16).view(np.uint16)


@pytest.mark.parametrize("segments", [4, 8, 16, 32, 64])
def test_every_element_by_its_definition(segments):
    """Segment by numpy's own comparison of values (no breakpoint is a zero), multiply-add by float64."""
    rng = np.random.default_rng(SEED)
    values = np.sort(rng.normal(0, 4, segments - 1)).astype(np.float16)
    table = random_table(rng, values.view(np.uint16))
    x = EVERY.view(np.float16)
    segment = np.sum(values[None, :] <= x[:, None], axis=1)
    segment[np.isnan(x)] = np.where(np.signbit(x[np.isnan(x)]), 0, segments - 1)
    expected = fp16_fma_reference(table.slopes[segment], EVERY, table.offsets[segment])
    np.testing.assert_array_equal(flex_sfu(EVERY, table), expected)


def test_kinds_of_tables_are_what_their_names_say():
    """What the benches of the RTL run on."""
    tables = breakpoint_tables(np.random.default_rng(SEED), 31)
    assert np.unique(tables["random"]).size == 31
    assert np.unique(tables["duplicates"]).size < 16
    assert {0xFC00, 0x7C00, 0x8000, 0x0000} <= set(tables["edges"].tolist())
    assert (tables["subnormals and both zeros"] & 0x7C00 == 0).all()
    assert {0x8000, 0x0000} <= set(tables["subnormals and both zeros"].tolist())
    for breakpoints in tables.values():
        random_table(np.random.default_rng(SEED), breakpoints)  # refuses what is not sorted


def test_zero_signs_decide_between_neighbouring_segments():
    table = SfuTable(breakpoints=bits(-0.0, 0.0, 1.0), slopes=bits(0, 0, 0, 0), offsets=bits(10, 20, 30, 40))
    y = flex_sfu(bits(-1, -0.0, 0.0, 0.5, 1.0, np.inf), table)
    np.testing.assert_array_equal(y[:-1].view(np.float16), [10, 20, 30, 30, 40])
    assert y[-1] == 0x7E00, "0 x infinity"


def test_tables_cannot_be_changed_afterwards():
    slopes = bits(1, 2, 3, 4)
    table = SfuTable(breakpoints=bits(0, 1, 2), slopes=slopes, offsets=bits(0, 0, 0, 0))
    slopes[0] = 0
    assert table.slopes[0] == 0x3C00
    assert table.segments == 4
    with pytest.raises(ValueError, match="read-only"):
        table.slopes[0] = 0


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
        ({"slopes": bits(0, np.nan, 0, 0)}, ValueError, "slopes must not be NaN, not 0x7e00 at index 1"),
        ({"breakpoints": bits(0, 1)}, ValueError, "breakpoints must be of shape (3,), not (2,)"),
        ({"offsets": bits(0, 1)}, ValueError, "offsets must be of shape (4,), not (2,)"),
        ({"slopes": bits(0, 1)}, ValueError, "slopes must hold one of (4, 8, 16, 32, 64) segments, not 2"),
        ({"slopes": np.zeros(4)}, TypeError, "slopes must be a uint16 array, not dtype('float64')"),
        ({"offsets": [0, 0, 0, 0]}, TypeError, "offsets must be a uint16 array, not [0, 0, 0, 0]"),
    ],
)
def test_bad_tables_are_refused(change, error, message):
    fields = {"breakpoints": bits(0, 1, 2), "slopes": bits(0, 0, 0, 1), "offsets": bits(0, 0, 0, 0)} | change
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        SfuTable(**fields)
