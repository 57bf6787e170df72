"""Shares of kept rows: round trip by JSON, and what is no share."""

import json
import re

import pytest

from lanewise.models.sampling_statistics import MEASURED, SamplingStatistics

SOME = {"dx_hi": 0.75, "dx_lo": 0.25, "dw_hi": {1: 0.5, 2: 0.25}, "dw_lo": {4: 0.25}}


def test_json_and_back():
    for statistics in (SamplingStatistics(**SOME), *MEASURED.values()):
        text = json.dumps(statistics.as_dict(), allow_nan=False)
        assert SamplingStatistics.of_dict(json.loads(text)) == statistics


def test_measured_rows_are_about_n():
    """Both words' rows are N, or fewer where hardly any are not zero."""
    assert set(MEASURED) == {"images", "text"}
    for statistics in MEASURED.values():
        assert 0.98 < statistics.dx_hi + statistics.dx_lo <= 1
        assert 0.98 < sum(statistics.dw_kept) <= 1


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"dx_hi": 1.5}, "dx_hi must be 0 to 1 of the rows, not 1.5"),
        ({"dx_lo": -0.5}, "dx_lo must be 0 to 1 of the rows, not -0.5"),
        ({"dw_hi": {1: 0.75, 2: 0.5}}, "dw_hi must be 0 to 1 of the rows, not 1.25"),
        ({"dw_lo": {3: 0.1}}, "dw_lo must be by powers of two, not 3"),
        ({"dw_lo": {0: 0.1}}, "dw_lo must be by powers of two, not 0"),
    ],
)
def test_what_is_no_share(fields, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        SamplingStatistics(**SOME | fields)
