"""The golden coefficient table."""

import numpy as np
import pytest

from lanewise.models.coefficient_table import coefficient_table

COEFFICIENTS = np.arange(12, dtype=np.uint16).reshape(4, 3)


def test_entries_of_segments_in_any_shape():
    entries = coefficient_table(np.array([[3, 0], [1, 1]]), COEFFICIENTS)
    np.testing.assert_array_equal(entries, [[[9, 10, 11], [0, 1, 2]], [[3, 4, 5], [3, 4, 5]]])


@pytest.mark.parametrize("segment", [-1, 4])
def test_segments_outside_the_table_are_refused(segment):
    with pytest.raises(IndexError):
        coefficient_table(np.array([segment]), COEFFICIENTS)
