"""A circuit over several clocks, as clauses of a SAT solver."""

from collections.abc import Sequence

from pysat.solvers import Solver

from lanewise.verify.formal.circuit import Circuit


class Unrolling:
    """Clocks of a circuit, one after the other, in an incremental solver (CaDiCaL 1.9.5).

    Gates that compute the same share a variable, within a clock and across clocks. Only what the properties
    depend on becomes clauses. Literals are the solver's: positive or negative integers; ``TRUE`` is 1.
    """

    TRUE = 1

    def __init__(self, circuit: Circuit, *, reset: bool) -> None:
        """``reset``: the first clock's registers have their first values; else all of them may have any."""
        self._circuit = circuit
        self._solver = Solver(name="cadical195", bootstrap_with=[[self.TRUE]])
        self._variables = 1
        self._gates: dict[tuple[int, int], int] = {}
        self._operands: dict[int, tuple[int, int]] = {}
        self._written: set[int] = set()
        self.clocks: list[list[int]] = []
        """Of each clock, the literal of each of the circuit's variables."""
        states = [
            self._new() if first is None or not reset else (self.TRUE if first else -self.TRUE)
            for _, _, first in circuit.registers
        ]
        self._add(states)

    def close(self) -> None:
        """Free the solver."""
        self._solver.delete()

    def step(self) -> None:
        """Add a clock."""
        self._add([self._in(len(self.clocks) - 1, following) for _, following, _ in self._circuit.registers])

    def output(self, name: str, clk: int) -> int:
        """The literal of an output in a clock."""
        return self._in(clk, self._circuit.outputs[name])

    def require(self, literal: int) -> None:
        """From now on, consider only what makes the literal true."""
        self._write(literal)
        self._solver.add_clause([literal])

    def can_be(self, literal: int) -> bool:
        """Whether the literal can be true, all that is required being true."""
        if literal in (self.TRUE, -self.TRUE):
            return literal == self.TRUE and bool(self._solver.solve())
        self._write(literal)
        return bool(self._solver.solve(assumptions=[literal]))

    def trace(self) -> list[dict[str, int]]:
        """After :meth:`can_be` said yes: the bits of inputs, registers and outputs in each clock, by name."""
        model = {abs(value): value > 0 for value in self._solver.get_model() or ()}
        memo: dict[int, bool] = {self.TRUE: True}

        def value(literal: int) -> int:
            variable = abs(literal)
            if variable not in memo:
                stack = [variable]
                while stack:
                    top = stack[-1]
                    if top in memo:
                        stack.pop()
                    elif top not in self._operands:
                        memo[top] = model.get(top, False)
                    else:
                        waiting = [abs(v) for v in self._operands[top] if abs(v) not in memo]
                        stack += waiting
                        if not waiting:
                            memo[top] = all(memo[abs(v)] == (v > 0) for v in self._operands[top])
            return int(memo[variable] == (literal > 0))

        names = (*self._circuit.inputs, *(name for name, _, _ in self._circuit.registers))
        return [
            {name: value(literal) for name, literal in zip(names, bits[1:], strict=False)}
            | {name: value(self.output(name, clk)) for name in self._circuit.outputs}
            for clk, bits in enumerate(self.clocks)
        ]

    def _add(self, states: Sequence[int]) -> None:
        bits = [-self.TRUE, *(self._new() for _ in self._circuit.inputs), *states]
        for one, two in self._circuit.gates:
            a = bits[one >> 1] * (1 - 2 * (one & 1))
            b = bits[two >> 1] * (1 - 2 * (two & 1))
            bits.append(self._and(a, b))
        self.clocks.append(bits)

    def _in(self, clk: int, literal: int) -> int:
        return self.clocks[clk][literal >> 1] * (1 - 2 * (literal & 1))

    def _new(self) -> int:
        self._variables += 1
        return self._variables

    def _and(self, a: int, b: int) -> int:
        if a > b:
            a, b = b, a
        if a == -b or -self.TRUE in (a, b):
            return -self.TRUE
        if a == b or b == self.TRUE:
            return a
        if a == self.TRUE:
            return b
        found = self._gates.get((a, b))
        if found is None:
            found = self._gates[a, b] = self._new()
            self._operands[found] = (a, b)
        return found

    def _write(self, literal: int) -> None:
        """Give the solver the gates that the literal depends on."""
        stack = [abs(literal)]
        while stack:
            variable = stack.pop()
            if variable in self._written or variable not in self._operands:
                continue
            self._written.add(variable)
            a, b = self._operands[variable]
            for clause in ([-variable, a], [-variable, b], [variable, -a, -b]):
                self._solver.add_clause(clause)
            stack += [abs(a), abs(b)]
