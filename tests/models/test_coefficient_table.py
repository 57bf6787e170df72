"""The golden coefficient table."""

import numpy as np
import pytest

from lanewise.models.coefficient_table import coefficient_table

SLOPES, OFFSETS = np.arange(8, dtype=np.uint16).reshape(2, 4)


def test_entries_of_segments_in_any_shape():
    segment = np.array([[3, 0], [1, 1]])
    slopes, offsets = coefficient_table(segment, SLOPES, OFFSETS)
    np.testing.assert_array_equal(slopes, [[3, 0], [1, 1]])
    np.testing.assert_array_equal(offsets, [[7, 4], [5, 5]])


@pytest.mark.parametrize("segment", [-1, 4])
def test_segments_outside_the_table_are_refused(segment):
    with pytest.raises(IndexError):
        coefficient_table(np.array([segment]), SLOPES, OFFSETS)
