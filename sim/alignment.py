"""DMA's clocks depend on where runs begin in a word of the bus: loops in which that changes are unrolled until it does not.

An instruction of a loop has one timing. Where a loop moves an external address by what is no multiple of the bus's width, the runs' places in
a word come round after some repetitions: so many become one repetition of a longer loop, each with its own place. Nothing else changes.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import gcd, lcm

from lanewise.sim.program import Address, Instruction, Loop, Node, Program


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
            copies = tuple(n for place in range(rounds) for n in unrolled(inner, node.index, rounds, place))
            made.append(Loop(whole, copies, node.index))
        for place in range(rest):
            made += unrolled(inner, node.index, 0, whole * rounds + place)
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


def unrolled(body: Sequence[Node], index: str, rounds: int, place: int) -> tuple[Node, ...]:
    """The body as in repetition ``place`` of ``rounds`` of the loop ``index`` that become one; 0 rounds: of a loop that is no more."""

    def at(address: Address | None) -> Address | None:
        follows = address is not None and any(step[0] == index for step in address.steps)
        return address.unrolled(index, rounds, place) if address is not None and follows else address

    made: list[Node] = []
    for node in body:
        if isinstance(node, Loop):
            made.append(replace(node, body=unrolled(node.body, index, rounds, place)))
        elif isinstance(node, Instruction):
            made.append(_with_addresses(node, at))
        else:
            made.append(node)
    return tuple(made)


def _with_addresses(instruction: Instruction, at: Callable[[Address | None], Address | None]) -> Instruction:
    """An instruction with each of its addresses replaced."""
    tile = instruction.tile
    addresses = (instruction.address, instruction.external, instruction.indices)
    if tile is not None:
        left, right = (
            replace(lines, address=at(lines.address) or lines.address) for lines in (tile.left, tile.right)
        )
        moved = replace(
            tile, left=left, right=right, results=at(tile.results), scales=at(tile.scales), constants=at(tile.constants)
        )  # fmt: skip
        return instruction if moved == tile else replace(instruction, tile=moved)
    if not any(addresses):
        return instruction
    address, external, indices = (at(each) for each in addresses)
    if (address, external, indices) == addresses:
        return instruction
    return replace(instruction, address=address, external=external, indices=indices)
