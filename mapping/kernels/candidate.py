"""Kernels among which the fastest is looked for: each is scheduled and priced only where its bound leaves hope."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

from lanewise.config import MachineConfig
from lanewise.mapping.kernels.bounds import Bound, bound
from lanewise.mapping.kernels.builder import STRIP, Register, VectorKernel
from lanewise.mapping.kernels.price import price
from lanewise.mapping.kernels.schedule import schedule
from lanewise.sim.program import Instruction, Node, Program, flatten_once, repeat

Prepare = Callable[[VectorKernel], list[Register]]
"""Allocates the registers that all strips share, such as a tile's column constants."""

Body = Callable[[VectorKernel, list[Register]], None]
"""Emits one strip's code, given the shared registers."""


class Shared:
    """A body that is a value, a frozen dataclass: what equal ones made is kept."""

    def __call__(self, kernel: VectorKernel, registers: list[Register], /) -> None:
        """Emit one strip's code."""
        raise NotImplementedError

    def prepare(self, _: VectorKernel, /) -> list[Register]:
        """Allocate the registers that all strips share; none if not said otherwise."""
        return []


class Candidate:
    """A kernel whose code is scheduled when it is asked for, and what it takes."""

    def __init__(self, kernel: VectorKernel) -> None:
        self._made = kernel
        self._clocks: dict[int, int] = {}
        self._longer: dict[int, Candidate] = {}

    @cached_property
    def kernel(self) -> VectorKernel:
        """With scheduled code."""
        return replace(self._made, code=schedule(self._made.code, self._made.config))

    @cached_property
    def bound(self) -> Bound:
        """Of the code in any order, and of copies of it in registers of their own."""
        return bound(self._made.setup, self._made.code, self._made.config, ordered=False)

    @cached_property
    def ordered(self) -> Bound:
        """Of the scheduled code."""
        return bound(self.kernel.setup, self.kernel.code, self.kernel.config, ordered=True)

    def clocks(self, rounds: int) -> int:
        """Of so many repetitions, as the engine counts them."""
        if rounds not in self._clocks:
            self._clocks[rounds] = price(strip_program(self.kernel, rounds), self.kernel.config).cycles
        return self._clocks[rounds]

    def longer(self, rounds: int) -> "Candidate":
        """So many repetitions as one, scheduled together."""
        if rounds not in self._longer:
            code = unrolled(self.kernel.code, rounds)
            self._longer[rounds] = Candidate(replace(self.kernel, ways=self.kernel.ways * rounds, code=code))
        return self._longer[rounds]


class Family:
    """Kernels of one strip length, by the number of strips that are interleaved.

    Raises:
        ValueError: A single strip needs more registers than there are.
    """

    def __init__(self, config: MachineConfig, vl: int, body: Body, prepare: Prepare) -> None:
        self.vl = vl
        self._config, self._body, self._prepare = config, body, prepare
        self.alone = self._interleaved(1)
        self._made: dict[int, Candidate | None] = {1: self.alone}

    def interleaved(self, ways: int) -> Candidate | None:
        """So many strips; ``None``: the registers do not hold them."""
        if ways not in self._made:
            try:
                self._made[ways] = self._interleaved(ways)
            except ValueError:
                self._made[ways] = None
        return self._made[ways]

    def _interleaved(self, ways: int) -> Candidate:
        kernel = VectorKernel(config=self._config, vl=self.vl, ways=ways)
        registers = self._prepare(kernel)
        code: list[Instruction] = []
        for kernel.way in range(ways):
            kernel.code = []
            self._body(kernel, registers)
            code += kernel.code
            kernel.used |= kernel.written  # the next copy takes registers of its own
        kernel.code = code
        return Candidate(kernel)


@lru_cache(maxsize=1024)
def shared_family(config: MachineConfig, vl: int, body: Shared) -> Family:
    return Family(config, vl, body, body.prepare)


def family(config: MachineConfig, vl: int, body: Body, prepare: Prepare) -> Family:
    """Kernels of ``body``: those that were made before, and with its own ``prepare``, if it is a value.

    Raises:
        ValueError: As :class:`Family`.
    """
    return shared_family(config, vl, body) if isinstance(body, Shared) else Family(config, vl, body, prepare)


@dataclass(frozen=True, slots=True)
class Choice:
    """So many strips of a family interleaved, in a loop of so many repetitions."""

    family: Family
    ways: int
    rounds: int

    def least(self) -> int:
        """Clocks that it takes at least."""
        return self.family.alone.bound.clocks(self.rounds, self.ways)


def quickest(choices: Sequence[Choice]) -> tuple[int, Candidate] | None:
    """The one of the fewest clocks, of equals the first; ``None``: the registers hold none of them."""
    least = [choice.least() for choice in choices]
    best: tuple[int, int] | None = None
    found: Candidate | None = None
    # of those that promise as much, more strips tend to keep it
    for index in sorted(range(len(choices)), key=lambda index: (least[index], -choices[index].ways, index)):
        choice = choices[index]
        if best is not None and (least[index], index) > best:
            continue
        candidate = choice.family.interleaved(choice.ways)
        if candidate is None:
            continue
        if best is not None and (candidate.ordered.clocks(choice.rounds), index) > best:
            continue
        clocks = candidate.clocks(choice.rounds), index
        if best is None or clocks < best:
            best, found = clocks, candidate
    return None if best is None or found is None else (best[0], found)


def unrolled(code: Iterable[Instruction], rounds: int, index: str = STRIP) -> list[Instruction]:
    """``rounds`` repetitions of a loop's body as one."""
    code = list(code)
    return [
        instruction
        if instruction.address is None
        else replace(instruction, address=instruction.address.unrolled(index, rounds, place))
        for place in range(rounds)
        for instruction in code
    ]


def strip_program(kernel: VectorKernel, strips: int) -> Program:
    """``strips`` repetitions of a kernel on buffers of no particular size."""
    body: tuple[Node, ...] = (*kernel.setup, *repeat(strips, *kernel.code, index=STRIP))
    names = {n for i in flatten_once(body) for n in (*i.reads, *i.writes) if n.startswith("@")}
    return Program(body=body, buffers_bytes=dict.fromkeys(names, 1))
