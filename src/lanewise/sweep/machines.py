"""The machines of a sweep: files, and the product of what is varied in each."""

import tomllib
from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from lanewise.config import MachineConfig, load_config, parse_config
from lanewise.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A machine and what tells it from the default one."""

    config: MachineConfig
    label: str

    @property
    def hash(self) -> str:
        """The config's, which names the machine."""
        return self.config.hash


def machines(files: Sequence[Path], vary: Sequence[str]) -> tuple[Machine, ...]:
    """Every combination of ``vary``'s values on each of ``files``, or on the default machine; equal ones once.

    Args:
        files: TOML, as :func:`lanewise.config.load_config` takes it.
        vary: ``KEY=VALUE,VALUE,...``, such as ``vector.lanes=4,8,16``; values as in TOML.

    Raises:
        UserError: A file, a key or a value is none, a key is there twice, or a combination is no machine.

    >>> [machine.label for machine in machines([], ["vector.lanes=4,8", "flex_sfu.segments=16,32"])]
    ['flex_sfu.segments=16 vector.lanes=4', 'vector.lanes=4', 'flex_sfu.segments=16', '']
    """
    axes = [_axis(text) for text in vary]
    keys = [key for key, _ in axes]
    for key in keys:
        if keys.count(key) > 1:
            raise UserError(
                f"--vary {key}: is there {keys.count(key)} times; expected all its values in one, {key}=V,V,..."
            )
    found: dict[str, Machine] = {}
    for source, data in [(str(path), _tables(path)) for path in files] or [("", {})]:
        for values in product(*(values for _, values in axes)):
            changed = deepcopy(data)
            for (key, _), value in zip(axes, values):
                _set(changed, key, value)
            chosen = " ".join(f"{key}={_text(value)}" for (key, _), value in zip(axes, values))
            where = " ".join(part for part in (source, chosen and f"--vary {chosen}") if part)
            config = parse_config(changed, source=where)
            found.setdefault(config.hash, Machine(config=config, label=label(config)))
    return tuple(found.values())


def label(config: MachineConfig) -> str:
    """What tells ``config`` from the default machine, key by key; Flex-SFU's lanes go without saying.

    >>> label(MachineConfig())
    ''
    """
    values, default = dict(_flat(config.as_dict())), dict(_flat(MachineConfig().as_dict()))
    if values["flex_sfu.lanes"] == values["vector.lanes"]:
        del values["flex_sfu.lanes"]
    return " ".join(f"{key}={_text(value)}" for key, value in values.items() if value != default[key])


def _axis(text: str) -> tuple[str, list[Any]]:
    key, equals, values = text.partition("=")
    try:
        parsed = tomllib.loads(f"values = [{values}]")["values"]
    except tomllib.TOMLDecodeError:
        parsed = []
    if not key.strip() or not equals or not parsed:
        raise UserError(
            f"--vary {text}: is not KEY=VALUE,VALUE,...; expected such as vector.lanes=4,8,16, values as in TOML"
        )
    return key.strip(), parsed


def _tables(path: Path) -> dict[str, Any]:
    load_config(path)  # says what is wrong with it
    return tomllib.loads(path.read_text(encoding="utf-8"))


def _set(data: dict[str, Any], key: str, value: Any) -> None:
    *tables, name = key.split(".")
    for table in tables:
        data = data.setdefault(table, {})
        if not isinstance(data, dict):
            raise UserError(f"--vary {key}: {table} is no table; expected a key such as vector.lanes")
    data[name] = value


def _flat(tables: dict[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in tables.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "+".join(map(str, value)) if isinstance(value, list) else str(value)
