"""The engine's library: made once, kept, made again where what is kept is of no use; one line where it cannot be made."""

import pytest

from lanewise.errors import UserError
from lanewise.sim import compiled


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """No library loaded, none kept."""
    monkeypatch.setenv("LANEWISE_CACHE", str(tmp_path))
    compiled.library.cache_clear()
    yield tmp_path / "engine"
    compiled.library.cache_clear()


def test_the_library_is_compiled_once_for_each_compiler(fresh, monkeypatch):
    assert compiled.library().lanewise_run
    (kept,) = fresh.iterdir()
    before = kept.stat().st_mtime_ns
    compiled.library.cache_clear()
    compiled.library()
    assert kept.stat().st_mtime_ns == before
    monkeypatch.setenv("CXX", "c++ -DOTHER")
    compiled.library.cache_clear()
    compiled.library()
    assert len(list(fresh.iterdir())) == 2


def test_another_header_is_another_library(fresh, monkeypatch, tmp_path):
    header = tmp_path / compiled.HEADER.name
    header.write_bytes(compiled.HEADER.read_bytes() + b"// more\n")
    for path in (compiled.HEADER, header):
        monkeypatch.setattr(compiled, "HEADER", path)
        compiled.library.cache_clear()
        compiled.library()
    assert len(list(fresh.iterdir())) == 2


def test_a_damaged_library_is_made_again(fresh, monkeypatch):
    compiled.library()
    (kept,) = fresh.iterdir()
    other = fresh.parent / "other"
    monkeypatch.setenv("LANEWISE_CACHE", str(other))
    damaged = other / "engine" / kept.name
    damaged.parent.mkdir(parents=True)
    damaged.write_text("no library")
    compiled.library.cache_clear()
    assert compiled.library().lanewise_run
    assert damaged.stat().st_size == kept.stat().st_size


@pytest.mark.parametrize(
    ("compiler", "problem"),
    [
        ("no-such-compiler", "no-such-compiler: is missing; expected a C"),
        ("false", "false: cannot compile the timing engine"),
    ],
)
def test_without_a_compiler_there_is_one_line(fresh, monkeypatch, compiler, problem):
    monkeypatch.setenv("CXX", compiler)
    with pytest.raises(UserError, match=problem):
        compiled.library()
    assert not list(fresh.glob("*.so"))


def test_a_cache_that_cannot_be_written_is_one_line(fresh):
    fresh.parent.joinpath("engine").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        compiled.library()
