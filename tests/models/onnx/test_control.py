"""Branches and loops that constants decide: unrolled by shape as on numbers."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from lanewise.errors import UserError
from lanewise.mapping.trace import trace_model
from lanewise.models.onnx.file import read_onnx
from lanewise.models.onnx.module import UNROLLED, OnnxModule

node = helper.make_node
FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
TRUE = node("Constant", [], ["goes"], value=onnx.numpy_helper.from_array(np.array(True)))
SAME = node("Identity", ["on"], ["goes"])


def info(name, kind=FLOAT, shape=None):
    return helper.make_tensor_value_info(name, kind, shape)


def saved(path, nodes, constants, outputs=("y",), shape=(3, 3)):
    graph = helper.make_graph(
        nodes, "graph", [info("x", FLOAT, shape)], [info(name) for name in outputs],
        [onnx.numpy_helper.from_array(np.array(value), name) for name, value in constants.items()],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def loop(inputs, last, nodes=(), carried=(("state", "next", FLOAT, None),), scanned=(), outputs=("y",)):
    """A loop whose body ends with what gives ``goes``; by default its state is multiplied by x of the graph."""
    nodes = nodes or [node("MatMul", ["state", "x"], ["next"])]
    body = helper.make_graph(
        [*nodes, last], "body",
        [info("turn", INT64, []), info("on", BOOL, []), *(info(a, kind, shape) for a, _, kind, shape in carried)],
        [info("goes", BOOL, []), *(info(b, kind, shape) for _, b, kind, shape in carried), *map(info, scanned)],
    )  # fmt: skip
    return node("Loop", inputs, outputs, body=body)


COUNTED = [
    node("Add", ["count", "one"], ["more"]), node("Less", ["more", "three"], ["goes"]),
    node("MatMul", ["state", "x"], ["next"]),
]  # fmt: skip
CHOSEN = [
    node("Equal", ["turn", "one64"], ["second"]),
    node(
        "If", ["second"], ["next"],
        then_branch=helper.make_graph([node("MatMul", ["state", "x"], ["yes"])], "then", [], [info("yes")]),
        else_branch=helper.make_graph([node("Relu", ["state"], ["no"])], "else", [], [info("no")]),
    ),
]  # fmt: skip


def power(x, n):
    return np.linalg.matrix_power(x, n)


FORMS = {
    # the loop, how many products it does, and its result
    "count and condition, passed on": (loop(["n", "c", "x"], SAME), 3, lambda x: power(x, 4)),
    "count, passed on": (loop(["n", "", "x"], SAME), 3, lambda x: power(x, 4)),
    "count and condition, constant": (loop(["n", "c", "x"], TRUE), 3, lambda x: power(x, 4)),
    "count, constant": (loop(["n", "", "x"], TRUE), 3, lambda x: power(x, 4)),
    "a condition on what it counts": (
        loop(
            ["", "c", "x", "zero"], COUNTED[1], [COUNTED[0], COUNTED[2]],
            (("state", "next", FLOAT, None), ("count", "more", INT64, [])), outputs=("y", "counted"),
        ), 3, lambda x: power(x, 4),
    ),
    "a branch on the turn": (loop(["n", "c", "x"], SAME, CHOSEN), 1, lambda x: np.maximum(np.maximum(x, 0) @ x, 0)),
    "rows of every turn": (
        loop(
            ["n", "c", "x"], SAME, [node("MatMul", ["state", "x"], ["next"]), node("Abs", ["next"], ["row"])],
            scanned=["row"], outputs=("last", "y"),
        ), 3, lambda x: np.abs([power(x, n) for n in (2, 3, 4)]),
    ),
    "never": (loop(["zero", "c", "x"], SAME), 0, lambda x: x),
}  # fmt: skip
CONSTANTS = {
    "n": np.array(3), "c": np.array(True), "zero": np.array(0), "one": np.array(1), "three": np.array(3),
    "one64": np.array(1),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_loops_that_constants_decide(tmp_path, form):
    part, products, result = FORMS[form]
    path = saved(tmp_path / "a.onnx", [part], CONSTANTS)
    x = np.random.default_rng(5).standard_normal((3, 3)).astype(np.float32)
    wanted = result(x)  # the reference stops after one turn without a condition, and joins rows
    np.testing.assert_allclose(OnnxModule(read_onnx(path))(torch.from_numpy(x)), wanted, rtol=1e-4, atol=1e-6)
    graph = trace_model(f"onnx:{path}", cache=tmp_path)
    assert graph.values[graph.outputs[0]].shape == wanted.shape
    assert graph.macs == products * 27


def test_what_a_loop_counts_gives_shapes(tmp_path):
    """The counter that leaves the loop is known: a shape is made of it."""
    counts = loop(
        ["n", "c", "zero"], SAME, [node("Add", ["count", "turn"], ["more"])],
        (("count", "more", INT64, []),), outputs=("sum",),
    )  # fmt: skip
    nodes = [
        counts, node("Reshape", ["sum", "vector"], ["size"]), node("Concat", ["size", "size"], ["shape"], axis=0),
        node("Expand", ["x", "shape"], ["y"]),
    ]  # fmt: skip
    path = saved(tmp_path / "a.onnx", nodes, CONSTANTS | {"vector": np.array([1])}, shape=(3, 1))
    graph = trace_model(f"onnx:{path}", cache=tmp_path)
    assert graph.values[graph.outputs[0]].shape == (3, 3)


def test_scans_keep_what_is_known(tmp_path):
    """A state that counts rows, and is added to the row as a shape would be."""
    body = helper.make_graph(
        [
            node("Add", ["count", "one"], ["more"]), node("Unsqueeze", ["more", "axis"], ["shape"]),
            node("ConstantOfShape", ["shape"], ["zeros"]), node("ReduceSum", ["zeros"], ["nothing"], keepdims=0),
            node("Add", ["row", "nothing"], ["out"]),
        ],
        "body", [info("count", INT64, []), info("row")], [info("more", INT64, []), info("out")],
    )  # fmt: skip
    scan = node("Scan", ["zero", "x"], ["counted", "y"], body=body, num_scan_inputs=1)
    path = saved(tmp_path / "a.onnx", [scan], CONSTANTS | {"axis": np.array([0])})
    x = torch.randn(3, 3, generator=torch.Generator().manual_seed(3))
    assert torch.equal(OnnxModule(read_onnx(path))(x), x)
    module = OnnxModule(read_onnx(path, shapes_only=True), exact=False).to("meta")
    assert tuple(module(torch.empty(3, 3, device="meta")).shape) == (3, 3)


def test_what_depends_on_values_is_refused(tmp_path):
    greater = [
        node("MatMul", ["state", "x"], ["next"]), node("ReduceSum", ["next"], ["total"], keepdims=0),
        node("Greater", ["total", "nought"], ["goes"]),
    ]  # fmt: skip
    path = saved(
        tmp_path / "a.onnx",
        [loop(["n", "c", "x"], greater[2], greater[:2])],
        CONSTANTS | {"nought": np.float32(0)},
    )
    with pytest.raises(
        UserError, match=r"a.onnx: node y: Loop: how often it runs must be known, but depends"
    ):
        trace_model(f"onnx:{path}", cache=tmp_path)


@pytest.mark.parametrize("count", [1 << 60, UNROLLED])
def test_endless_loops_are_refused(tmp_path, monkeypatch, count):
    monkeypatch.setattr("lanewise.models.onnx.module.UNROLLED", 300)
    path = saved(tmp_path / "a.onnx", [loop(["n", "", "x"], SAME)], CONSTANTS | {"n": np.array(count)})
    with pytest.raises(
        UserError, match=r"a.onnx: its loops unroll to more than 300 operators; expected fewer$"
    ):
        trace_model(f"onnx:{path}", cache=tmp_path)
