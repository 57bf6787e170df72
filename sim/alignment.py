"""DMA's clocks depend on where runs begin in a word of the bus: loops in which that changes are unrolled until it does not.

An instruction of a loop has one timing. Where a loop moves an external address by what is no multiple of the bus's width, the runs' places in
a word come round after some repetitions: so many become one repetition of a longer loop, each with its own place. Nothing else changes.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import gcd, lcm

from lanewise.sim.program import Address, Instruction, Loop, Node, Program, replaced


def with_alignment(program: Program, bytes_per_clk: int) -> Program:
    """The same instructions in the same order, in loops whose external addresses move by whole words of ``bytes_per_clk`` bytes.

    >>> from lanewise.sim.program import Address
    >>> load = Instruction(opcode="dma.load", writes=("@a",), runs=1, run_bytes=48, external=Address("x", 0, (("i", 48),)))
    >>> program = Program(body=(Loop(5, (load,), "i"),), buffers_bytes={"@a": 48})
    >>> loop, rest = with_alignment(program, 32).body
    >>> loop.count, [node.external.offset_bytes for node in (*loop.body, rest)]
    (2, [0, 48, 192])
    """
    return program.rearranged(_aligned(program.body, bytes_per_clk)[0])


def _aligned(body: tuple[Node, ...], width: int) -> tuple[tuple[Node, ...], set[tuple[str, int]]]:
    """The nodes, and by which index their external addresses move how far, but for what is whole words."""
    made: list[Node] = []
    steps: set[tuple[str, int]] = set()
    changed = False
    for node in body:
        if isinstance(node, Instruction):
            made.append(node)
            if node.external is not None and node.external.steps:
                steps.update(
                    (index, step) for index, step in dict(node.external.steps).items() if step % width
                )
            continue
        if not isinstance(node, Loop):
            made.append(node)
            continue
        inner, inside = _aligned(node.body, width)
        own = {(index, step) for index, step in inside if index == node.index} if node.index else set()
        if not own or node.count == 1:
            steps |= inside
            changed |= inner is not node.body
            made.append(node if inner is node.body else Loop(node.count, inner, node.index))
            continue
        steps |= inside - own
        rounds = lcm(*(width // gcd(step, width) for _, step in own))
        whole, rest = divmod(node.count, rounds)
        if whole:
            copies = tuple(n for place in range(rounds) for n in unrolled(inner, node.index, rounds, place))
            made.append(Loop(whole, copies, node.index))
        for place in range(rest):
            made += unrolled(inner, node.index, 0, whole * rounds + place)
        changed = True
    return (tuple(made) if changed else body), steps


def unrolled(body: Sequence[Node], index: str, rounds: int, place: int) -> tuple[Node, ...]:
    """The body as in repetition ``place`` of ``rounds`` of the loop ``index`` that become one; 0 rounds: of a loop that is no more."""

    def follows(address: Address | None) -> bool:
        return address is not None and any(step[0] == index for step in address.steps)

    def at(address: Address | None) -> Address | None:
        return address.unrolled(index, rounds, place) if address is not None and follows(address) else address

    made: list[Node] = []
    for node in body:
        if isinstance(node, Loop):
            made.append(Loop(node.count, unrolled(node.body, index, rounds, place), node.index))
        elif isinstance(node, Instruction):
            made.append(_with_addresses(node, follows, at))
        else:
            made.append(node)
    return tuple(made)


def _with_addresses(
    instruction: Instruction, follows: Callable[[Address | None], bool], at: Callable[[Address | None], Address | None]
) -> Instruction:  # fmt: skip
    """An instruction with each of its addresses replaced that follows the loop."""
    tile = instruction.tile
    if tile is not None:
        places = (tile.left.address, tile.right.address, tile.results, tile.scales, tile.constants)
        if not any(map(follows, places)):
            return instruction
        left, right = (
            replace(lines, address=at(lines.address) or lines.address) for lines in (tile.left, tile.right)
        )
        moved = replace(
            tile, left=left, right=right, results=at(tile.results), scales=at(tile.scales), constants=at(tile.constants)
        )  # fmt: skip
        return replaced(instruction, tile=moved)
    addresses = (instruction.address, instruction.external, instruction.indices)
    if not any(map(follows, addresses)):
        return instruction
    address, external, indices = map(at, addresses)
    return replaced(instruction, address=address, external=external, indices=indices)
