"""A graph whose operators can be replaced."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from lanewise.mapping.graph import Attribute, Graph, Operator, Value

_GAP = 16


class Rewriter:
    """Operators of a graph in the order of execution, some of them replaced or gone; who reads each value.

    Their numbers have gaps, into which new ones go. An operator in the place of others has the number of their last.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self.operators: dict[int, Operator] = {
            _GAP * operator.index: replace(operator, index=_GAP * operator.index)
            for operator in graph.operators
        }
        self.values: list[Value] = [
            value if value.producer is None else replace(value, producer=_GAP * value.producer)
            for value in graph.values
        ]
        self.results = list(graph.outputs)
        self.readers: dict[int, set[int]] = {}
        for operator in self.operators.values():
            self._read(operator)

    def shape(self, value: int) -> tuple[int, ...]:
        """Shape of a value."""
        return self.values[value].shape

    def computed(self, value: int) -> bool:
        """Whether it depends on an input of the network."""
        return self.values[value].origin in ("input", "operator")

    def producer(self, value: int) -> Operator | None:
        """The operator that computes a value now; ``None``: an input, a parameter or a constant."""
        index = self.values[value].producer
        return None if index is None else self.operators.get(index)

    def only_reader(self, value: int) -> Operator | None:
        """The one operator that reads a value; ``None`` if there are several or none, or the network returns it."""
        found = self.readers.get(value, set())
        return self.operators[next(iter(found))] if len(found) == 1 and value not in self.results else None

    def replace(
        self, members: Iterable[int], last: Operator, kind: str, function: str, inputs: tuple[int, ...],
        attributes: Mapping[str, Attribute],
    ) -> Operator:  # fmt: skip
        """Put one operator in the place of ``members``, whose last is ``last`` and computes the same value."""
        for index in members:
            self._forget(self.operators.pop(index))
        made = replace(last, kind=kind, function=function, inputs=inputs, attributes=dict(attributes))
        self.operators[made.index] = made
        self._read(made)
        return made

    def put(
        self, after: Operator, kind: str, function: str, attributes: Mapping[str, Attribute], name: str,
        shape: tuple[int, ...] | None = None,
    ) -> Operator:  # fmt: skip
        """A new operator of one operand behind ``after``, which gets a value of its own, of another ``shape`` if one is given; the new one
        computes what ``after`` did."""
        out, index = after.outputs[0], after.index + 1
        self._make_room(index)
        inner = replace(self.values[out], id=len(self.values), name="", shape=shape or self.shape(out))
        self.values.append(inner)
        self.values[out] = replace(self.values[out], producer=index)
        self.operators[after.index] = replace(after, outputs=(inner.id, *after.outputs[1:]))
        made = Operator(
            index=index, name=name, kind=kind, function=function, inputs=(inner.id,), outputs=(out,), attributes=dict(attributes)
        )  # fmt: skip
        self.operators[index] = made
        self._read(made)
        return made

    def insert(
        self, before: Operator, inputs: tuple[int, ...], shape: tuple[int, ...], attributes: Mapping[str, Attribute]
    ) -> int:  # fmt: skip
        """A view before ``before``; returns its value."""
        index = before.index - _GAP // 2
        while index in self.operators:
            index += 1
        value = replace(
            self.values[inputs[0]],
            id=len(self.values),
            name="",
            shape=shape,
            producer=index,
            origin="operator",
        )
        self.values.append(value)
        name = f"{before.name}.view{value.id}"
        self.operators[index] = Operator(
            index=index, name=name, kind="movement", function="view", inputs=inputs, outputs=(value.id,), attributes=dict(attributes)
        )  # fmt: skip
        self._read(self.operators[index])
        return value.id

    def read_others(self, operator: Operator, inputs: tuple[int, ...]) -> None:
        """``operator`` reads ``inputs`` instead of its operands."""
        self._forget(operator)
        self.operators[operator.index] = replace(operator, inputs=inputs)
        self._read(self.operators[operator.index])

    def remove(self, operator: Operator) -> None:
        """Take out an operator whose result nobody reads."""
        self._forget(self.operators.pop(operator.index))

    def drop(self, operator: Operator, source: int) -> None:
        """Readers of an operator's result read ``source`` instead."""
        (out,) = operator.outputs
        self._forget(self.operators.pop(operator.index))
        for index in self.readers.pop(out, set()):
            self._reread(index, out, source)
        self.results = [source if value == out else value for value in self.results]

    def graph(self) -> tuple[Graph, dict[int, int]]:
        """The graph, and the new ids of the values that are left."""
        ordered = [self.operators[index] for index in sorted(self.operators)]
        used = {i for operator in ordered for i in (*operator.inputs, *operator.outputs)} | set(self.results)
        kept = [value for value in self.values if value.id in used or value.origin == "input"]
        place = {value.id: number for number, value in enumerate(kept)}
        produced = {out: number for number, operator in enumerate(ordered) for out in operator.outputs}
        graph = replace(
            self._graph,
            operators=tuple(
                replace(
                    operator, index=number, inputs=tuple(place[i] for i in operator.inputs),
                    outputs=tuple(place[i] for i in operator.outputs),
                )
                for number, operator in enumerate(ordered)
            ),
            values=tuple(
                replace(value, id=place[value.id], producer=produced.get(value.id)) for value in kept
            ),
            outputs=tuple(dict.fromkeys(place[value] for value in self.results)),
        )  # fmt: skip
        return graph, place

    def _make_room(self, index: int) -> None:
        """Nothing has this number, as those from it on have one more."""
        last = index
        while last in self.operators:
            last += 1
        for old in range(last - 1, index - 1, -1):
            operator = self.operators.pop(old)
            self._forget(operator)
            self.operators[old + 1] = replace(operator, index=old + 1)
            self._read(self.operators[old + 1])
            for value in operator.outputs:
                self.values[value] = replace(self.values[value], producer=old + 1)

    def _read(self, operator: Operator) -> None:
        for value in operator.inputs:
            self.readers.setdefault(value, set()).add(operator.index)

    def _forget(self, operator: Operator) -> None:
        for value in operator.inputs:
            self.readers[value].discard(operator.index)

    def _reread(self, index: int, old: int, new: int) -> None:
        operator = self.operators[index]
        inputs = tuple(new if value == old else value for value in operator.inputs)
        self.operators[index] = replace(operator, inputs=inputs)
        self.readers.setdefault(new, set()).add(index)
