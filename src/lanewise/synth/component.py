"""Synthesis of one component: Verilog, yosys, areas, and a cache between."""

import hashlib
import json
import re
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from amaranth.lib import wiring

import lanewise
from lanewise.files import write_json, write_text
from lanewise.rtl.verilog import emit_verilog
from lanewise.synth.block import Block, blocks_of
from lanewise.synth.liberty import Liberty
from lanewise.synth.yosys import constraints, run_yosys, script, tool_versions

_MODULE = re.compile(r"^module (\w+)\(", re.MULTILINE)
_BOX = re.compile(r"^\(\* blackbox \*\) module (\w+)\(", re.MULTILINE)
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
        return self.verilog(emit_verilog(component, name), name)

    def verilog(self, verilog: str, name: str) -> "Synthesis":
        """Synthesise the module ``name`` of a text; black boxes have no area.

        Raises:
            SynthesisError, UserError: As of a component.
        """
        started = time.perf_counter()
        modules = _MODULE.findall(verilog)
        boxes = frozenset(_BOX.findall(verilog))
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
            blocks = blocks_of(run, name, self.liberty, boxes)
            write_text(stem.with_suffix(".v"), run.netlist)
            write_json(stem.with_suffix(".json"), {"key": key, "blocks": [asdict(block) for block in blocks]})
        assert blocks is not None
        return Synthesis(
            blocks=blocks,
            netlist=stem.with_suffix(".v"),
            log=stem.with_suffix(".log"),
            key=key,
            cached=cached,
            seconds=time.perf_counter() - started,
        )

    def remembered(
        self, what: str, make: Callable[[], tuple[dict[str, "Synthesis"], Any]]
    ) -> tuple[dict[str, "Synthesis"], Any]:
        """What ``make`` gives, found again without making Verilog of anything.

        Args:
            what: Says, with this version of the package, all that the components depend on.
            make: Makes results by name, with this synthesiser, and something that JSON can hold.
        """
        versions = json.dumps(tool_versions())
        parts = (str(_FORMAT), what, _package(), self.liberty.sha256, repr(self.clock_ns), versions)
        key = hashlib.sha256("\0".join(parts).encode()).hexdigest()
        path = self.cache / "synth" / f"index-{key[:24]}.json"
        if (found := self._indexed(path, key)) is not None:
            self.progress(f"areas found in {path}")
            return found
        made, notes = make()
        index = {name: [result.netlist.stem, result.key] for name, result in made.items()}
        write_json(path, {"key": key, "parts": index, "notes": notes})
        return made, notes

    def _indexed(self, path: Path, key: str) -> tuple[dict[str, "Synthesis"], Any] | None:
        try:
            data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            if data["key"] != key:
                return None
            found = {}
            for name, (stem, own) in data["parts"].items():
                place = self.cache / "synth" / stem
                if (blocks := _load(place.with_suffix(".json"), own)) is None:
                    return None
                found[name] = Synthesis(
                    blocks=blocks, netlist=place.with_suffix(".v"), log=place.with_suffix(".log"), key=own,
                    cached=True, seconds=0.0,
                )  # fmt: skip
            return found, data["notes"]
        except (OSError, ValueError, KeyError, TypeError):
            return None


@dataclass(frozen=True, kw_only=True)
class Synthesis:
    """A component's netlist and the areas of its blocks."""

    blocks: tuple[Block, ...]
    """The whole first."""
    netlist: Path
    """Mapped netlist, Verilog."""
    log: Path
    """What yosys printed."""
    key: str
    """SHA-256 of all that it depends on."""
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


@cache
def _package() -> str:
    """SHA-256 of the package's source, which makes the Verilog."""
    root = Path(lanewise.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _load(path: Path, key: str) -> tuple[Block, ...] | None:
    """The cached blocks; ``None`` if there are none, or what is there is damaged or another's."""
    try:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if data["key"] != key or not path.with_suffix(".v").exists():
            return None
        return tuple(Block(**values) for values in data["blocks"]) or None
    except (OSError, ValueError, KeyError, TypeError):
        return None
