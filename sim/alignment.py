"""DMA's clocks depend on where runs begin in a word of the bus: loops in which that changes are unrolled until it does not.

An instruction of a loop has one timing. Where a loop moves an external address by what is no multiple of the bus's width, the runs' places in
a word come round after some repetitions: so many become one repetition of a longer loop, each with its own place. Nothing else changes.
"""

from collections.abc import Sequence
from dataclasses import replace
from math import gcd, lcm

from lanewise.sim.program import Instruction, Loop, Node, Program


def with_alignment(program: Program, bytes_per_clk: int) -> Program:
    """The same instructions in the same order, in loops whose external addresses move by whole words of ``bytes_per_clk`` bytes.

    >>> from lanewise.sim.program import Address
    >>> load = Instruction(opcode="dma.load", writes=("@a",), runs=1, run_bytes=48, external=Address("x", 0, (("i", 48),)))
    >>> program = Program(body=(Loop(5, (load,), "i"),), buffers_bytes={"@a": 48})
    >>> loop, rest = with_alignment(program, 32).body
    >>> loop.count, [node.external.offset_bytes for node in (*loop.body, rest)]
    (2, [0, 48, 192])
    """
    return replace(program, body=_aligned(program.body, bytes_per_clk))


def _aligned(body: Sequence[Node], width: int) -> tuple[Node, ...]:
    made: list[Node] = []
    for node in body:
        if not isinstance(node, Loop):
            made.append(node)
            continue
        inner = _aligned(node.body, width)
        rounds = _period(inner, node.index, width) if node.index else 1
        if rounds == 1 or node.count == 1:
            made.append(node if inner == node.body else replace(node, body=inner))
            continue
        whole, rest = divmod(node.count, rounds)
        if whole:
            copies = tuple(n for place in range(rounds) for n in _moved(inner, node.index, rounds, place))
            made.append(Loop(whole, copies, node.index))
        for place in range(rest):
            made += _moved(inner, node.index, 0, whole * rounds + place)
    return tuple(made)


def _period(body: Sequence[Node], index: str, width: int) -> int:
    """Repetitions after which every external address in the body has the same place in a word again."""
    period = 1
    for node in body:
        if isinstance(node, Loop):
            period = lcm(period, _period(node.body, index, width))
        elif isinstance(node, Instruction) and node.external is not None:
            step = dict(node.external.steps).get(index, 0)
            period = lcm(period, width // gcd(step, width))
    return period


def _moved(body: Sequence[Node], index: str, rounds: int, place: int) -> tuple[Node, ...]:
    """The body as in repetition ``place`` of ``rounds`` of the loop ``index`` that become one; 0 rounds: of a loop that is no more."""
    made: list[Node] = []
    for node in body:
        if isinstance(node, Loop):
            made.append(replace(node, body=_moved(node.body, index, rounds, place)))
        elif isinstance(node, Instruction):
            changed = {}
            for name in ("address", "external", "indices"):
                at = getattr(node, name)
                if at is not None and any(step[0] == index for step in at.steps):
                    changed[name] = at.unrolled(index, rounds, place)
            made.append(replace(node, **changed) if changed else node)
        else:
            made.append(node)
    return tuple(made)
