"""Interrupted and impossible writes: nothing lost, nothing half-written."""

import pytest

from lanewise.errors import UserError
from lanewise.files import atomic_write, write_json, write_part


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


def test_a_part_of_a_page_is_replaced_and_nothing_else(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# A\n<!-- rows: made by x.py -->\nold\n<!-- end of rows -->\nend\n")
    for text in ("new\nlines", "newer"):
        write_part(page, "rows", text, by="x.py")
        assert page.read_text() == f"# A\n<!-- rows: made by x.py -->\n{text}\n<!-- end of rows -->\nend\n"


@pytest.mark.parametrize(
    "text", ["", "<!-- rows: made by x.py -->", "<!-- end of rows --><!-- rows: made by x.py -->"]
)
def test_a_page_without_markers_stays_as_it_is(tmp_path, text):
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(
        UserError,
        match=r"page.md: must have <!-- rows: made by x.py --> and then <!-- end of rows -->, once each",
    ):
        write_part(page, "rows", "new", by="x.py")
    assert page.read_text() == text
