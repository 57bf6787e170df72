"""lanewise's own source as a value: what a result depends on beside its inputs, found by imports."""

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_DESCRIPTIONS = "lanewise.mapping.zoo"
"""Names, families and years of networks, on which no number depends."""

_ROOT = Path(__file__).parent


@cache
def source_hash(module: str) -> str:
    """Hash of the source of ``module`` and of everything of lanewise that it imports, C++ and tables included: 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for path in source_files(module):
        digest.update(f"{path.relative_to(_ROOT)}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def source_files(module: str) -> list[Path]:
    """The source files of ``module`` and of everything of lanewise that it imports, in order, with the C++ and the tables beside them.

    >>> [path.name for path in source_files("lanewise.errors")]
    ['__init__.py', 'errors.py']
    """
    found: dict[str, Path] = {}
    left = [module]
    while left:
        name = left.pop()
        if name in found or (name == _DESCRIPTIONS != module) or (path := _file(name)) is None:
            continue
        found[name] = path
        left += _imports(path)
        left.append(name.rpartition(".")[0])  # a package runs before its modules
    return sorted({*found.values(), *(data for path in found.values() for data in _data(path))})


def _data(module: Path) -> Iterator[Path]:
    """What a module may read: C++ in its folder, and tables there that are named after it or that it names."""
    yield from module.parent.glob("*.cpp")
    yield from module.parent.glob("*.h")
    yield from module.parent.glob(f"{module.stem}*.toml")
    for node in ast.walk(ast.parse(module.read_bytes())):
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and node.value.endswith((".toml", ".json"))
        ):
            named = module.parent / node.value
            if named.is_file():
                yield named


def installed(package: str) -> str:
    """Version of a package; empty if it is not there."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _file(module: str) -> Path | None:
    """Of a module of lanewise; ``None`` for what is no module of it."""
    package, *parts = module.split(".")
    if package != "lanewise":
        return None
    path = _ROOT.joinpath(*parts)
    candidates = (path / "__init__.py", path.with_suffix(".py")) if parts else (path / "__init__.py",)
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def _imports(path: Path) -> Iterator[str]:
    """All modules that a file may import, also those that it imports when a function runs; not those that are read for types alone."""
    left: list[ast.AST] = [ast.parse(path.read_bytes())]
    while left:
        node = left.pop()
        types = (
            isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        )
        left += () if types else ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
