"""docs/configuration.md, made from the config's own docstrings."""

import ast
import dataclasses
import inspect
import json
from typing import Any

from lanewise import config


def page() -> str:
    """The text of the page."""
    lines = [
        "# Configuration",
        "",
        "A TOML file with these tables; absent keys take their defaults. Unknown keys, wrong types and values out of range are",
        "refused with one line that names the key. This page is made from `src/lanewise/config.py`"
        " (`python -m lanewise.configuration_page`).",
    ]
    machine = config.MachineConfig()
    parts: list[tuple[str, Any]] = [("", machine)]
    parts += [(item.name, getattr(machine, item.name)) for item in dataclasses.fields(machine)]
    for name, part in parts:
        if not dataclasses.is_dataclass(part):
            continue
        notes = _notes(type(part))
        lines += [
            "",
            f"## `[{name}]`" if name else "## At the top",
            "",
            "| key | default | meaning |",
            "|---|---|---|",
        ]
        for item in dataclasses.fields(part):
            value = getattr(part, item.name)
            if not dataclasses.is_dataclass(value):
                lines.append(f"| `{item.name}` | `{json.dumps(value)}` | {notes[item.name]} |")
    return "\n".join(lines) + "\n"


def _notes(kind: type) -> dict[str, str]:
    """The string after each field of a dataclass.

    Raises:
        KeyError: By the caller, for a field without one: every default is documented.
    """
    tree = ast.parse(inspect.getsource(kind)).body[0]
    assert isinstance(tree, ast.ClassDef)
    notes = {}
    for field, after in zip(tree.body, tree.body[1:], strict=False):
        documented = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and documented:
            notes[field.target.id] = " ".join(str(after.value.value).split()).replace("``", "`")  # type: ignore[attr-defined]
    return notes


if __name__ == "__main__":
    print(page(), end="")
