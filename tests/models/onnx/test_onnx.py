"""ONNX graphs in PyTorch, held to ONNX's own reference implementation, and the patterns that are put together."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from lanewise.errors import UserError
from lanewise.models.onnx.file import read_onnx
from lanewise.models.onnx.module import OnnxModule

SEED = 3


def save(folder, nodes, constants, outputs=("y",)):
    """A model of one input ``x``."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, None)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [onnx.numpy_helper.from_array(np.array(value), name) for name, value in constants.items()],
    )
    path = folder / "graph.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=8), path)
    return path


def compare(path, x, *, exact=True):
    """Largest difference from the reference, and the operators after fusion."""
    module = OnnxModule(read_onnx(path), exact=exact)
    (wanted,) = ReferenceEvaluator(onnx.load(path)).run(None, {"x": x})
    return np.abs(module(torch.from_numpy(x)).numpy() - wanted).max(), [n.operator for n in module.nodes]


def random(*shape):
    return np.random.default_rng(SEED).standard_normal(shape).astype(np.float32)


def gelu(root=2**0.5, half=0.5):
    nodes = [
        helper.make_node("Identity", ["x"], ["same"]),
        helper.make_node("Div", ["same", "root"], ["scaled"]),
        helper.make_node("Erf", ["scaled"], ["erf"]),
        helper.make_node("Add", ["erf", "one"], ["sum"]),
        helper.make_node("Mul", ["same", "sum"], ["product"]),
        helper.make_node("Mul", ["product", "half"], ["y"]),
    ]
    return nodes, {"root": np.float32(root), "one": np.float32(1), "half": np.float32(half)}


@pytest.mark.parametrize(
    ("options", "operators"),
    [
        ({}, ["Gelu"]),
        ({"root": 1.5}, ["Div", "Erf", "Add", "Mul", "Mul"]),
        ({"half": 0.25}, ["Div", "Erf", "Add", "Mul", "Mul"]),
    ],
)
def test_gelu(tmp_path, options, operators):
    error, found = compare(save(tmp_path, *gelu(**options)), random(2, 50) * 3)
    assert error < 1e-6
    assert found == operators


def test_what_another_reads_is_not_put_together(tmp_path):
    nodes, constants = gelu()
    nodes[-1].output[0] = "z"
    nodes.append(helper.make_node("Add", ["z", "erf"], ["y"]))
    error, found = compare(save(tmp_path, nodes, constants), random(2, 50))
    assert error < 1e-6
    assert found == ["Div", "Erf", "Add", "Mul", "Mul", "Add"]


@pytest.mark.parametrize(("other", "operators"), [("x", ["Silu"]), ("minus", ["Sub", "Sigmoid", "Mul"])])
def test_silu(tmp_path, other, operators):
    nodes = [
        helper.make_node("Sub", ["zero", "x"], ["minus"]),
        helper.make_node("Sigmoid", ["x"], ["gate"]),
        helper.make_node("Mul", ["gate", other], ["y"]),
    ]
    error, found = compare(save(tmp_path, nodes, {"zero": np.float32(0)}), random(2, 50))
    assert error < 1e-6
    assert found == operators


@pytest.mark.parametrize(("axis", "fused"), [(-1, True), (1, False)])
def test_layer_norm(tmp_path, axis, fused):
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["mean"], axes=[axis]),
        helper.make_node("Sub", ["x", "mean"], ["centred"]),
        helper.make_node("Pow", ["centred", "two"], ["square"]),
        helper.make_node("ReduceMean", ["square"], ["variance"], axes=[axis]),
        helper.make_node("Add", ["variance", "eps"], ["padded"]),
        helper.make_node("Sqrt", ["padded"], ["root"]),
        helper.make_node("Div", ["centred", "root"], ["quotient"]),
        helper.make_node("Mul", ["quotient", "scale"], ["product"]),
        helper.make_node("Add", ["product", "shift"], ["y"]),
    ]
    constants = {"two": np.float32(2), "eps": np.float32(1e-3), "scale": random(7), "shift": random(7)[::-1]}
    error, found = compare(save(tmp_path, nodes, constants), random(2, 3, 7))
    assert error < 2e-6
    assert (found == ["LayerNorm"]) == fused


