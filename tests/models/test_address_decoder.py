"""The golden address decoder against its definition."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanewise.formats import FORMATS
from lanewise.models.address_decoder import address_decoder
from lanewise.models.numbers import bits_dtype

EVERY = np.arange(1 << 16, dtype=np.uint16)


@pytest.mark.parametrize("form", FORMATS.values(), ids=lambda form: form.name)
def test_counts_the_breakpoints_that_are_at_most_x(form):
    patterns = st.integers(0, (1 << form.bits) - 1)

    def rank(pattern):
        """Two's complement; or sign-magnitude integer, -0 just below +0."""
        sign = pattern >> (form.bits - 1)
        if not form.floating:
            return pattern - (sign << form.bits)
        magnitude = pattern & ((1 << (form.bits - 1)) - 1)
        return -magnitude - 1 if sign else magnitude

    @given(x=st.lists(patterns, min_size=1, max_size=50), table=st.lists(patterns, min_size=1, max_size=63))
    def check(x, table):
        kind = bits_dtype(form)
        ordered = sorted(table, key=rank)
        expected = [sum(rank(b) <= rank(v) for b in ordered) for v in x]
        assert address_decoder(np.array(x, kind), np.array(ordered, kind), form).tolist() == expected

    check()


def test_shape_is_kept():
    segments = address_decoder(EVERY.reshape(256, 256), np.zeros(3, np.uint16), FORMATS["fp16"])
    assert segments.shape == (256, 256)
