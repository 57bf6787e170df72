"""Stages of a pipeline whose registers advance together."""

from amaranth.hdl import Module, Signal, Value


class Pipelined:
    """Mixin of a component: its stages advance where ``move`` is 1 and stand still where it is 0. A constant 1 where they never do.

    ``_stage`` counts the stages that have been registered; :meth:`elaborate` begins it with 0.
    """

    move: Value
    _stage: int

    def _register(self, m: Module, **values: Value) -> dict[str, Signal]:
        """The values one clock later; no reset, for what is not valid does not matter."""
        self._stage += 1
        registers = {}
        for name, value in values.items():
            registers[name] = Signal(len(value), name=f"{name}_{self._stage}", reset_less=True)
            with m.If(self.move):
                m.d.sync += registers[name].eq(value)
        return registers