@pytest.mark.parametrize(
    ("operator", "options"),
    [
        ("Conv", {"strides": [1, 1], "auto_pad": "SAME_UPPER"}),
        ("Conv", {"strides": [2, 2], "pads": [1, 0, 1, 0]}),
        ("Conv", {"strides": [2, 1], "pads": [0, 1, 1, 0]}),
        ("MaxPool", {"strides": [1, 1], "auto_pad": "SAME_UPPER"}),
        ("MaxPool", {"strides": [2, 2], "pads": [0, 0, 1, 0]}),
        ("AveragePool", {"strides": [2, 2], "pads": [0, 0, 0, 0], "count_include_pad": 0}),
    ],
)
def test_windows(tmp_path, operator, options):
    options |= {"kernel_shape": [2, 2]}
    if operator == "Conv":
        options |= {"dilations": [1, 1], "group": 1}
    inputs = ["x", "weight"] if operator == "Conv" else ["x"]
    path = save(
        tmp_path, [helper.make_node(operator, inputs, ["y"], **options)], {"weight": random(4, 3, 2, 2)}
    )
    error, _ = compare(path, random(1, 3, 6, 5))
    assert error < 2e-6


def test_shapes(tmp_path):
    """A shape is read, cut, put together and used."""
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Slice", ["shape", "zero", "one", "zero"], ["batch"]),
        helper.make_node("Concat", ["batch", "rest"], ["wanted"], axis=0),
        helper.make_node("Reshape", ["x", "wanted"], ["flat"]),
        helper.make_node("Transpose", ["flat"], ["turned"], perm=[0, 2, 1]),
        helper.make_node("Slice", ["turned", "one", "far", "two", "two"], ["some"]),
        helper.make_node("Unsqueeze", ["some"], ["more"], axes=[1]),
        helper.make_node("Squeeze", ["more"], ["less"], axes=[1]),
        helper.make_node("Softmax", ["less"], ["y"], axis=2),
    ]
    constants = {
        "zero": np.array([0]), "one": np.array([1]), "two": np.array([2]), "far": np.array([2**31 - 1]),
        "rest": np.array([-1, 4]),
    }  # fmt: skip
    error, _ = compare(save(tmp_path, nodes, constants), random(2, 3, 8))
    assert error < 1e-6


@pytest.mark.parametrize(
    ("nodes", "outputs", "message"),
    [
        (
            [helper.make_node("Unique", ["x"], ["y"], name="few")],
            ["y"],
            r"graph.onnx: node few: operator Unique is unknown; expected one of docs/networks.md$",
        ),
        (
            [helper.make_node("Relu", ["x"], ["y"])],
            ["z", "y"],
            r"graph.onnx: has no value z; expected one of its graph$",
        ),
    ],
)
def test_what_is_not_known_is_refused(tmp_path, nodes, outputs, message):
    path = save(tmp_path, nodes, {}, outputs)
    with pytest.raises(UserError, match=message):
        OnnxModule(read_onnx(path))


def test_no_onnx_file(tmp_path):
    path = tmp_path / "text.onnx"
    path.write_bytes(b"\xff" * 64)
    with pytest.raises(UserError, match=r"text.onnx: cannot be read: .*; expected an ONNX file$"):
        read_onnx(path)


def test_no_such_value(tmp_path):
    file = read_onnx(save(tmp_path, *gelu()))
    with pytest.raises(UserError, match=r"graph.onnx: has no value nothing; expected one of its graph$"):
        OnnxModule(file, "nothing")


def test_what_cannot_be_run_names_its_node(tmp_path):
    nodes = [helper.make_node("MatMul", ["x", "weight"], ["y"], name="product")]
    module = OnnxModule(read_onnx(save(tmp_path, nodes, {"weight": random(5, 4)})))
    with pytest.raises(UserError, match=r"graph.onnx: node product: MatMul: .*shapes cannot be multiplied"):
        module(torch.zeros(2, 3))


