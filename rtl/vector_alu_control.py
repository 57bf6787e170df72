"""What the vector unit's ALU is told, and what each instruction tells it."""

import enum

from amaranth.lib import data

from lanewise.isa.operations import Operation, Unit, Width


class Second(enum.IntEnum):
    """What stands for the second operand."""

    VECTOR = 0
    SCALAR = 1
    INDEX = 2
    """The numbers of the elements."""
    ELEMENT = 3
    """One element of the first operand."""


CONTROL = data.StructLayout({
    "wide": 1, "half_a": 1, "quarter_a": 1, "half_b": 1, "signed": 1, "floating": 1,
    "second": 2, "invert_a": 1, "invert_b": 1, "carry": 1,
    "total": 1, "both": 1, "differ": 1, "pick": 1, "right": 1, "left": 1, "estimate": 1, "slide": 1,
    "narrow": 1, "take_b": 1, "merge": 1, "minimum": 1, "maximum": 1, "sign": 1, "sign_a": 1,
    "less": 1, "equal": 1, "greater": 1, "unordered": 1, "root": 1,
})  # fmt: skip
"""Constant for each instruction.

Operands: ``wide``, elements are 2 SEW wide; ``half_a``, ``quarter_a``, ``half_b``, the beat holds narrower ones, which are extended
(``signed``); ``second``, one of :class:`Second`. Before sums and logic the operands are inverted, and ``carry`` enters every element.

One is 1 of ``total``, ``both`` (and), ``differ`` (exclusive or), ``pick``, ``right``, ``left``, ``estimate`` and ``slide``: the result;
``both`` and ``differ`` together are an or. ``pick`` takes an operand as it is: the second with ``take_b``, or where ``merge`` and the mask, ``minimum`` or
``maximum`` say so; with ``sign`` its sign becomes that of the (inverted) second operand, with ``sign_a`` exclusive or its own.
``narrow`` keeps the lower half of each element. ``less`` to ``unordered``: for which outcomes a comparison is true. ``signed`` and
``floating`` say how to compare, ``signed`` how to shift right; ``root``: the estimate is that of the reciprocal square root.
"""

_SUM = {"total": 1}
_SUBTRACT = _SUM | {"invert_b": 1, "carry": 1}
_COMPARE = _SUBTRACT
_PICK = {"pick": 1}
_OR = {"both": 1, "differ": 1}
_PLAIN: dict[str, dict[str, int]] = {
    "vadd": _SUM, "vsub": _SUBTRACT, "vrsub": _SUM | {"invert_a": 1, "carry": 1},
    "vwaddu": _SUM, "vwadd": _SUM | {"signed": 1}, "vwsubu": _SUBTRACT, "vwsub": _SUBTRACT | {"signed": 1},
    "vand": {"both": 1}, "vor": _OR, "vxor": {"differ": 1},
    "vmand": {"both": 1}, "vmandn": {"both": 1, "invert_b": 1}, "vmnor": {"both": 1, "invert_a": 1, "invert_b": 1},
    "vmor": _OR, "vmorn": _OR | {"invert_b": 1}, "vmnand": _OR | {"invert_a": 1, "invert_b": 1},
    "vmxor": {"differ": 1}, "vmxnor": {"differ": 1, "invert_b": 1},
    "vsll": {"left": 1}, "vsrl": {"right": 1}, "vsra": {"right": 1, "signed": 1},
    "vnsrl": {"right": 1, "narrow": 1}, "vnsra": {"right": 1, "narrow": 1, "signed": 1},
    "vzext": _PICK, "vsext": _PICK | {"signed": 1}, "vid": _PICK | {"take_b": 1, "second": Second.INDEX},
    "vmerge": _PICK | {"merge": 1}, "vfmerge": _PICK | {"merge": 1},
    "vfsgnj": _PICK | {"sign": 1}, "vfsgnjn": _PICK | {"sign": 1, "invert_b": 1},
    "vfsgnjx": _PICK | {"sign": 1, "sign_a": 1},
    "vfrec7": {"estimate": 1}, "vfrsqrt7": {"estimate": 1, "root": 1},
}  # fmt: skip
for _move in ("vmv.v", "vmv.s", "vfmv.v", "vfmv.s"):
    _PLAIN[_move] = _PICK | {"take_b": 1}
for _slide in ("vslideup", "vslidedown", "vslide1up", "vslide1down", "vfslide1up", "vfslide1down"):
    _PLAIN[_slide] = {"slide": 1}
for _gather in ("vrgather", "vcompress"):
    _PLAIN[_gather] = _PICK | {"take_b": 1, "second": Second.ELEMENT}
for _limit in ("minimum", "maximum"):
    _least = _PICK | {_limit: 1, "invert_b": 1, "carry": 1}
    _PLAIN[f"v{_limit[:3]}u"] = _least
    _PLAIN[f"v{_limit[:3]}"] = _PLAIN[f"vf{_limit[:3]}"] = _least | {"signed": 1}
for _name, _outcomes in {
    "eq": ("equal",), "ne": ("less", "greater", "unordered"), "lt": ("less",), "le": ("less", "equal"),
    "gt": ("greater",), "ge": ("greater", "equal"),
}.items():  # fmt: skip
    _PLAIN[f"vms{_name}u"] = _COMPARE | dict.fromkeys(_outcomes, 1)
    _PLAIN[f"vms{_name}"] = _PLAIN[f"vmf{_name}"] = _PLAIN[f"vms{_name}u"] | {"signed": 1}


def control_of(operation: Operation) -> dict[str, int]:
    """The fields of :data:`CONTROL` for an instruction.

    >>> from lanewise.isa.operations import OPERATIONS
    >>> control = control_of(OPERATIONS["vwsub.wx"])
    >>> sorted(name for name, value in control.items() if value)
    ['carry', 'half_b', 'invert_b', 'second', 'signed', 'total', 'wide']

    Raises:
        KeyError: It is none of this unit's one-clock instructions.
    """
    base = operation.base
    stem = base if base in _PLAIN else base.partition(".")[0]
    if operation.unit is not Unit.ALU or stem not in _PLAIN:
        raise KeyError(operation.mnemonic)
    wide = Width.DOUBLE in (operation.vd, operation.vs2)
    fields: dict[str, int] = {
        "wide": wide,
        "half_a": operation.vs2 is Width.HALF or (wide and operation.vs2 is Width.SEW),
        "quarter_a": operation.vs2 is Width.QUARTER,
        "half_b": wide,
        "floating": operation.floating,
    }
    if operation.scalar and not _PLAIN[stem].get("second"):
        fields["second"] = Second.SCALAR
    return dict.fromkeys(CONTROL.members, 0) | {k: int(v) for k, v in (fields | _PLAIN[stem]).items()}
