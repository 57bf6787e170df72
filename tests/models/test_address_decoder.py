"""The golden address decoder against its definition, and the order against numpy's own comparison."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lanewise.models.address_decoder import address_decoder, fp16_key

EVERY = np.arange(1 << 16, dtype=np.uint16)
bits = st.integers(0, 0xFFFF)


def test_keys_are_a_permutation_in_the_order_of_the_values():
    keys = fp16_key(EVERY)
    assert np.unique(keys).size == 1 << 16
    ordered = EVERY[np.argsort(keys)]
    values = ordered.view(np.float16)
    numbers = ~np.isnan(values)
    assert (np.diff(values[numbers].astype(np.float64)) >= 0).all()
    nans = 0x3FF
    assert not numbers[:nans].any(), "negative NaNs come first"
    assert not numbers[-nans:].any(), "positive NaNs come last"
    assert numbers[nans:-nans].all()
    assert fp16_key(np.uint16([0x8000]))[0] + 1 == fp16_key(np.uint16([0]))[0]


@given(x=st.lists(bits, min_size=1, max_size=50), table=st.lists(bits, min_size=1, max_size=63))
def test_counts_the_breakpoints_that_are_at_most_x(x, table):
    table = np.array(sorted(table, key=_rank), np.uint16)
    expected = [sum(_rank(int(b)) <= _rank(v) for b in table) for v in x]
    assert address_decoder(np.array(x, np.uint16), table).tolist() == expected


def _rank(pattern):
    """Sign-magnitude integer, -0 just below +0."""
    magnitude = pattern & 0x7FFF
    return -magnitude - 1 if pattern >> 15 else magnitude


def test_shape_is_kept():
    assert address_decoder(EVERY.reshape(256, 256), np.zeros(3, np.uint16)).shape == (256, 256)
