"""Verilog text of a component: one file, hierarchy kept, equal modules written once, names stable."""

import gc
import re
from collections import Counter
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from amaranth.back import rtlil
from amaranth.back import verilog as _amaranth
from amaranth.hdl import ClockSignal, Instance, Module, ResetSignal, Value, ValueLike
from amaranth.lib import wiring

_prototypes: ContextVar[list[tuple[str, wiring.Component]]] = ContextVar("prototypes")
_MODULE = re.compile(r"^module (\\\S+)\n(.*?)^end\n", re.MULTILINE | re.DOTALL)
_CELL = re.compile(r"^(\s*cell )(\\\S+)( \\\S+)$")
_NUMBERED_PORT = re.compile(r"\\port\$\d+\$\d+")
_LOCAL_WIRE = re.compile(r"^  wire width \d+(?: signed)? (\S+)$", re.MULTILINE)
_WIRE = re.compile(r"^(?:  attribute .*\n)*  wire width \d+(?: signed)? (\S+)\n", re.MULTILINE)
_CONNECT = re.compile(r"^connect (\S+) (?!\[).*\n", re.MULTILINE)
_PARTLY_CONNECTED = re.compile(r"^connect (\S+) \[", re.MULTILINE)
_CELL_OUTPUT = re.compile(r"^  cell \$\S+ \S+\n(?:    .*\n)*?    connect \\Y (\S+)\n  end\n", re.MULTILINE)
_PORT = re.compile(r"^  (input|output) (?:\[(\d+):0\] )?(\w+);$", re.MULTILINE)
_INDEX = re.compile(r"(_?\d+|\$\d+)+$")


@dataclass(frozen=True, kw_only=True)
class Port:
    """A port of a module."""

    name: str
    direction: str
    """``input`` or ``output``."""
    width: int
    """Bits."""


def ports_of(verilog: str, module: str) -> tuple[Port, ...]:
    """Ports of a module in emitted Verilog, by name.

    Raises:
        ValueError: There is no such module.
    """
    body = re.search(rf"^module {module}\(.*?^endmodule$", verilog, re.MULTILINE | re.DOTALL)
    if body is None:
        raise ValueError(f"module must be one of the text's, not {module!r}")
    found = sorted(_PORT.findall(body[0]), key=lambda port: port[2])
    return tuple(
        Port(name=name, direction=direction, width=int(high or 0) + 1) for direction, high, name in found
    )


def emit_verilog(component: wiring.Component, name: str) -> str:
    """Verilog of ``component`` as module ``name``.

    Amaranth writes a module for each instance; here instances with the same contents share one module, named
    ``<name>_<submodule>`` without indices, so that an array's processing element is written (and synthesised)
    once. The text depends on nothing but the component and the versions of Amaranth and its yosys.
    """
    token, collects = _prototypes.set([]), gc.isenabled()
    gc.disable()  # a third of the time, and hardly anything to collect
    try:
        modules = [rtlil.convert(component, name=name, emit_src=False)]
        for module, prototype in _prototypes.get():  # grows while prototypes with prototypes are converted
            modules.append(rtlil.convert(prototype, name=module, emit_src=False))
    finally:
        _prototypes.reset(token)
        if collects:
            gc.enable()
    text = _share_modules("\n".join(modules), name)
    return str(_amaranth._convert_rtlil_text(text, strip_internal_attrs=True))


def shared_instance(prototype: wiring.Component, name: str, **ports: ValueLike) -> Instance:
    """An instance of a component that is elaborated once however many instances there are.

    Amaranth takes 12 ms to elaborate a small component: 50 s for an array of 64 x 64. Only for components
    with explicit clocks, and only inside :func:`emit_verilog`.

    Args:
        prototype: The one component behind all instances.
        name: Base of the module's name.
        ports: A signal for every port, by flattened name.

    Raises:
        TypeError: ``ports`` are not the component's.
        RuntimeError: Called outside :func:`emit_verilog`.
    """
    return _instance(prototype, name, ports, {})


class SharedSubmodule:
    """Equal submodules in the domain ``sync``: elaborated once inside :func:`emit_verilog`, one by one in a simulation.

    Args:
        make: Makes the component.
        name: Base of the module's name.
    """

    def __init__(self, make: Callable[[], wiring.Component], name: str) -> None:
        self._make, self._name = make, name
        self._prototype: wiring.Component | None = None

    def add(self, m: Module, name: str, **ports: ValueLike) -> None:
        """Add one to ``m`` as ``name``, with a signal for every port, by flattened name.

        Raises:
            TypeError: ``ports`` are not the component's.
        """
        if _prototypes.get(None) is not None:
            if self._prototype is None:
                self._prototype = self._make()
            clocks = {"i_clk": ClockSignal(), "i_rst": ResetSignal()}
            m.submodules[name] = _instance(self._prototype, self._name, ports, clocks)
            return
        m.submodules[name] = component = self._make()
        for port, (flow, value) in _members(component, self._name, ports).items():
            m.d.comb += value.eq(ports[port]) if flow is wiring.In else Value.cast(ports[port]).eq(value)


