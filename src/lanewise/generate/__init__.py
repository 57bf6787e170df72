"""Verilog of a machine's blocks, with all that a user needs to take it from there."""

import json
from pathlib import Path
from typing import Any

from lanewise.config import MachineConfig
from lanewise.generate import core_file, manifest
from lanewise.generate.blocks import Block, blocks
from lanewise.generate.lint import CONTROL_FILE, WAIVERS, Waiver, control_file, lint
from lanewise.generate.output import check_folder, replace_folder
from lanewise.rtl.verilog import Port

__all__ = ["WAIVERS", "Block", "Port", "Waiver", "blocks", "generate", "lint"]


def generate(config: MachineConfig, out: Path) -> dict[str, Any]:
    """Write the machine's Verilog, a FuseSoC core file, lint waivers and a manifest to ``out``.

    The same machine and tools give the same bytes. ``out`` is written whole or not at all; an earlier output
    there is replaced.

    Returns:
        The manifest, as written to ``manifest.json``.

    Raises:
        UserError: ``out`` exists and is no earlier output, or cannot be written.
    """
    check_folder(out)
    parts = blocks(config)
    files = {f"{block.top}.v": block.verilog for block in parts}
    files[core_file.NAME] = core_file.core_file(parts, config.hash)
    files[CONTROL_FILE] = control_file()
    result = manifest.make_manifest(config, parts, files)
    replace_folder(out, files | {manifest.NAME: json.dumps(result, indent=2) + "\n"})
    return result
