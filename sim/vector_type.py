"""``vsetvli`` where a Program needs it: vl and vtype are state of the vector unit, which every vector instruction runs under.

An instruction's SEW is the narrow side's. LMUL follows from SEW and vl: the smallest that holds vl elements, but at least SEW / 32. A
memory access has its element width in the mnemonic and wants vl alone, as mask logic and Flex-SFU's loads do: the ratio of width and
register group is the same for every SEW then.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache, lru_cache
from operator import attrgetter
from typing import TypeAlias

from lanewise.config import MachineConfig
from lanewise.isa.operations import OPERATIONS, Rate, Unit
from lanewise.isa.vtype import Vtype
from lanewise.sim.program import Instruction, Loop, Node, Program, is_straight
from lanewise.sim.timing import narrow_bits

State: TypeAlias = tuple[int, int] | None
"""SEW and vl as they are set; ``None``: not known."""

Need: TypeAlias = tuple[int | None, int]
"""SEW, ``None`` for any, and vl that an instruction runs under."""


@cache
def vtype_for(sew: int, vl: int, vlen_bits: int) -> Vtype:
    """SEW with the LMUL that follows from it and ``vl``.

    Raises:
        ValueError: So many elements do not fit a register group.

    >>> [str(vtype_for(16, vl, 1024).lmul) for vl in (1, 32, 64, 65, 512)]
    ['1/2', '1/2', '1', '2', '8']
    """
    registers = max(Fraction(sew, 32), Fraction(sew * vl, vlen_bits))
    lmul = Fraction(1, 8)
    while lmul < registers:
        lmul *= 2
    return Vtype(sew, lmul)


@cache
def _sew_of(opcode: str, widest_bits: int) -> int | None:
    operation = OPERATIONS[opcode]
    if operation.eew_bits or operation.rate is Rate.MASK:
        return None
    return narrow_bits(widest_bits, operation)


def need(instruction: Instruction) -> Need | None:
    """What a vector instruction runs under; ``None`` for all others, and for what sets it.

    >>> need(Instruction(opcode="vle32.v", vl=7)), need(Instruction(opcode="vfwmul.vv", vl=7, sew_bits=32))
    ((None, 7), (16, 7))
    """
    operation = OPERATIONS.get(instruction.opcode)
    if operation is None or operation.unit is Unit.SET:
        return None
    return _sew_of(instruction.opcode, instruction.sew_bits), instruction.vl


KEPT = 1 << 15
"""Instructions in blocks that are remembered for each length of the registers."""
_opcode = attrgetter("opcode")
_wants = attrgetter("opcode", "sew_bits", "vl")
_VECTOR = frozenset(name for name, operation in OPERATIONS.items() if operation.unit is not Unit.SET)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Block:
    """Vector instructions with what they need set."""

    block: Sequence[Node]
    """Kept, so that their ids stay their own."""
    made: tuple[Node, ...]
    end: State
    sets: int
    asked: tuple[tuple[int, int | None], ...]
    """For each vl that was asked for, the SEW that what comes behind the block wants."""


@dataclass(kw_only=True, slots=True)
class _Known:
    """Blocks that were met, by what is set before them and their instructions' ids: kernels write the same code again and again."""

    blocks: dict[tuple[State, tuple[int, ...]], _Block] = field(default_factory=dict)
    kept: int = 0


