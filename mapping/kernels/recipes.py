"""Vector code of a :class:`~lanewise.models.recipe.Recipe`: registers by liveness, one instruction an operation.

A multiply-add overwrites one of its operands. Where both are wanted later, one is copied first, by the ALU, which has little else to do.
"""

from collections import Counter, deque
from collections.abc import Callable

from lanewise.mapping.kernels.builder import Register, VectorKernel
from lanewise.models.recipe import Place, Recipe, Step
from lanewise.sim.program import Address

REGISTERS = 32


class RecipeCode:
    """Writes recipes into a kernel; the registers of the one before are taken up again in the order in which they were given back.

    Args:
        kernel: Its ``vl`` is every recipe's.
        place: Where a place's elements are.
        bits: Width of the widest element.
    """

    def __init__(self, kernel: VectorKernel, place: Callable[[Place], Address], bits: int = 32) -> None:
        self.kernel, self.place = kernel, place
        length = kernel.lmul(bits)
        self.free = deque(Register(first=first, length=length) for first in range(length, REGISTERS - length + 1, length))  # fmt: skip
        self.fewest = len(self.free)

    def emit(self, recipe: Recipe) -> None:
        """Append its instructions.

        Raises:
            ValueError: It needs more registers than there are.
        """
        self.recipe = recipe
        self.uses = Counter(source for step in recipe.steps for source in step.sources)
        self.values: dict[int, Register] = {}
        for number, step in enumerate(recipe.steps):
            self._step(number, step)
        assert not self.values

    def _take(self) -> Register:
        if not self.free:
            raise ValueError("vl must leave registers free: a recipe needs more than there are")
        taken = self.free.popleft()
        self.fewest = min(self.fewest, len(self.free))
        return taken

    def _dies(self, value: int) -> bool:
        return self.uses[value] == 0

    def _step(self, number: int, step: Step) -> None:
        for source in step.sources:
            self.uses[source] -= 1
        registers = [self.values[source] for source in step.sources]
        if step.name == "load":
            assert step.place is not None
            made = self.kernel.load(self.place(step.place), sew_bits=step.bits, into=self._take())
        elif step.name == "store":
            assert step.place is not None
            self.kernel.store(self.place(step.place), registers[0], sew_bits=step.bits)
            made = None
        elif step.name in _PLAIN:
            made = self._emit(_PLAIN[step.name], *registers, into=self._take(), step=step)
        elif step.name in ("widen", "narrow"):
            into = self._take()
            opcode = "vfwcvt.f.f.v" if step.name == "widen" else "vfncvt.f.f.w"
            wide = 32 if step.name == "narrow" else 16
            made = self.kernel.emit(opcode, registers[0], into=into, sew_bits=wide, result_bits=48 - wide)
        elif step.name == "integer":
            made = self.kernel.emit(
                "vfncvt.x.f.w", registers[0], into=self._take(), sew_bits=16, result_bits=8
            )
        else:
            made = self._fused(step, registers)
        kept = {register.first for register in (made,) if register is not None}
        for source in dict.fromkeys(step.sources):
            if self._dies(source):
                register = self.values.pop(source)
                if register.first not in kept:
                    self.free.append(register)
        if made is not None:
            if self.uses[number]:
                self.values[number] = made
            else:
                self.free.append(made)

    def _emit(self, opcode: str, *sources: Register, into: Register, step: Step) -> Register:
        constant = step.constant if opcode.endswith("f") else None
        return self.kernel.emit(opcode, *sources, into=into, sew_bits=self.recipe.bits, constant=constant)

    def _fused(self, step: Step, registers: list[Register]) -> Register:
        """Into the addend if it is not wanted any more, else into a factor, else into a copy of the addend."""
        onto, through = _FUSED[step.name]
        addend, *factors = registers
        if not self._dies(step.sources[0]):
            for place, source in enumerate(step.sources[1:]):
                if self._dies(source) and step.sources.count(source) == 1:
                    others = [factor for k, factor in enumerate(factors) if k != place]
                    return self._emit(through, *others, addend, into=factors[place], step=step)
        if not self._dies(step.sources[0]) or step.sources.count(step.sources[0]) > 1:
            addend = self.kernel.emit("vmv.v.v", addend, into=self._take(), sew_bits=self.recipe.bits)
        return self._emit(onto, *factors, into=addend, step=step)


_PLAIN = {
    "add": "vfadd.vv", "subtract": "vfsub.vv", "multiply": "vfmul.vv", "times": "vfmul.vf", "plus": "vfadd.vf",
    "constant": "vfmv.v.f", "estimate": "vfrec7.v",
}  # fmt: skip
_FUSED = {
    "add times": ("vfmacc.vf", "vfmadd.vf"), "times subtract": ("vfmsac.vf", "vfmsub.vf"), "add product": ("vfmacc.vv", "vfmadd.vv"),
    "subtract product": ("vfnmsac.vv", "vfnmsub.vv"), "product subtract": ("vfmsac.vv", "vfmsub.vv"),
}  # fmt: skip
"""Onto the addend, and onto a factor."""
