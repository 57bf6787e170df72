"""Values that come out some clocks later."""

from amaranth.hdl import Module, Signal, Value


def delayed(m: Module, value: Value, clocks: int, name: str) -> Value:
    """``value`` as it was ``clocks`` clocks ago, zero since a reset: what was under way is forgotten."""
    for stage in range(clocks):
        register = Signal(len(value), name=f"{name}_{stage + 1}")
        m.d.sync += register.eq(value)
        value = register
    return value
