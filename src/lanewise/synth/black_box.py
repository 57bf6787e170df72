"""Verilog with black boxes: memories that are macros, and a component without its sub-components."""

import re
from collections.abc import Mapping

from amaranth.hdl import ClockSignal, Elaboratable, Instance, Module, ResetSignal, Value
from amaranth.lib import wiring

from lanewise.rtl.verilog import emit_verilog

_PORT = re.compile(r"^  (?:input|output) .*;$", re.MULTILINE)


def black_box(verilog: str, module: str) -> str:
    """The text with ``module`` an interface without contents.

    Raises:
        ValueError: There is no such module.
    """
    pattern = re.compile(rf"^module {module}\((.*?)\);$(.*?)^endmodule$", re.MULTILINE | re.DOTALL)
    found = pattern.search(verilog)
    if found is None:
        raise ValueError(f"module must be one of the text's, not {module!r}")
    ports = " ".join(line.strip() for line in _PORT.findall(found[2]))
    return f"{verilog[: found.start()]}(* blackbox *) module {module}({found[1]}); {ports} endmodule{verilog[found.end() :]}"


class Opened:
    """A component that is made of others, to be had one by one.

    Args:
        component: It is elaborated here.
    """

    def __init__(self, component: wiring.Component) -> None:
        self.component = component
        component._MustUse__used = True  # as Amaranth notes what is elaborated
        self._module = module = component.elaborate(None)
        if not isinstance(module, Module):
            raise TypeError(f"component must elaborate to a Module, not {type(module).__name__}")
        self.parts: Mapping[str, wiring.Component] = {
            name: part
            for name, (part, _) in module._named_submodules.items()
            if isinstance(part, wiring.Component)
        }
        """The sub-components by name."""

    def glue(self, top: str) -> str:
        """Verilog of what is left, as module ``top``: each sub-component is a black box ``<top>_box_<name>``."""
        module, boxes = self._module, []
        for name, part in self.parts.items():
            box, ports, arguments = f"{top}_box_{name}", ["input clk;", "input rst;"], {}
            names = ["clk", "rst"]
            for path, member, value in part.signature.flatten(part):
                port, flow = "__".join(map(str, path)), "input" if member.flow is wiring.In else "output"
                bits = Value.cast(value)
                names.append(port)
                ports.append(f"{flow} [{len(bits) - 1}:0] {port};")
                arguments[f"{flow[0]}_{port}"] = bits
            _, place = module._named_submodules[name]
            instance = Instance(box, i_clk=ClockSignal(), i_rst=ResetSignal(), **arguments)
            module._named_submodules[name] = (instance, place)
            boxes.append(f"(* blackbox *) module {box}({', '.join(names)}); {' '.join(ports)} endmodule\n")
        shell = _Shell(self.component, module)
        return emit_verilog(shell, top) + "".join(boxes)


class _Shell(wiring.Component):  # type: ignore[misc]
    """A component whose elaboration is there already."""

    def __init__(self, component: wiring.Component, module: Module) -> None:
        self._done = module
        super().__init__(component.signature)
        for name in component.signature.members:
            setattr(self, name, getattr(component, name))

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        return self._done
