"""Writing files so that an interruption loses nothing and leaves nothing half-written."""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from lanewise.errors import UserError


@contextmanager
def atomic_write(path: Path) -> Iterator[IO[bytes]]:
    """Open a temporary file beside ``path``; rename it over ``path`` if the block ends well.

    Raises:
        UserError: The folder cannot be made or written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}; expected a writable folder") from None
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UserError(f"{path}: cannot be written: {error.strerror}; expected a writable path") from None
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def check_regular(path: Path, expected: str) -> None:
    """Before a file is read: devices may have no end, pipes no beginning. One that is not there is left to the reader.

    Args:
        path: The file.
        expected: What should be there.

    Raises:
        UserError: It is neither a file nor a folder.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise UserError(f"{path}: is no regular file; expected {expected}")


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8, atomically."""
    with atomic_write(path) as stream:
        stream.write(text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON, atomically. NaN and infinities are refused: JSON has none."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def write_part(page: Path, part: str, text: str, *, by: str) -> None:
    """Put ``text`` between a page's markers ``<!-- part: made by ... -->`` and ``<!-- end of part -->``, atomically.

    Args:
        page: A text file that has both markers once.
        part: Their name.
        text: What stands between them from now on, on lines of its own.
        by: What makes the part, as the first marker says.

    Raises:
        UserError: The page cannot be read or written, or lacks the markers.
    """
    begin, end = f"<!-- {part}: made by {by} -->", f"<!-- end of {part} -->"
    try:
        before, rest = page.read_text(encoding="utf-8").split(begin)
        _, after = rest.split(end)
    except OSError as error:
        raise UserError(f"{page}: cannot be read: {error.strerror}; expected a page with markers") from None
    except ValueError:
        raise UserError(f"{page}: must have {begin} and then {end}, once each") from None
    write_text(page, f"{before}{begin}\n{text}\n{end}{after}")


def cache_folder() -> Path:
    """Where traces and synthesis results are kept: ``$LANEWISE_CACHE``, else ``$XDG_CACHE_HOME/lanewise``."""
    if folder := os.environ.get("LANEWISE_CACHE"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lanewise"
