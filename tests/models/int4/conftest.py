"""One thread: the tensors here are small."""

from collections.abc import Iterator

import pytest

from lanewise.models.one_thread import one_thread


@pytest.fixture(autouse=True, scope="package")
def single_thread() -> Iterator[None]:
    with one_thread():
        yield
