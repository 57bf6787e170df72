"""A multiply-add's result is that of its own beat's operands: read off the netlist, without a solver.

If every path from operands to result has as many registers as the pipeline has stages, and all those registers stand
still in the same clocks and advance in all others, a result depends on the operands of one beat alone, the one that
was accepted as many advances ago; the streams' proofs say that the beat beside it is that one. (What the result is, the
benches compare.)
"""

from collections.abc import Sequence

from lanewise.formats import NumberFormat
from lanewise.rtl.multiply_add import MultiplyAdd
from lanewise.verify.formal.circuit import Circuit, circuit_of
from lanewise.verify.formal.harness import Harness
from lanewise.verify.formal.prover import Verdict

_CONTROL = ("clk", "rst", "i__valid", "o__ready", "mark")


def results_verdict(formats: Sequence[NumberFormat]) -> Verdict:
    """Check a multiply-add of one lane."""
    component = MultiplyAdd(lanes=1, formats=formats, zero_annihilates=True)
    harness = Harness(component)
    harness.show("valid", component.o.valid)
    harness.show("y", component.o.p.y[0])
    circuit = circuit_of(harness.rtlil())
    return balanced(circuit, latency_clk=component.latency_clk)


def balanced(circuit: Circuit, *, latency_clk: int) -> Verdict:
    """Check that every bit of the output ``y`` is ``latency_clk`` registers behind the inputs.

    The registers must stand still while the output ``valid`` (a register) is 1 and the input ``o__ready`` 0.
    """
    names = (*circuit.inputs, *(name for name, _, _ in circuit.registers))
    ready, valid = 1 + circuit.inputs.index("o__ready"), circuit.outputs["valid"] >> 1
    cases = ({ready: 1}, {valid: 0})
    moving = [_Cofactor(circuit, case) for case in cases]
    standing = _Cofactor(circuit, {ready: 0, valid: 1})
    first_register = 1 + len(circuit.inputs)
    following = {first_register + k: literal for k, (_, literal, _) in enumerate(circuit.registers)}

    free = _Cofactor(circuit, {})
    layer = set().union(*(free.support(bit) for name, bit in circuit.outputs.items() if name.startswith("y")))
    seen: set[int] = set()
    for stage in range(latency_clk, 0, -1):
        for variable in sorted(layer):
            if variable not in following or variable in seen:
                return _failed(
                    f"{names[variable - 1]} has another distance from the results than {latency_clk - stage}"
                )
            if standing.literal(following[variable]) != 2 * variable:
                return _failed(f"{names[variable - 1]} changes while the result is not taken")
        seen |= layer
        layer = set().union(*(case.support(following[variable]) for variable in layer for case in moving))
    for variable in sorted(layer):
        name = names[variable - 1]
        if variable in following or name.split("[")[0] in _CONTROL:
            return _failed(
                f"{name} reaches the results, but is no operand {latency_clk} registers before them"
            )
    return Verdict(proved=len(seen), failed=())


def _failed(reason: str) -> Verdict:
    return Verdict(proved=0, failed=("balanced",), reason=reason)


class _Cofactor:
    """A circuit in which some variables are constants."""

    def __init__(self, circuit: Circuit, constants: dict[int, int]) -> None:
        self._first_gate = 1 + len(circuit.inputs) + len(circuit.registers)
        self._literals = [0, *(constants.get(k, 2 * k) for k in range(1, self._first_gate))]
        self._operands: dict[int, tuple[int, int]] = {}
        found: dict[tuple[int, int], int] = {}
        for one, two in circuit.gates:
            a, b = sorted((self.literal(one), self.literal(two)))
            if a == 0 or a == b ^ 1:
                value = 0
            elif a == 1 or a == b:
                value = b
            else:
                value = found.setdefault((a, b), 2 * (self._first_gate + len(found)))
                self._operands[value >> 1] = (a, b)
            self._literals.append(value)

    def literal(self, literal: int) -> int:
        """What a literal of the circuit has become."""
        return self._literals[literal >> 1] ^ (literal & 1)

    def support(self, literal: int) -> frozenset[int]:
        """Inputs and registers that a literal of the circuit depends on, by structure."""
        reached: set[int] = set()
        seen: set[int] = set()
        stack = [self.literal(literal) >> 1]
        while stack:
            variable = stack.pop()
            if variable == 0 or variable in seen:
                continue
            seen.add(variable)
            if variable in self._operands:
                stack += [operand >> 1 for operand in self._operands[variable]]
            else:
                reached.add(variable)
        return frozenset(reached)
