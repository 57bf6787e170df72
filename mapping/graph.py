"""A network as operators with shapes: what the tracer writes and the lowering reads. No torch here."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, Literal, TypeAlias, get_args

Scalar: TypeAlias = int | float | str | bool
Attribute: TypeAlias = Scalar | tuple[Scalar, ...]
Origin: TypeAlias = Literal["input", "parameter", "constant", "operator"]

KINDS = (
    "convolution", "matmul", "softmax", "normalise", "pool", "elementwise", "reduce", "embedding", "movement",
    "recurrent", "other",
)  # fmt: skip
"""The canonical kinds; docs of the attributes of each: :mod:`lanewise.mapping.canonical`."""

SCHEMA = 1
"""Version of the JSON form; a file of another version is refused."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Value:
    """One tensor: an input of the network, a parameter, a constant, or what an operator computes.

    What is computed from parameters alone counts as a parameter, and from constants alone as a constant:
    both are folded once, at compile time.
    """

    id: int
    """Place in :attr:`Graph.values`."""
    shape: tuple[int, ...]
    dtype: str
    """``float32``, ``int64``, ``bool``, ...: torch's name."""
    producer: int | None = None
    """Index of the operator that computes it; ``None`` unless ``origin`` is ``operator``."""
    origin: Origin
    name: str = ""
    """Name of the input, or path of the parameter; may be empty."""

    def __post_init__(self) -> None:
        if any(side < 0 for side in self.shape):
            raise ValueError(f"shape must have no negative side, not {self.shape!r}")
        if self.origin not in _ORIGINS:
            raise ValueError(f"origin must be one of {_ORIGINS}, not {self.origin!r}")
        if (self.producer is not None) != (self.origin == "operator"):
            raise ValueError(
                f"producer must go with origin operator alone, not {self.producer!r} with {self.origin!r}"
            )

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)


@dataclass(frozen=True, kw_only=True, slots=True)
class Operator:
    """One operator in canonical form."""

    index: int
    """Place in :attr:`Graph.operators`, which is the order of execution."""
    name: str
    """Module path, such as ``layer1.0.conv1``; made unique by ``#2``, ``#3``, ..."""
    kind: str
    """One of :data:`KINDS`."""
    function: str = ""
    inputs: tuple[int, ...]
    """Ids of the values read, in the order of the operands."""
    outputs: tuple[int, ...]
    """Ids of the values computed."""
    attributes: Mapping[str, Attribute] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, not {self.kind!r}")

    def number(self, attribute: str) -> int:
        """An integer attribute.

        Raises:
            ValueError: It is absent or no integer.
        """
        value = self.attributes.get(attribute)
        if not isinstance(value, int):
            raise ValueError(f"{self.name}: attribute {attribute} must be an integer, not {value!r}")
        return value


