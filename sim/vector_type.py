"""``vsetvli`` where a Program needs it: vl and vtype are state of the vector unit, which every vector instruction runs under.

An instruction's SEW is the narrow side's. LMUL follows from SEW and vl: the smallest that holds vl elements, but at least SEW / 32. A
memory access has its element width in the mnemonic and wants vl alone, as mask logic and Flex-SFU's loads do: the ratio of width and
register group is the same for every SEW then.
"""

from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from typing import TypeAlias

from lanewise.config import MachineConfig
from lanewise.isa.operations import OPERATIONS, Rate, Unit
from lanewise.isa.vtype import Vtype
from lanewise.sim.program import Instruction, Loop, Node, Program
from lanewise.sim.timing import sew_bits

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
    return sew_bits(Instruction(opcode=opcode, sew_bits=widest_bits), operation)


def need(instruction: Instruction) -> Need | None:
    """What a vector instruction runs under; ``None`` for all others, and for what sets it.

    >>> need(Instruction(opcode="vle32.v", vl=7)), need(Instruction(opcode="vfwmul.vv", vl=7, sew_bits=32))
    ((None, 7), (16, 7))
    """
    operation = OPERATIONS.get(instruction.opcode)
    if operation is None or operation.unit is Unit.SET:
        return None
    return _sew_of(instruction.opcode, instruction.sew_bits), instruction.vl


class _Pass:
    def __init__(self, vlen_bits: int) -> None:
        self._vlen_bits = vlen_bits
        self._loops: dict[int, tuple[tuple[Node, ...], State, State]] = {}

    def block(self, body: Sequence[Node], state: State) -> tuple[tuple[Node, ...], State]:
        """The nodes with what they need set, and what is set behind them."""
        made: list[Node] = []
        for place, node in enumerate(body):
            if isinstance(node, Loop):
                state = self._loop(node, state, made)
            elif isinstance(node, Instruction) and (wanted := need(node)) is not None:
                sew, vl = wanted
                if state is None or state[1] != vl or sew not in (None, state[0]):
                    state = self._chosen(node, wanted, state, body[place + 1 :])
                    made.append(_set(state))
                made.append(node)
            else:
                made.append(node)
        return tuple(made), state

    def _chosen(
        self, node: Instruction, wanted: Need, state: State, behind: Sequence[Node]
    ) -> tuple[int, int]:
        """SEW and vl to set; where any SEW will do, that of the next instruction that wants one, or the one that is set."""
        sew, vl = wanted
        if vl > self._vlen_bits:
            raise ValueError(
                f"vlen_bits must be at least the {vl} elements of {node.opcode}, not {self._vlen_bits}"
            )
        limit = 8 * self._vlen_bits // vl if vl else 32
        choices = (
            sew,
            _next_sew(behind, vl),
            state[0] if state else None,
            OPERATIONS[node.opcode].eew_bits,
            8,
        )
        return next(choice for choice in choices if choice and choice <= limit), vl

    def _loop(self, loop: Loop, state: State, made: list[Node]) -> State:
        """What is set at a loop's top must be so at the first entry and at each repetition."""
        if not loop.count:
            made.append(loop)
            return state
        if id(loop) not in self._loops:
            body, end = self.block(loop.body, None)
            entry: State = None
            if end is not None:
                again, end_again = self.block(loop.body, end)
                if end_again == end and weight(again) < weight(
                    body
                ):  # nothing changes at the top: set before the loop
                    body, entry = again, end
            self._loops[id(loop)] = body, entry, end
        body, entry, end = self._loops[id(loop)]
        if entry is not None and state != entry:
            made.append(_set(entry))
        made.append(Loop(loop.count, body, loop.index))
        return state if end is None else end


def _set(state: tuple[int, int]) -> Instruction:
    return Instruction(opcode="vsetvli", sew_bits=state[0], vl=state[1])


def _next_sew(nodes: Sequence[Node], vl: int) -> int | None:
    """SEW of the first instruction that wants one, if it wants this vl as well."""
    for node in nodes:
        if isinstance(node, Loop):
            wanted: Need | None = (_next_sew(node.body, vl), vl)
        elif isinstance(node, Instruction):
            wanted = need(node)
        else:
            continue
        if wanted is None:
            continue
        if wanted[1] != vl:
            return None
        if wanted[0] is not None:
            return wanted[0]
    return None


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
    body, _ = _Pass(config.vector.vlen_bits).block(program.body, None)
    return Program(body=body, buffers_bytes=program.buffers_bytes)
