"""Writing a folder all at once, and replacing only what was ours."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lanewise.errors import UserError
from lanewise.files import write_text
from lanewise.generate.manifest import NAME, read_manifest


def check_folder(out: Path) -> None:
    """Refuse what :func:`replace_folder` would, before there is anything to write.

    Raises:
        UserError: ``out`` is the root, is no output of ours, or its parent is no folder.
    """
    out = out.absolute().resolve()
    if not out.name:
        raise UserError(f"{out}: cannot be replaced; expected a folder to make")
    _require_ours(out)


def replace_folder(out: Path, files: dict[str, str]) -> None:
    """Make ``out`` hold exactly ``files``.

    They are written to a hidden folder beside ``out`` that takes its place when it is complete. An
    interruption at any point leaves the old output or the new one, under its own name or, for an instant, as
    the hidden ``.<name>.previous``, which the next run puts back.

    Raises:
        UserError: ``out`` exists and is no output of ours, or cannot be written.
    """
    out = out.absolute().resolve()
    new, previous = out.with_name(f".{out.name}.new"), out.with_name(f".{out.name}.previous")
    try:
        with _locked(out.parent):
            if previous.exists() and not out.exists():
                previous.rename(out)
            _require_ours(out)
            for leftover in (new, previous):
                if leftover.exists():
                    shutil.rmtree(leftover)
            new.mkdir()
            try:
                for name, text in files.items():
                    write_text(new / name, text)
                if out.exists():
                    out.rename(previous)
                new.rename(out)
            except BaseException:
                if previous.exists() and not out.exists():
                    previous.rename(out)
                shutil.rmtree(new, ignore_errors=True)
                raise
            shutil.rmtree(previous, ignore_errors=True)
    except OSError as error:
        raise UserError(f"{out}: cannot be written: {error.strerror}; expected a writable folder") from None


def _require_ours(out: Path) -> None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    expected = "expected a new or empty folder, or an earlier output"
    if not out.is_dir():
        raise UserError(f"{out}: is a file; {expected}")
    try:
        manifest = read_manifest(out)
    except UserError:
        raise UserError(f"{out}: holds something else than our output; {expected}") from None
    foreign = sorted({path.name for path in out.iterdir()} - {NAME, *manifest.get("files", {})})
    if foreign:
        raise UserError(f"{out}: also holds {foreign[0]}, which is not ours; {expected}")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold ``folder`` (made if absent) against other processes; the system lets go when this one dies."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