@dataclass(frozen=True, kw_only=True)
class Graph:
    """A network with the shapes of one run.

    >>> x = Value(id=0, shape=(2, 3), dtype="float32", origin="input")
    >>> y = Value(id=1, shape=(2, 3), dtype="float32", origin="operator", producer=0)
    >>> relu = Operator(index=0, name="relu", kind="elementwise", function="relu", inputs=(0,), outputs=(1,))
    >>> graph = Graph(model="tiny", operators=(relu,), values=(x, y), outputs=(1,))
    >>> graph.inputs
    {'0': (2, 3)}
    >>> Graph.from_json(graph.to_json()) == graph
    True
    """

    model: str
    versions: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Versions of the packages that it was traced with."""
    operators: tuple[Operator, ...]
    values: tuple[Value, ...]
    outputs: tuple[int, ...] = ()
    """Ids of the values that the network returns."""
    folded: Mapping[str, int] = field(default_factory=dict, hash=False)
    """Operators that read no input, by aten name, with how often each ran: folded at compile time."""
    folded_macs: int = 0
    """Multiply-accumulates of the folded operators; not part of :attr:`macs`."""
    parameters: int = 0
    """Elements of the network's parameters, shared ones once, also of those that were folded; 0 if nobody has counted them."""

    def __post_init__(self) -> None:
        produced = {}
        for place, value in enumerate(self.values):
            if value.id != place:
                raise ValueError(f"values must be numbered in order: value {value.id} is at place {place}")
            if value.producer is not None:
                produced[place] = value.producer
        known = {value.id for value in self.values if value.producer is None}
        for place, operator in enumerate(self.operators):
            if operator.index != place:
                raise ValueError(f"operators must be numbered in order: {operator.index} is at place {place}")
            if missing := [i for i in operator.inputs if i not in known]:
                raise ValueError(f"{operator.name}: inputs must be computed before they are read: {missing}")
            if wrong := [o for o in operator.outputs if o in known or produced.get(o) != place]:
                raise ValueError(f"{operator.name}: outputs must name it as their one producer: {wrong}")
            known.update(operator.outputs)
        if absent := [o for o in (*self.outputs, *produced) if o not in known]:
            raise ValueError(f"results and produced values must be computed by an operator: {absent}")

    @property
    def inputs(self) -> dict[str, tuple[int, ...]]:
        """Shape of every input, by name (by id where it has none)."""
        return {value.name or str(value.id): value.shape for value in self.values if value.origin == "input"}

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all convolutions and matrix products."""
        return sum(operator_macs(operator, self.values) for operator in self.operators)

    @property
    def hash(self) -> str:
        """Hash of the content: operators, values and results; not of the versions, and not the count of parameters."""
        content = {
            key: value
            for key, value in self._plain().items()
            if key not in ("versions", "schema", "parameters")
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True, allow_nan=False).encode()).hexdigest()[:16]

    def kinds(self) -> dict[str, int]:
        """How often each kind, with its function, appears; the most frequent first."""
        counts: dict[str, int] = {}
        for operator in self.operators:
            label = f"{operator.kind}.{operator.function}" if operator.function else operator.kind
            counts[label] = counts.get(label, 0) + 1
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(self._plain(), separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> "Graph":
        """Read what :meth:`to_json` wrote.

        Raises:
            ValueError: The text is no such JSON, of another schema, or not consistent.
        """
        try:
            plain = json.loads(text)
            if plain["schema"] != SCHEMA:
                raise ValueError(f"schema must be {SCHEMA}, not {plain['schema']!r}")
            return cls(
                model=plain["model"],
                versions=plain["versions"],
                operators=tuple(
                    Operator(
                        index=index, name=name, kind=kind, function=function,
                        inputs=tuple(inputs), outputs=tuple(outputs),
                        attributes={key: _from_plain(value) for key, value in attributes.items()},
                    )
                    for index, (name, kind, function, inputs, outputs, attributes)
                    in enumerate(plain["operators"])
                ),
                values=tuple(
                    Value(
                        id=index, shape=tuple(shape), dtype=dtype, producer=producer, origin=origin, name=name
                    )
                    for index, (shape, dtype, producer, origin, name) in enumerate(plain["values"])
                ),
                outputs=tuple(plain["outputs"]),
                folded=plain["folded"],
                folded_macs=plain["folded_macs"],
                parameters=plain.get("parameters", 0),
            )  # fmt: skip
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a graph: {error!r}") from error

    def _plain(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "model": self.model,
            "versions": dict(self.versions),
            "operators": [
                [
                    o.name,
                    o.kind,
                    o.function,
                    o.inputs,
                    o.outputs,
                    {key: _to_plain(value) for key, value in o.attributes.items()},
                ]
                for o in self.operators
            ],
            "values": [[v.shape, v.dtype, v.producer, v.origin, v.name] for v in self.values],
            "outputs": self.outputs,
            "folded": dict(self.folded),
            "folded_macs": self.folded_macs,
            "parameters": self.parameters,
        }


def operator_macs(operator: Operator, values: Sequence[Value]) -> int:
    """Multiply-accumulates of one operator; 0 unless it is a convolution, a matrix product or recurrent.

    A convolution counts every tap, padding included; a transposed one each input times the kernel.
    """
    if operator.kind == "matmul":
        return prod(operator.number(side) for side in ("batch", "m", "k", "n"))
    if operator.kind == "convolution":
        x, weight, y = (values[i] for i in (*operator.inputs[:2], operator.outputs[0]))
        # The weight is (out, in / groups, *kernel); transposed (in, out / groups, *kernel).
        return (x.size if operator.attributes["transposed"] else y.size) * prod(weight.shape[1:])
    if operator.kind == "recurrent":
        return operator.number("macs")
    return 0


_ORIGINS = get_args(Origin)


def _to_plain(value: Attribute) -> Any:
    """JSON has no infinities and no NaN: those go as ``{"float": "inf"}``."""
    if isinstance(value, tuple):
        return [_to_plain(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    return value


def _from_plain(value: Any) -> Attribute:
    if isinstance(value, list):
        return tuple(_from_plain(part) for part in value)  # type: ignore[misc]  # attributes nest one level
    if isinstance(value, dict):
        return float(value["float"])
    return value  # type: ignore[no-any-return]
