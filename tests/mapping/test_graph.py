"""The graph: what it refuses, what survives a round trip, and its counts against hand calculation."""

import json
from dataclasses import replace

import pytest

from lanewise.mapping.graph import Graph, Operator, Value


def value(place: int, shape: tuple[int, ...], producer: int | None = None, origin: str = "input") -> Value:
    return Value(
        id=place,
        shape=shape,
        dtype="float32",
        producer=producer,
        origin=origin if producer is None else "operator",
    )


def convolution(*, transposed: bool = False) -> Graph:
    """3 channels of 8 x 8 to 4 of 6 x 6, or back to 10 x 10: kernel 3."""
    weight = (3, 4, 3, 3) if transposed else (4, 3, 3, 3)
    side = 10 if transposed else 6
    operator = Operator(
        index=0, name="conv", kind="convolution", inputs=(0, 1), outputs=(2,),
        attributes={"stride": (1, 1), "transposed": transposed, "bias": False, "scale": float("-inf"),
        "mode": "zeros"},
    )  # fmt: skip
    values = (value(0, (2, 3, 8, 8)), value(1, weight, origin="parameter"), value(2, (2, 4, side, side), 0))
    return Graph(model="test", versions={"torch": "2"}, operators=(operator,), values=values, outputs=(2,))


def test_round_trip_keeps_everything():
    graph = replace(convolution(), folded={"arange": 3}, folded_macs=7, parameters=9)
    again = Graph.from_json(graph.to_json())
    assert again == graph
    assert again.operators[0].attributes["stride"] == (1, 1)
    assert again.operators[0].attributes["scale"] == float("-inf")
    assert again.operators[0].attributes["transposed"] is False
    assert (dict(again.folded), again.folded_macs, again.parameters) == ({"arange": 3}, 7, 9)
    assert again.versions == {"torch": "2"}


def test_macs_of_a_convolution():
    assert convolution().macs == 2 * 4 * 6 * 6 * 3 * 3 * 3  # results x taps x input channels
    assert convolution(transposed=True).macs == 2 * 3 * 8 * 8 * 4 * 3 * 3  # inputs x taps x output channels


def test_macs_of_a_product():
    operator = Operator(
        index=0,
        name="p",
        kind="matmul",
        inputs=(0, 1),
        outputs=(2,),
        attributes={"batch": 2, "m": 3, "k": 5, "n": 7},
    )
    values = (value(0, (2, 3, 5)), value(1, (2, 5, 7)), value(2, (2, 3, 7), 0))
    assert Graph(model="p", operators=(operator,), values=values).macs == 2 * 3 * 5 * 7


def test_hash_is_of_the_content():
    graph = convolution()
    assert replace(graph, versions={"torch": "3"}).hash == graph.hash
    assert Graph.from_json(graph.to_json()).hash == graph.hash
    strided = replace(graph.operators[0], attributes={**graph.operators[0].attributes, "stride": (2, 1)})
    assert replace(graph, operators=(strided,)).hash != graph.hash


def test_kinds_counts_by_function():
    relu = [
        Operator(index=i, name=f"r{i}", kind="elementwise", function="relu", inputs=(i,), outputs=(i + 1,))
        for i in (0, 1)
    ]
    values = (value(0, (1,)), value(1, (1,), 0), value(2, (1,), 1))
    assert Graph(model="r", operators=tuple(relu), values=values).kinds() == {"elementwise.relu": 2}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p.update(schema=99), "schema must be 1, not 99"),
        (lambda p: p.pop("operators"), "not a graph"),
        (lambda p: p["operators"][0].__setitem__(1, "magic"), "kind must be one of"),
        (lambda p: p["operators"][0].__setitem__(3, [2]), "inputs must be computed before they are read"),
        (lambda p: p["operators"][0].__setitem__(4, [1]), "outputs must name it as their one producer"),
        (lambda p: p["values"][0].__setitem__(3, "nowhere"), "origin must be one of"),
        (lambda p: p["values"][0].__setitem__(2, 0), "producer must go with origin operator alone"),
        (lambda p: p["values"][0].__setitem__(0, [-1]), "shape must have no negative side"),
        (lambda p: p["outputs"].append(9), "must be computed by an operator"),
    ],
)
def test_refuses_what_is_inconsistent(change, message):
    plain = json.loads(convolution().to_json())
    change(plain)
    with pytest.raises(ValueError, match=message):
        Graph.from_json(json.dumps(plain))


def test_refuses_what_is_no_json():
    with pytest.raises(ValueError, match="Expecting"):
        Graph.from_json("{")


def test_number_names_operator_and_attribute():
    with pytest.raises(ValueError, match="conv: attribute stride must be an integer, not"):
        convolution().operators[0].number("stride")
