"""Interrupted and impossible writes: nothing lost, nothing half-written."""

import pytest

from lanewise.errors import UserError
from lanewise.files import atomic_write, write_json


def test_an_interrupted_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "result.json"
    write_json(path, {"a": 1})
    with pytest.raises(KeyboardInterrupt), atomic_write(path) as stream:  # noqa: PT012 - the interruption comes in mid-write
        stream.write(b'{"a": 2')
        raise KeyboardInterrupt
    assert path.read_text() == '{\n  "a": 1\n}\n'
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(
        UserError, match=r"file/result.json: cannot be written: .*; expected a writable folder"
    ):
        write_json(blocked / "result.json", {})


def test_json_has_no_nan(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "result.json", {"a": float("nan")})
    assert not list(tmp_path.iterdir())
