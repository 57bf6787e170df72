"""A circuit around a component: what may be assumed of its inputs, and what must then hold."""

import re
from collections import Counter
from enum import StrEnum
from typing import Any

from amaranth.back import rtlil
from amaranth.hdl import Elaboratable, Module, ResetSignal, Signal, Value
from amaranth.hdl._ir import Fragment, PortDirection
from amaranth.lib import wiring


class Step(StrEnum):
    """How a property is proved; the properties of the earlier steps are known in the later ones."""

    INVARIANT = "invariant"
    """By induction: it holds after reset, and if all invariants hold in a clock, they hold in the next."""
    BOUND = "bound"
    """In any state in which the invariants hold."""
    ORDER = "order"
    """Likewise, from the bounds, too."""
    CLAIM = "claim"
    """Likewise, from all of these."""


class Harness:
    """A component whose inputs the solver chooses freely, clock for clock, reset included.

    Every register starts with any value, as in silicon, except those made by :meth:`known`; the first clock is a
    reset, later ones may be. Properties are checked from then on. Statements of the harness' own logic go to
    ``m``; it is reset with the component.
    """

    def __init__(self, component: wiring.Component) -> None:
        self.component = component
        self.m = Module()
        self._dut: Fragment = Fragment.get(component, None)
        self.m.submodules.dut = _Elaborated(self._dut)
        self.assumptions: list[str] = []
        self.properties: dict[Step, list[str]] = {step: [] for step in Step}
        self._names: Counter[str] = Counter()
        self._ports: dict[str, tuple[Value, PortDirection]] = {}
        for path, member, value in component.signature.flatten(component):
            if member.flow == wiring.In:
                self._ports["__".join(map(str, path))] = (Value.cast(value), PortDirection.Input)
        self.started = Signal(name="started", reset_less=True, attrs={"known": 1})
        self.m.d.sync += self.started.eq(1)
        self.assume("reset_first", self.started | ResetSignal())

    def free(self, name: str, bits: int = 1) -> Signal:
        """An input of the harness itself."""
        signal = Signal(bits, name=name)
        self._ports[name] = (signal, PortDirection.Input)
        return signal

    def known(self, name: str, bits: int = 1) -> Signal:
        """A register of the harness that is 0 before the first clock, and that no reset touches."""
        signal = Signal(bits, name=name, reset_less=True, attrs={"known": 1})
        self.properties[Step.INVARIANT].append(self._output(f"known_{name}", self.started | (signal == 0)))
        return signal

    def signal(self, *path: str) -> Signal:
        """A signal that the component drives: submodules' names, then its own.

        Raises:
            KeyError: There is none, or more than one.
        """
        fragment = self._dut
        for name in path[:-1]:
            fragment = next((sub for sub, own, _ in fragment.subfragments if own == name), None)
            if fragment is None:
                raise KeyError("/".join(path))
        driven = {
            id(signal): signal
            for statements in fragment.statements.values()
            for statement in statements
            for signal in statement._lhs_signals()
            if signal.name == path[-1]
        }
        if len(driven) != 1:
            raise KeyError("/".join(path))
        return next(iter(driven.values()))

    def assume(self, name: str, condition: Value) -> None:
        """Consider only what satisfies the condition in every clock."""
        self.assumptions.append(self._output(f"assume_{name}", condition))

    def hold(self, step: Step, name: str, condition: Value) -> None:
        """The condition must hold in every clock after the first reset."""
        name = self._output(f"{step}_{name}", ~self.started | condition)
        self.properties[step].append(name)

    def show(self, name: str, value: Value) -> None:
        """Make the value an output, for checks that read the netlist."""
        signal = Signal(len(value), name=name)
        self.m.d.comb += signal.eq(value)
        self._ports[name] = (signal, PortDirection.Output)

    def rtlil(self) -> str:
        """The circuit, for yosys; each assumption and property is an output."""
        return str(rtlil.convert(self.m, "top", ports=self._ports, emit_src=False))

    def _output(self, name: str, condition: Value) -> str:
        name = re.sub(r"\W+", "_", name)
        self._names[name] += 1
        if self._names[name] > 1:
            raise ValueError(f"name must be used once, not twice: {name}")
        signal = Signal(name=name)
        self.m.d.comb += signal.eq(condition.bool())
        self._ports[name] = (signal, PortDirection.Output)
        return name


class _Elaborated(Elaboratable):
    """What has been elaborated already, so that its registers are the ones that were found in it."""

    def __init__(self, fragment: Fragment) -> None:
        self.fragment = fragment

    def elaborate(self, platform: Any) -> Fragment:  # noqa: ARG002
        return self.fragment
