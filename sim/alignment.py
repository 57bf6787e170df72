"""DMA's clocks depend on where runs begin in a word of the bus: loops in which that changes are unrolled until it does not.

An instruction of a loop has one timing. Where a loop moves an external address by what is no multiple of the bus's width, the runs' places in
a word come round after some repetitions: so many become one repetition of a longer loop, each with its own place. Nothing else changes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import gcd, lcm
from operator import attrgetter
from typing import TypeAlias

from lanewise.sim.program import Address, Instruction, Loop, Node, Program, is_straight, replaced

_external = attrgetter("external")


def with_alignment(program: Program, bytes_per_clk: int, *, timed: bool = False) -> Program:
    """The same instructions in the same order, in loops whose external addresses move by whole words of ``bytes_per_clk`` bytes.

    Args:
        timed: The Program is timed and no more: places in the scratchpad, which take no part in that, are not told for each repetition.

    >>> from lanewise.sim.program import Address
    >>> load = Instruction(opcode="dma.load", writes=("@a",), runs=1, run_bytes=48, external=Address("x", 0, (("i", 48),)))
    >>> program = Program(body=(Loop(5, (load,), "i"),), buffers_bytes={"@a": 48})
    >>> loop, rest = with_alignment(program, 32).body
    >>> loop.count, [node.external.offset_bytes for node in (*loop.body, rest)]
    (2, [0, 48, 192])
    """
    return program.rearranged(_aligned(program.body, bytes_per_clk, timed)[0])


def _aligned(
    body: tuple[Node, ...], width: int, timed: bool
) -> tuple[tuple[Node, ...], set[tuple[str, int]]]:
    """The nodes, and by which index their external addresses move how far, but for what is whole words."""
    steps: set[tuple[str, int]] = set()
    if is_straight(body) and not any(map(_external, body)):
        return body, steps
    made: list[Node] = []
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
        inner, inside = _aligned(node.body, width, timed)
        own = {(index, step) for index, step in inside if index == node.index} if node.index else set()
        if not own or node.count == 1:
            steps |= inside
            changed |= inner is not node.body
            made.append(node if inner is node.body else Loop(node.count, inner, node.index))
            continue
        steps |= inside - own
        rounds = lcm(*(width // gcd(step, width) for _, step in own))
        whole, rest = divmod(node.count, rounds)
        followers = _followers(inner, node.index, timed)
        if whole:
            copies = tuple(
                n
                for place in range(rounds)
                for n in _unrolled(inner, followers, node.index, rounds, place, timed)
            )
            made.append(Loop(whole, copies, node.index))
        for place in range(rest):
            made += _unrolled(inner, followers, node.index, 0, whole * rounds + place, timed)
        changed = True
    return (tuple(made) if changed else body), steps


def unrolled(body: Sequence[Node], index: str, rounds: int, place: int) -> tuple[Node, ...]:
    """The body as in repetition ``place`` of ``rounds`` of the loop ``index`` that become one; 0 rounds: of a loop that is no more."""
    return _unrolled(body, _followers(body, index, False), index, rounds, place, False)


@dataclass(frozen=True, slots=True)
class _Inside:
    """Followers in a loop."""

    followers: "_Followers"


_Followers: TypeAlias = list[tuple[int, _Inside | None]]
"""Places in a body of the instructions whose addresses follow a loop, and of the loops with such ones."""


def _followers(body: Sequence[Node], index: str, timed: bool) -> _Followers:
    found: _Followers = []
    for place, node in enumerate(body):
        if isinstance(node, Instruction):
            if timed:
                if _follows(node.external, index):
                    found.append((place, None))
            elif any(_follows(address, index) for address in _addresses(node)):
                found.append((place, None))
        elif isinstance(node, Loop) and (inside := _followers(node.body, index, timed)):
            found.append((place, _Inside(inside)))
    return found


def _addresses(instruction: Instruction) -> tuple[Address | None, ...]:
    tile = instruction.tile
    if tile is not None:
        return tile.left.address, tile.right.address, tile.results, tile.scales, tile.constants
    if instruction.external is None and instruction.indices is None:
        return () if instruction.address is None else (instruction.address,)
    return instruction.address, instruction.external, instruction.indices


def _follows(address: Address | None, index: str) -> bool:
    if address is not None:
        for name, _ in address.steps:
            if name == index:
                return True
    return False


def _unrolled(
    body: Sequence[Node], followers: _Followers, index: str, rounds: int, place: int, timed: bool
) -> tuple[Node, ...]:
    def at(address: Address | None) -> Address | None:
        if address is None or not _follows(address, index):
            return address
        return address.unrolled(index, rounds, place)

    made = list(body)
    for where, inside in followers:
        node = made[where]
        if isinstance(node, Instruction):
            if timed and node.external is not None:
                made[where] = replaced(node, external=node.external.unrolled(index, rounds, place))
            else:
                made[where] = _with_addresses(node, at)
        elif isinstance(node, Loop) and inside is not None:
            within = _unrolled(node.body, inside.followers, index, rounds, place, timed)
            made[where] = Loop(node.count, within, node.index)
    return tuple(made)


def _with_addresses(instruction: Instruction, at: Callable[[Address | None], Address | None]) -> Instruction:
    """An instruction with each of its addresses replaced."""
    tile = instruction.tile
    if tile is not None:
        left, right = (
            replace(lines, address=at(lines.address) or lines.address) for lines in (tile.left, tile.right)
        )
        moved = replace(
            tile, left=left, right=right, results=at(tile.results), scales=at(tile.scales), constants=at(tile.constants)
        )  # fmt: skip
        return replaced(instruction, tile=moved)
    address, external, indices = map(at, (instruction.address, instruction.external, instruction.indices))
    return replaced(instruction, address=address, external=external, indices=indices)