class _Pass:
    def __init__(self, vlen_bits: int, known: _Known) -> None:
        self._vlen_bits, self._known = vlen_bits, known
        self._loops: dict[int, tuple[tuple[Node, ...], State, State, int]] = {}

    def block(self, body: Sequence[Node], state: State) -> tuple[tuple[Node, ...], State, int]:
        """The nodes with what they need set, what is set behind them, and how often they set it."""
        if body and is_straight(body) and _VECTOR.issuperset(map(_opcode, body)):
            known = self._straight(body, 0, len(body), state)
            return known.made, known.end, known.sets
        made: list[Node] = []
        sets, begin = 0, 0
        for place, node in enumerate((*body, None)):
            if isinstance(node, Instruction) and node.opcode in _VECTOR:
                continue
            if begin < place:
                known = self._straight(body, begin, place, state)
                made += known.made
                state, sets = known.end, sets + known.sets
            begin = place + 1
            if isinstance(node, Loop):
                state, more = self._loop(node, state, made)
                sets += more
            elif node is not None:
                made.append(node)
                sets += isinstance(node, Instruction) and node.opcode == "vsetvli"
        return tuple(made), state, sets

    def _straight(self, body: Sequence[Node], begin: int, end: int, state: State) -> _Block:
        """The vector instructions from ``begin`` to ``end``."""
        block, known = body[begin:end], self._known
        key = state, tuple(map(id, block))
        found = known.blocks.get(key)
        if found is None or any(_next_sew(body[end:], vl)[1] != sew for vl, sew in found.asked):
            if known.kept > KEPT:
                known.blocks, known.kept = {}, 0
            known.kept += len(block)
            found = known.blocks[key] = self._typed(block, body[end:], state)
        return found

    def _typed(self, block: Sequence[Node], behind: Sequence[Node], state: State) -> _Block:
        made: list[Node] = []
        asked: dict[int, int | None] = {}
        begin = 0
        wanted = list(map(_wants, block))
        needs: dict[tuple[str, int, int], Need] = {
            each: (_sew_of(each[0], each[1]), each[2]) for each in dict.fromkeys(wanted)
        }

        def settled() -> bool:
            return state is not None and all(
                vl == state[1] and sew in (None, state[0]) for sew, vl in needs.values()
            )

        for place, each in enumerate(() if settled() else wanted):
            sew, vl = needs[each]
            if state is not None and state[1] == vl and sew in (None, state[0]):
                continue

            def following(place: int = place, vl: int = vl) -> int | None:
                told, wants = _next_sew(block[place + 1 :], vl)
                if not told:
                    wants = asked[vl] = _next_sew(behind, vl)[1]
                return wants

            state = self._chosen(block[place], (sew, vl), state, following)
            made += block[begin:place]
            made.append(_set(*state))
            begin = place
            if settled():
                break
        made += block[begin:]
        return _Block(
            block=block, made=tuple(made), end=state, sets=len(made) - len(block), asked=tuple(asked.items())
        )

    def _chosen(
        self, node: Node, wanted: Need, state: State, following: Callable[[], int | None]
    ) -> tuple[int, int]:
        """SEW and vl to set; where any SEW will do, that of the next instruction that wants one, or the one that is set."""
        sew, vl = wanted
        assert isinstance(node, Instruction)
        if vl > self._vlen_bits:
            raise ValueError(
                f"vlen_bits must be at least the {vl} elements of {node.opcode}, not {self._vlen_bits}"
            )
        limit = 8 * self._vlen_bits // vl if vl else 32
        if sew and sew <= limit:
            return sew, vl
        choices = (following(), state[0] if state else None, OPERATIONS[node.opcode].eew_bits, 8)
        return next(choice for choice in choices if choice and choice <= limit), vl

    def _loop(self, loop: Loop, state: State, made: list[Node]) -> tuple[State, int]:
        """What is set at a loop's top must be so at the first entry and at each repetition."""
        if not loop.count:
            made.append(loop)
            return state, 0
        if id(loop) not in self._loops:
            body, end, sets = self.block(loop.body, None)
            entry: State = None
            if end is not None:
                again, end_again, fewer = self.block(loop.body, end)
                if end_again == end and fewer < sets:  # nothing changes at the top: set before the loop
                    body, entry, sets = again, end, fewer
            self._loops[id(loop)] = body, entry, end, sets
        body, entry, end, sets = self._loops[id(loop)]
        sets *= loop.count
        if entry is not None and state != entry:
            made.append(_set(*entry))
            sets += 1
        made.append(Loop(loop.count, body, loop.index))
        return state if end is None else end, sets


@cache
def _set(sew_bits: int, vl: int) -> Instruction:
    return Instruction(opcode="vsetvli", sew_bits=sew_bits, vl=vl)


def _next_sew(nodes: Sequence[Node], vl: int) -> tuple[bool, int | None]:
    """Whether an instruction wants a SEW, or another vl before that; and the SEW, of the first if it wants this vl as well."""
    for node in nodes:
        if isinstance(node, Loop):
            wanted: Need | None = (_next_sew(node.body, vl)[1], vl)
        elif isinstance(node, Instruction):
            wanted = need(node)
        else:
            continue
        if wanted is None:
            continue
        if wanted[1] != vl:
            return True, None
        if wanted[0] is not None:
            return True, wanted[0]
    return False, None


def weight(body: Sequence[Node]) -> int:
    """How often ``body`` sets vl and vtype.

    >>> weight((Loop(3, (Instruction(opcode="vsetvli"),)), Instruction(opcode="vid.v")))
    3
    """
    total = 0
    for node in body:
        if isinstance(node, Loop):
            total += node.count * weight(node.body)
        elif isinstance(node, Instruction) and node.opcode == "vsetvli":
            total += 1
    return total


def with_vector_types(program: Program, config: MachineConfig) -> Program:
    """``program`` with a ``vsetvli`` before each vector instruction that wants another SEW or vl than is set.

    Raises:
        ValueError: An instruction has more elements than a register group can hold.
    """
    vlen_bits = config.vector.vlen_bits
    body, _, _ = _Pass(vlen_bits, _known(vlen_bits)).block(program.body, None)
    return program.rearranged(body)


@lru_cache(maxsize=4)
def _known(vlen_bits: int) -> _Known:  # noqa: ARG001
    return _Known()