def _instance(
    prototype: wiring.Component, name: str, ports: Mapping[str, ValueLike], clocks: Mapping[str, ValueLike]
) -> Instance:
    members = _members(prototype, name, ports)
    known = _prototypes.get(None)
    if known is None:
        raise RuntimeError(f"{name}: shared instances exist only inside emit_verilog")
    module = next((module for module, other in known if other is prototype), "")
    if not module:
        module = f"shared${len(known)}.{name}"
        known.append((module, prototype))
    arguments = {f"{'i' if members[port][0] is wiring.In else 'o'}_{port}": ports[port] for port in ports}
    return Instance(module, **arguments, **clocks)


def _members(
    component: wiring.Component, name: str, ports: Mapping[str, ValueLike]
) -> dict[str, tuple[wiring.Flow, Any]]:
    """Direction and value of the component's ports by flattened name, which are those of ``ports``."""
    members = {
        "__".join(map(str, path)): (member.flow, value)
        for path, member, value in component.signature.flatten(component)
    }
    if members.keys() != ports.keys():
        raise TypeError(f"ports of {name} must be {sorted(members)}, not {sorted(ports)}")
    return members


def _share_modules(text: str, top: str) -> str:
    bodies = dict(_MODULE.findall(text))
    shared: dict[str, str] = {}  # contents -> name of the module that has them
    resolved: dict[str, tuple[str, dict[str, str]]] = {}  # Amaranth's module -> our name, renamed ports
    written: list[str] = []

    def resolve(module: str) -> tuple[str, dict[str, str]]:
        if module not in resolved:
            ports = {
                old: f"\\port${k}"
                for k, old in enumerate(dict.fromkeys(_NUMBERED_PORT.findall(_own(bodies[module]))))
            }
            body = _drop_unread(_rewrite(bodies[module], ports))
            if body not in shared:
                shared[body] = _free_name(module, top, set(shared.values()))
                attribute = "attribute \\top 1\n" if shared[body] == f"\\{top}" else ""
                written.append(f"{attribute}module {shared[body]}\n{body}end\n")
            resolved[module] = (shared[body], ports)
        return resolved[module]

    def _own(body: str) -> str:
        """The body without its cells, whose ports are other modules' business."""
        return re.sub(r"^  cell \\.*?^  end\n", "", body, flags=re.MULTILINE | re.DOTALL)

    def _rewrite(body: str, ports: dict[str, str]) -> str:
        lines = []
        child_ports: dict[str, str] = {}
        for line in body.split("\n"):
            cell = _CELL.match(line)
            if cell and cell[2] in bodies:
                child, child_ports = resolve(cell[2])
                line = f"{cell[1]}{child}{cell[3]}"
            elif line == "  end":
                child_ports = {}
            elif child_ports and line.startswith("    connect "):
                _, port, value = line.strip().split(" ", 2)
                line = f"    connect {child_ports.get(port, port)} {_rename(value, ports)}"
            else:
                line = _rename(line, ports)
            lines.append(line)
        return "\n".join(lines)

    resolve(f"\\{top}")
    return "\n".join(written)


def _drop_unread(body: str) -> str:
    """Remove what nothing reads: names that Amaranth gives to fields of payloads, and what drives them."""
    while True:
        lines = (line.strip().split() for line in body.split("\n"))
        uses = Counter(token for line in lines for token in (line[2:] if line[:1] == ["connect"] else line))
        local = set(_LOCAL_WIRE.findall(body)) - set(_PARTLY_CONNECTED.findall(body))
        dead = {name for name in local if uses[name] == 1}  # its declaration
        driven = {
            name for name in _CELL_OUTPUT.findall(body) if name in local and uses[name] == 2
        }  # and a cell
        if not dead and not driven:
            return body
        for pattern, names in ((_CONNECT, dead), (_CELL_OUTPUT, driven), (_WIRE, dead | driven)):
            body = _without(pattern, names, body)


def _without(pattern: re.Pattern[str], names: set[str], body: str) -> str:
    """The body without the matches whose name is one of ``names``."""
    return pattern.sub(lambda match: "" if match[1] in names else match[0], body)


def _rename(text: str, ports: dict[str, str]) -> str:
    return _NUMBERED_PORT.sub(lambda match: ports.get(match[0], match[0]), text) if ports else text


def _free_name(module: str, top: str, taken: set[str]) -> str:
    if module == f"\\{top}":
        return module
    leaf = _INDEX.sub("", module.rsplit(".", 1)[-1].removeprefix("\\"))
    name = f"\\{top}_{leaf}"
    number = 2
    while name in taken:
        name = f"\\{top}_{leaf}_{number}"
        number += 1
    return name