@pytest.mark.parametrize("forms", ["erf", "tanh"])
def test_gelu_in_other_orders(tmp_path, forms):
    if forms == "erf":
        nodes, function = (
            [
                helper.make_node("Mul", ["x", "root"], ["scaled"]),
                helper.make_node("Erf", ["scaled"], ["curve"]),
            ],
            {"root": np.float32(0.5**0.5)},
        )
    else:
        nodes, function = (
            [
                helper.make_node("Pow", ["x", "three"], ["cube"]),
                helper.make_node("Mul", ["small", "cube"], ["cubic"]),
                helper.make_node("Add", ["x", "cubic"], ["added"]),
                helper.make_node("Mul", ["added", "root"], ["scaled"]),
                helper.make_node("Tanh", ["scaled"], ["curve"]),
            ],
            {"three": np.float32(3), "small": np.float32(0.044715), "root": np.float32((2 / np.pi) ** 0.5)},
        )
    nodes += [
        helper.make_node("Add", ["one", "curve"], ["sum"]),
        helper.make_node("Mul", ["half", "x"], ["halved"]),
        helper.make_node("Mul", ["halved", "sum"], ["y"]),
    ]
    constants = {"one": np.float32(1), "half": np.float32(0.5), **function}
    error, found = compare(save(tmp_path, nodes, constants), random(2, 50) * 3)
    assert error < 1e-6
    assert found == ["Gelu"]


def test_the_scale_of_both_operands_follows_the_product(tmp_path):
    nodes = [
        helper.make_node("Transpose", ["x"], ["turned"], perm=[0, 2, 1]),
        helper.make_node("Mul", ["x", "scale"], ["left"]),
        helper.make_node("Mul", ["turned", "scale"], ["right"]),
        helper.make_node("MatMul", ["left", "right"], ["y"]),
    ]
    path = save(tmp_path, nodes, {"scale": np.float32(0.3)})
    error, found = compare(path, random(2, 5, 7), exact=False)
    assert error < 1e-6
    assert found == ["Transpose", "MatMul", "Scale"]
    assert compare(path, random(2, 5, 7))[1] == ["Transpose", "Mul", "Mul", "MatMul"]


@pytest.mark.parametrize(("size", "operators"), [(6, ["Linear"]), (1, ["MatMul", "Add"])])
def test_a_product_takes_its_bias_along(tmp_path, size, operators):
    nodes = [
        helper.make_node("MatMul", ["x", "weight"], ["product"]),
        helper.make_node("Add", ["bias", "product"], ["y"]),
    ]
    path = save(tmp_path, nodes, {"weight": random(4, 6), "bias": random(size)})
    error, found = compare(path, random(2, 3, 4), exact=False)
    assert error < 1e-6
    assert found == operators


def test_a_branch_that_shapes_decide(tmp_path):
    """The condition follows from the shape: one branch is run, and reads what lies around it."""

    def branch(name, operator):
        node = helper.make_node(operator, ["x"], [f"{name}_result"])
        result = helper.make_tensor_value_info(f"{name}_result", TensorProto.FLOAT, None)
        return helper.make_graph([node], name, [], [result])

    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "zero"], ["rows"]),
        helper.make_node("Equal", ["rows", "two"], ["condition"]),
        helper.make_node(
            "If", ["condition"], ["y"], then_branch=branch("then", "Relu"), else_branch=branch("else", "Neg")
        ),
    ]
    path = save(tmp_path, nodes, {"zero": np.array(0), "two": np.array(2)})
    for rows in (2, 3):
        error, _ = compare(path, random(rows, 4))
        assert error == 0
    on_meta = OnnxModule(read_onnx(path, shapes_only=True))(torch.empty(2, 4, device="meta"))
    assert tuple(on_meta.shape) == (2, 4)


def test_quantisers_leave_values_when_shapes_alone_count(tmp_path):
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
    ]
    path = save(tmp_path, nodes, {"scale": np.float32(0.5), "zero": np.uint8(8)})
    x = torch.tensor([[0.3, -9.0]])
    assert OnnxModule(read_onnx(path))(x).tolist() == [[0.5, -4.0]]
    module = OnnxModule(read_onnx(path), exact=False)
    assert torch.equal(module(x), x)
    assert module.notes == [
        "DequantizeLinear, QuantizeLinear: quantisers leave values as they are, the machine has its own"
    ]


def test_weights_beside_the_file(tmp_path):
    weight = random(64, 64)
    path = save(tmp_path, [helper.make_node("MatMul", ["x", "weight"], ["y"])], {"weight": weight})
    model = onnx.load(path)
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    x = random(2, 64)
    assert np.abs(OnnxModule(read_onnx(path))(torch.from_numpy(x)).numpy() - x @ weight).max() < 1e-5
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(
        UserError, match=r"graph.onnx: weight: cannot be read: .*; expected its data in or beside"
    ):
        read_onnx(path)
    shapes = OnnxModule(read_onnx(path, shapes_only=True))  # weights are not needed
    assert tuple(shapes(torch.empty(2, 64, device="meta")).shape) == (2, 64)
