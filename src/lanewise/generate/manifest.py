"""What a generated folder says about itself: ``manifest.json``."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lanewise import __version__
from lanewise.config import MachineConfig
from lanewise.errors import UserError
from lanewise.generate.blocks import Block
from lanewise.rtl.toolchain import tool_versions

NAME = "manifest.json"
_GENERATOR = "lanewise generate"


def make_manifest(config: MachineConfig, blocks: list[Block], files: dict[str, str]) -> dict[str, Any]:
    """Everything that identifies an output: machine, tools, ports, and the SHA-256 of each file.

    Args:
        files: Text of every other file by name.
    """
    return {
        "generator": _GENERATOR,
        "version": __version__,
        "config_hash": config.hash,
        "config": config.as_dict(),
        "tools": tool_versions(),
        "tops": {
            block.top: {
                "block": block.name,
                "file": f"{block.top}.v",
                "ports": [asdict(port) for port in block.ports],
            }
            for block in blocks
        },
        "files": {name: hashlib.sha256(text.encode()).hexdigest() for name, text in sorted(files.items())},
    }


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of an output of ours.

    Raises:
        UserError: The folder is none.
    """
    try:
        manifest = json.loads((folder / NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        manifest = None
    if not isinstance(manifest, dict) or manifest.get("generator") != _GENERATOR:
        raise UserError(f"{folder}: no {NAME} of `{_GENERATOR}` in it; expected a folder that it wrote")
    return manifest
