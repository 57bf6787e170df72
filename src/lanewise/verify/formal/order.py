"""What it means that one element is at most another, written down from the formats alone."""

from amaranth.hdl import C, Cat, Mux, Value

from lanewise.formats import NumberFormat


def at_most(low: Value, high: Value, form: NumberFormat) -> Value:
    """Whether ``low <= high`` in the format's order; both are ``form.bits`` wide.

    Integers: two's complement. Floating point: by sign, then by magnitude, backwards if negative; -0 is below +0.
    """
    if not form.floating:
        return low.as_signed() <= high.as_signed()
    low_negative, high_negative = low[-1], high[-1]
    low_magnitude, high_magnitude = low[:-1], high[:-1]
    return Mux(
        low_negative == high_negative,
        Mux(low_negative, low_magnitude >= high_magnitude, low_magnitude <= high_magnitude),
        low_negative,
    )


def place(element: Value, form: NumberFormat) -> Value:
    """The element's place in that order, counted from its lowest, by arithmetic instead of inversions.

    Only a step of the proofs: that it agrees with :func:`at_most` is proved with them.
    """
    top = 1 << (form.bits - 1)
    if not form.floating:
        return (element + C(top, form.bits))[: form.bits]
    magnitude = Cat(element[:-1], C(0, 1))
    return Mux(
        element[-1],
        (C(top - 1, form.bits) - magnitude)[: form.bits],
        (C(top, form.bits) + magnitude)[: form.bits],
    )
