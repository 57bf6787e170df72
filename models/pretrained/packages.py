"""Files that installed packages carry: weights, texts, pictures. They are read; no package's code runs."""

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from lanewise.errors import UserError


def not_installed(package: str) -> UserError:
    """What to say of a package that is missing."""
    return UserError(f"package {package} is not installed; expected it for the accuracy study (make setup)")


def packaged_file(package: str, name: str) -> Path:
    """A file that an installed package carries, by its name without folders.

    Raises:
        UserError: The package is not installed or has no such file.
    """
    try:
        files = distribution(package).files or []
    except PackageNotFoundError:
        raise not_installed(package) from None
    for file in files:
        if file.name == name:
            return Path(str(file.locate()))
    raise UserError(f"package {package} has no file {name}; expected the version that lanewise names")


def packaged_files(package: str, pattern: str) -> list[Path]:
    """All files of an installed package whose names match ``pattern``, in the order of their paths; no scripts outside.

    Raises:
        UserError: The package is not installed or has no such file.
    """
    try:
        files = distribution(package).files or []
    except PackageNotFoundError:
        files = []
    inside = [file for file in files if file.match(pattern) and ".." not in file.parts]
    found = [Path(str(file.locate())) for file in sorted(inside, key=str)]
    if not found:
        packaged_file(package, pattern)  # says which of the two is missing
    return found
