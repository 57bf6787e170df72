"""Synthesis of one component: Verilog, yosys, areas, and a cache between."""

import hashlib
import json
import re
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from amaranth.lib import wiring

from lanewise.files import write_json, write_text
from lanewise.rtl.verilog import emit_verilog
from lanewise.synth.block import Block, blocks_of
from lanewise.synth.liberty import Liberty
from lanewise.synth.yosys import constraints, run_yosys, script, tool_versions

_MODULE = re.compile(r"^module (\w+)\(", re.MULTILINE)
_FORMAT = 1  # of the files in the cache


@dataclass(frozen=True, kw_only=True)
class Synthesiser:
    """Maps components to a library at a clock, and remembers what it mapped.

    A result is found again by the SHA-256 of Verilog, Liberty file, script, constraints and tool versions.
    """

    liberty: Liberty
    clock_ns: float
    cache: Path
    """Folder for results, netlists and logs; made if absent."""
    progress: Callable[[str], None] = lambda _: None

    def __post_init__(self) -> None:
        if not self.clock_ns > 0:
            raise ValueError(f"clock_ns must be positive, not {self.clock_ns!r}")

    def __call__(self, component: wiring.Component, name: str) -> "Synthesis":
        """Synthesise ``component`` as module ``name``.

        Raises:
            SynthesisError: Yosys failed; the message names its log.
            UserError: The library is of no use to yosys, or the cache cannot be written.
        """
        started = time.perf_counter()
        verilog = emit_verilog(component, name)
        modules = _MODULE.findall(verilog)
        commands = script(name, modules, self.clock_ns)
        limits, versions = constraints(self.liberty), json.dumps(tool_versions())
        parts = (str(_FORMAT), verilog, commands, limits, self.liberty.sha256, versions)
        key = hashlib.sha256("\0".join(parts).encode()).hexdigest()
        stem = self.cache / "synth" / f"{name}-{key[:24]}"
        blocks = _load(stem.with_suffix(".json"), key)
        if cached := blocks is not None:
            self.progress(f"{name}: area found in {stem.with_suffix('.json')}")
        else:
            self.progress(f"{name}: synthesising to {self.liberty.name}")
            run = run_yosys(verilog, commands, modules, self.liberty, log=stem.with_suffix(".log"))
            blocks = blocks_of(run, name, self.liberty)
            write_text(stem.with_suffix(".v"), run.netlist)
            write_json(stem.with_suffix(".json"), {"key": key, "blocks": [asdict(block) for block in blocks]})
        assert blocks is not None
        return Synthesis(
            blocks=blocks,
            netlist=stem.with_suffix(".v"),
            log=stem.with_suffix(".log"),
            cached=cached,
            seconds=time.perf_counter() - started,
        )


@dataclass(frozen=True, kw_only=True)
class Synthesis:
    """A component's netlist and the areas of its blocks."""

    blocks: tuple[Block, ...]
    """The whole first."""
    netlist: Path
    """Mapped netlist, Verilog."""
    log: Path
    """What yosys printed."""
    cached: bool
    """Whether it was found, not made."""
    seconds: float

    @property
    def area_um2(self) -> float:
        """Area of the whole."""
        return self.blocks[0].area_um2

    def block(self, *path: str) -> Block:
        """The block at ``path`` below the top; without one, the top.

        Raises:
            KeyError: There is none.
        """
        wanted = "/".join((self.blocks[0].path, *path))
        for block in self.blocks:
            if block.path == wanted:
                return block
        raise KeyError(wanted)


def _load(path: Path, key: str) -> tuple[Block, ...] | None:
    """The cached blocks; ``None`` if there are none, or what is there is damaged or another's."""
    try:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if data["key"] != key or not path.with_suffix(".v").exists():
            return None
        return tuple(Block(**values) for values in data["blocks"]) or None
    except (OSError, ValueError, KeyError, TypeError):
        return None
