"""A graph while it grows: values and operators are appended; what reads no input is folded."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from lanewise.mapping.constants import Constants
from lanewise.mapping.graph import Attribute, Graph, Operator, Origin, Value, operator_macs
from lanewise.mapping.names import ModulePath


class GraphBuilder:
    """Values and operators in the order of execution.

    Args:
        path: Names the operators.
    """

    def __init__(self, path: ModulePath) -> None:
        self.constants = Constants()
        self._path = path
        self._values: list[Value] = []
        self._operators: list[Operator] = []
        self._folded: dict[str, int] = {}
        self._folded_macs = 0
        self._held: dict[int, Tensor] = {}
        self.known: dict[int, Tensor] = {}
        """What was folded, by the id of its value in the graph, if the network ran on real numbers."""

    def leaf(self, tensor: Tensor, origin: Origin, name: str = "", producer: int | None = None) -> int:
        """A new value of ``tensor``'s shape and type; returns its id."""
        value = Value(
            id=len(self._values), shape=tuple(tensor.shape), dtype=str(tensor.dtype).removeprefix("torch."),
            producer=producer, origin=origin, name=name,
        )  # fmt: skip
        self._values.append(value)
        return value.id

    def emit(
        self, kind: str, function: str, reads: Sequence[int], results: Sequence[Tensor],
        attributes: Mapping[str, Attribute], *, label: str, foldable: bool = True,
    ) -> list[int]:  # fmt: skip
        """Append an operator, or fold it if it reads no input; returns the ids of its results.

        Args:
            reads: Values of the operands.
            results: Tensors that the results are like.
            label: The operator's own name, for the count of what was folded.
            foldable: Whether the same operands always give the same results.
        """
        if foldable and not self.computed(reads):
            return self._fold(kind, reads, results, attributes, label)
        index = len(self._operators)
        outputs = [self.leaf(tensor, "operator", "", index) for tensor in results]
        shown = str(attributes["operation"]) if kind == "movement" else function or kind
        self._operators.append(
            Operator(
                index=index, name=self._path.name(shown, is_view=function == "view"), kind=kind,
                function=function,
                inputs=tuple(reads), outputs=tuple(outputs), attributes=attributes,
            )
        )  # fmt: skip
        return outputs

    def computed(self, reads: Sequence[int]) -> bool:
        """Whether one of the values depends on an input."""
        return any(self._values[i].origin in ("input", "operator") for i in reads)

    def constant(self, value: int) -> bool:
        """Whether the value depends on no input and no parameter."""
        return self._values[value].origin == "constant"

    def number(self, value: int) -> float | None:
        """The one number that a constant without a name holds in all of its places, if it is known."""
        found = self._values[value]
        if found.origin != "constant" or found.name:
            return None
        return self.constants.number(value, found.size)

    def graph(self, model: str, versions: Mapping[str, str], results: Sequence[int]) -> Graph:
        """The graph so far. Values that nobody reads are left out."""
        used = {i for operator in self._operators for i in (*operator.inputs, *operator.outputs)} | set(
            results
        )
        kept = [value for value in self._values if value.id in used or value.origin == "input"]
        place = {value.id: index for index, value in enumerate(kept)}
        held = self.constants.known | self._held
        self.known = {place[value]: tensor for value, tensor in held.items() if value in place}
        return Graph(
            model=model,
            versions=versions,
            operators=tuple(
                Operator(
                    index=o.index, name=o.name, kind=o.kind, function=o.function, attributes=o.attributes,
                    inputs=tuple(place[i] for i in o.inputs), outputs=tuple(place[i] for i in o.outputs),
                )
                for o in self._operators
            ),
            values=tuple(
                Value(
                    id=place[v.id], shape=v.shape, dtype=v.dtype, producer=v.producer, origin=v.origin,
                    name=v.name
                )
                for v in kept
            ),
            outputs=tuple(place[i] for i in results),
            folded=self._folded,
            folded_macs=self._folded_macs,
        )  # fmt: skip

    def _fold(
        self,
        kind: str,
        reads: Sequence[int],
        results: Sequence[Tensor],
        attributes: Mapping[str, Attribute],
        label: str,
    ) -> list[int]:
        self._folded[label] = self._folded.get(label, 0) + 1
        origins = {self._values[i].origin for i in reads}
        origin: Origin = "parameter" if "parameter" in origins else "constant"
        name = self._values[reads[0]].name if len(reads) == 1 else ""
        outputs = [self.leaf(tensor, origin, name) for tensor in results]
        self._held |= {value: tensor.clone() for value, tensor in zip(outputs, results) if not tensor.is_meta}
        folded = Operator(
            index=0, name=label, kind=kind, inputs=tuple(reads), outputs=tuple(outputs), attributes=attributes
        )
        self._folded_macs += operator_macs(folded, self._values)
        return outputs
