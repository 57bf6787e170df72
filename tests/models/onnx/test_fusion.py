"""Near misses: what looks like a pattern of ONNX operators and is none keeps its numbers, on values and by shape."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from lanewise.models.onnx.file import read_onnx
from lanewise.models.onnx.module import OnnxModule

node = helper.make_node
GELU = {"root": np.float32(2**0.5), "one": np.float32(1), "half": np.float32(0.5)}
TANH = {
    "three": np.float32(3), "small": np.float32(0.044715), "root": np.float32((2 / np.pi) ** 0.5),
    "one": np.float32(1), "half": np.float32(0.5),
}  # fmt: skip
NORM = {
    "two": np.float32(2), "eps": np.float32(1e-2), "scale": np.full(8, 3, np.float32),
    "shift": np.arange(8, dtype=np.float32),
}  # fmt: skip


def gelu(scaled=("x", "root"), total=("erf", "one"), root="Div"):
    return [
        node(root, scaled, ["scaled"]), node("Erf", ["scaled"], ["erf"]), node("Add", total, ["sum"]),
        node("Mul", ["x", "sum"], ["product"]), node("Mul", ["product", "half"], ["y"]),
    ]  # fmt: skip


def tanh_gelu(power=("x", "three")):
    return [
        node("Pow", power, ["cube"]), node("Mul", ["cube", "small"], ["cubic"]),
        node("Add", ["x", "cubic"], ["added"]), node("Mul", ["added", "root"], ["scaled"]),
        node("Tanh", ["scaled"], ["tanh"]), node("Add", ["tanh", "one"], ["sum"]),
        node("Mul", ["x", "sum"], ["product"]), node("Mul", ["product", "half"], ["y"]),
    ]  # fmt: skip


def norm(
    difference=("x", "mean"), power=("centred", "two"), quotient=("centred", "root"), axes=(-1,), **options
):
    return [
        node("ReduceMean", ["x"], ["mean"], axes=axes, **options), node("Sub", difference, ["centred"]),
        node("Pow", power, ["square"]), node("ReduceMean", ["square"], ["variance"], axes=axes, **options),
        node("Add", ["variance", "eps"], ["padded"]), node("Sqrt", ["padded"], ["root"]),
        node("Div", quotient, ["quotient"]), node("Mul", ["quotient", "scale"], ["product"]),
        node("Add", ["product", "shift"], ["y"]),
    ]  # fmt: skip


def silu(gate="x"):
    return [node("Sigmoid", [gate], ["gate"]), node("Mul", ["x", "gate"], ["y"])]


ONE = np.float32(1)
CASES = {
    # name: nodes, constants, set, shape of x, whether one operator is found
    "gelu": (gelu(), GELU, 13, (8, 8), True),
    "gelu root / x": (gelu(scaled=("root", "x")), GELU, 13, (8, 8), False),
    "gelu of more axes": (gelu(), GELU | {"root": GELU["root"].reshape(1, 1, 1)}, 13, (8, 8), False),
    "gelu of more axes last": (gelu(), GELU | {"half": GELU["half"].reshape(1, 1, 1)}, 13, (8, 8), False),
    "gelu of a vector of one": (gelu(), GELU | {"half": GELU["half"].reshape(1)}, 13, (8, 8), True),
    "gelu 1 - erf": (
        [*gelu()[:2], node("Sub", ["one", "erf"], ["sum"]), *gelu()[3:]], GELU, 13, (8, 8), False,
    ),
    "tanh": (tanh_gelu(), TANH, 13, (8, 8), True),
    "tanh 3^x": (tanh_gelu(power=("three", "x")), TANH, 13, (8, 8), False),
    "tanh x^2": (tanh_gelu(), TANH | {"three": np.float32(2)}, 13, (8, 8), False),
    "silu": (silu(), {}, 13, (8, 8), True),
    "silu of another": ([node("Neg", ["x"], ["minus"]), *silu("minus")], {}, 13, (8, 8), False),
    "norm": (norm(), NORM, 13, (8, 8), True),
    "norm without its axis": (norm(keepdims=0), NORM, 13, (8, 8), False),
    "norm one way without its axis": (
        [*norm()[:3], node("ReduceMean", ["square"], ["variance"], axes=[-1], keepdims=0), *norm()[4:]],
        NORM, 13, (8, 8), False,
    ),
    "norm of all axes": (
        [node("ReduceMean", ["x"], ["mean"]), *norm()[1:3], node("ReduceMean", ["square"], ["variance"]), *norm()[4:]],
        NORM, 13, (8, 8), False,
    ),
    "norm 2^d": (norm(power=("two", "centred")), NORM, 13, (8, 8), False),
    "norm mean - x": (norm(difference=("mean", "x")), NORM, 13, (8, 8), False),
    "norm root / d": (norm(quotient=("root", "centred")), NORM, 13, (8, 8), False),
    "norm with one scale": (
        norm(), NORM | {"scale": np.full(1, 3, np.float32), "shift": np.ones(1, np.float32)}, 13, (4, 8), True,
    ),
    "norm of one": (norm(), NORM, 13, (8, 1), True),
    "norm by operand": (
        [
            node("ReduceMean", ["x", "last"], ["mean"]), *norm()[1:3],
            node("ReduceMean", ["square", "last"], ["variance"]), *norm()[4:],
        ],
        NORM | {"last": np.array([-1])}, 18, (4, 8), True,
    ),
    "norm by an operand of another axis": (
        [
            node("ReduceMean", ["x", "last"], ["mean"]), *norm()[1:3],
            node("ReduceMean", ["square", "last"], ["variance"]), *norm()[4:],
        ],
        NORM | {"last": np.array([0])}, 18, (8, 8), False,
    ),
    "norm with a wide eps": (norm(), NORM | {"eps": np.full((1, 1, 1), 1e-2, np.float32)}, 13, (8, 8), False),
    "norm with many eps": (norm(), NORM | {"eps": np.full(8, 1e-2, np.float32)}, 13, (8, 8), False),
    "two gelus multiplied": (
        [
            *gelu()[:4], node("Mul", ["product", "half"], ["left"]),
            node("Mul", ["half", "x"], ["other"]), node("Mul", ["other", "sum2"], ["right"]),
            node("Erf", ["scaled2"], ["erf2"]), node("Div", ["x", "root"], ["scaled2"]),
            node("Add", ["erf2", "one"], ["sum2"]), node("MatMul", ["left", "right"], ["y"]),
        ],
        GELU, 13, (8, 8), False,
    ),
    "factors of more axes": (
        [node("Mul", ["x", "c"], ["a"]), node("Mul", ["x", "c"], ["b"]), node("MatMul", ["a", "b"], ["y"])],
        {"c": np.full((1, 1, 1), 0.5, np.float32)}, 13, (8, 8), False,
    ),
    "a bias of the other axis": (
        [node("MatMul", ["x", "w"], ["a"]), node("Add", ["a", "b"], ["y"])],
        {"w": np.eye(8, dtype=np.float32), "b": np.arange(8, dtype=np.float32).reshape(8, 1)}, 13, (8, 8), False,
    ),
}  # fmt: skip


def sorted_nodes(nodes, given):
    """In an order in which they can run."""
    left, done, found = list(nodes), set(given), []
    while left:
        ready = next(part for part in left if set(part.input) <= done)
        left.remove(ready)
        found.append(ready)
        done |= set(ready.output)
    return found


def saved(path, nodes, constants, opset, shape):
    graph = helper.make_graph(
        sorted_nodes(nodes, {"x", *constants}),
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(np.array(value), name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), path)
    return path


@pytest.mark.parametrize("name", CASES)
def test_near_misses(tmp_path, name):
    nodes, constants, opset, shape, fused = CASES[name]
    path = saved(tmp_path / "a.onnx", nodes, constants, opset, shape)
    x = np.random.default_rng(7).standard_normal(shape).astype(np.float32)
    (wanted,) = ReferenceEvaluator(onnx.load(path)).run(None, {"x": x})
    for exact in (True, False):
        module = OnnxModule(read_onnx(path), exact=exact)
        got = module(torch.from_numpy(x)).numpy()
        assert got.shape == wanted.shape
        np.testing.assert_allclose(got, wanted, rtol=2e-5, atol=2e-5)
    assert (len(module.nodes) == 1) == fused
    by_shape = OnnxModule(read_onnx(path, shapes_only=True), exact=False).to("meta")
    assert tuple(by_shape(torch.empty(shape, device="meta")).shape) == wanted.shape


def test_what_set_6_adds_along_another_axis_is_no_bias(tmp_path):
    """The reference has no such Add: b is of the rows."""
    nodes = [node("MatMul", ["x", "w"], ["a"]), node("Add", ["a", "b"], ["y"], axis=0, broadcast=1)]
    constants = {"w": np.eye(8, dtype=np.float32), "b": np.arange(8, dtype=np.float32)}
    module = OnnxModule(read_onnx(saved(tmp_path / "a.onnx", nodes, constants, 6, (8, 8))), exact=False)
    assert module(torch.zeros(8, 8))[:, 0].tolist() == list(range(8))


@pytest.mark.parametrize("reader", ["result", "branch"])
def test_what_is_read_elsewhere_stays(tmp_path, reader):
    """An inner value is a result of the graph, or a branch reads it."""
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("y", "gate", "z")]
    nodes, outputs = silu(), info[:2]
    if reader == "branch":
        then = helper.make_graph([node("Neg", ["gate"], ["z"])], "then", [], info[2:])
        other = helper.make_graph([node("Abs", ["y"], ["z"])], "else", [], info[2:])
        nodes, outputs = [*nodes, node("If", ["yes"], ["w"], then_branch=then, else_branch=other)], [info[0]]
        outputs.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, None))
    graph = helper.make_graph(
        nodes, "graph", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])], outputs,
        [onnx.numpy_helper.from_array(np.array(True), "yes")],
    )  # fmt: skip
    path = tmp_path / "a.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    x = torch.tensor([-1.0, 0.0, 0.5, 3.0])
    y, other = OnnxModule(read_onnx(path))(x)
    assert torch.allclose(y, x * x.sigmoid())
    assert torch.allclose(other, x.sigmoid() * (1 if reader == "result" else -1))
