"""Each way of writing an operator becomes the canonical one, with its attributes."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from lanewise.mapping.graph import Graph, Operator
from lanewise.mapping.trace import trace


class Written(nn.Module):
    """A function as a module."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *tensors):
        return self.function(*tensors)


def traced(function, *shapes: tuple[int, ...]) -> Graph:
    return trace(Written(function), tuple(torch.empty(shape, device="meta") for shape in shapes))


def only(graph: Graph) -> Operator:
    """The one operator that is not a view."""
    operators = [o for o in graph.operators if o.function != "view"]
    assert len(operators) == 1, [f"{o.kind}.{o.function}" for o in operators]
    return operators[0]


@pytest.mark.parametrize(
    ("function", "expected", "attributes"),
    [
        (F.relu, "relu", {}),
        (F.relu6, "relu6", {}),
        (lambda x: F.hardtanh(x, 0, 6), "relu6", {}),
        (lambda x: F.hardtanh(x, -1, 1), "clamp", {"minimum": -1.0, "maximum": 1.0}),
        (lambda x: x.clamp(min=0.5), "maximum", {"scalar": 0.5}),
        (lambda x: x.clamp_max(2), "minimum", {"scalar": 2.0}),
        (F.gelu, "gelu", {}),
        (lambda x: F.gelu(x, approximate="tanh"), "gelu_tanh", {}),
        (F.silu, "silu", {}),
        (F.mish, "mish", {}),
        (F.hardswish, "hardswish", {}),
        (F.hardsigmoid, "hardsigmoid", {}),
        (torch.sigmoid, "sigmoid", {}),
        (torch.erf, "erf", {}),
        (lambda x: F.softplus(x, beta=2), "softplus", {"beta": 2.0, "threshold": 20.0}),
        (lambda x: F.leaky_relu(x, 0.1), "leaky_relu", {"slope": 0.1}),
        (lambda x: F.elu(x, 0.5), "elu", {"alpha": 0.5}),
        (lambda x: x + 1, "add", {"scalar": 1.0}),
        (lambda x: 2 - x, "reverse_subtract", {"scalar": 2.0}),
        (lambda x: x / 4, "divide", {"scalar": 4.0}),
        (lambda x: x // 4, "floor_divide", {"scalar": 4.0}),
        (lambda x: -x, "negate", {}),
        (lambda x: x**3, "pow", {"exponent": 3.0}),
        (torch.square, "pow", {"exponent": 2.0}),
        (lambda x: 2.0**x, "pow", {"base": 2.0}),
        (lambda x: x > 0, "compare", {"relation": "greater", "scalar": 0.0}),
        (lambda x: x.half(), "cast", {"from": "float32", "to": "float16"}),
        (
            lambda x: torch.masked_fill(x, torch.ones(4, device="meta", dtype=torch.bool), 0.0),
            "select",
            {"true": 0.0},
        ),
    ],
)
def test_elementwise(function, expected, attributes):
    operator = only(traced(function, (2, 4)))
    assert (operator.kind, operator.function, dict(operator.attributes)) == (
        "elementwise",
        expected,
        attributes,
    )


def test_division_of_a_number_is_two_operators():
    assert [o.function for o in traced(lambda x: 3.0 / x, (4,)).operators] == ["reciprocal", "multiply"]


def test_convolution_attributes():
    graph = trace(
        nn.Conv2d(8, 16, (3, 5), stride=2, padding=(1, 2), dilation=2, groups=4, device="meta"),
        torch.empty(1, 8, 32, 32, device="meta"),
    )
    operator = only(graph)
    assert operator.kind == "convolution"
    assert dict(operator.attributes) == {
        "stride": (2, 2), "padding": (1, 2), "dilation": (2, 2), "output_padding": (0, 0), "groups": 4,
        "transposed": False, "bias": True,
    }  # fmt: skip
    assert [graph.values[i].name for i in operator.inputs] == ["input", "weight", "bias"]


@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_convolution_with_padding_as_a_word():
    x = torch.empty(1, 4, 9, 9, device="meta")
    assert only(trace(nn.Conv2d(4, 4, 3, padding="same", device="meta"), x)).attributes["padding"] == (1, 1)
    # An even kernel needs one more on one side: a copy with padding, then a convolution.
    graph = trace(nn.Conv2d(4, 4, 4, padding="same", device="meta"), x)
    assert [o.kind for o in graph.operators] == ["movement", "convolution"]
    assert graph.values[graph.outputs[0]].shape == (1, 4, 9, 9)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_transposed_convolution(rank):
    kind = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)[rank - 1]
    layer = kind(4, 6, 3, stride=2, output_padding=1, bias=False, device="meta")
    graph = trace(layer, torch.empty(2, 4, *[5] * rank, device="meta"))
    operator = only(graph)
    assert operator.attributes["transposed"] is True
    assert operator.attributes["output_padding"] == (1,) * rank
    assert graph.macs == 2 * 4 * 5**rank * 6 * 3**rank


@pytest.mark.parametrize(
    ("function", "shapes", "sides"),
    [
        (torch.matmul, [(2, 3, 5, 7), (2, 3, 7, 11)], (6, 5, 7, 11)),
        (torch.matmul, [(2, 3, 5, 7), (7, 11)], (1, 30, 7, 11)),
        (torch.matmul, [(2, 3, 5, 7), (1, 1, 7, 11)], (1, 30, 7, 11)),
        (torch.matmul, [(5, 7), (2, 3, 7, 11)], (6, 5, 7, 11)),
        (torch.matmul, [(5, 7), (7,)], (1, 5, 7, 1)),
        (torch.matmul, [(7,), (7, 11)], (1, 1, 7, 11)),
        (torch.bmm, [(4, 5, 7), (4, 7, 11)], (4, 5, 7, 11)),
        (torch.mm, [(5, 7), (7, 11)], (1, 5, 7, 11)),
        (torch.addmm, [(11,), (5, 7), (7, 11)], (1, 5, 7, 11)),
        (F.linear, [(2, 5, 7), (11, 7)], (1, 10, 7, 11)),
        (lambda a, b: torch.einsum("bik,bjk->bij", a, b), [(4, 5, 7), (4, 11, 7)], (4, 5, 7, 11)),
    ],
)
def test_products(function, shapes, sides):
    graph = traced(function, *shapes)
    operator = only(graph)
    assert operator.kind == "matmul"
    assert tuple(operator.number(name) for name in ("batch", "m", "k", "n")) == sides
    assert operator.attributes["weight"] is False
    assert operator.attributes["bias"] is (len(shapes) == 3)


def test_addmm_of_a_matrix_is_a_product_and_a_sum():
    graph = traced(torch.addmm, (5, 11), (5, 7), (7, 11))
    assert [o.kind for o in graph.operators] == ["matmul", "elementwise"]
    scaled = traced(lambda b, x, y: torch.addmm(b, x, y, beta=2, alpha=3), (11,), (5, 7), (7, 11))
    assert [o.function or o.kind for o in scaled.operators] == ["matmul", "multiply", "multiply", "add"]


def test_transposed_operands_are_seen():
    a, b = (5, 7), (11, 7)
    plain = only(traced(lambda x, y: x @ y, (5, 7), (7, 11))).attributes
    assert (plain["transposed_a"], plain["transposed_b"]) == (False, False)
    assert only(traced(lambda x, y: x @ y.t(), a, b)).attributes["transposed_b"] is True
    assert only(traced(lambda x, y: x.t() @ y, a, (5, 3))).attributes["transposed_a"] is True


def test_linear_reads_its_weight_transposed_for_free():
    graph = trace(nn.Linear(7, 11, device="meta"), torch.empty(3, 7, device="meta"))
    operator = only(graph)
    assert len(graph.operators) == 1
    assert [graph.values[i].shape for i in operator.inputs] == [(3, 7), (7, 11), (11,)]
    assert [graph.values[i].origin for i in operator.inputs] == ["input", "parameter", "parameter"]
    assert operator.attributes["weight"] is True
    assert graph.values[operator.inputs[1]].name == "weight"


@pytest.mark.parametrize(
    ("layer", "shape", "function", "length"),
    [
        (nn.LayerNorm((3, 4)), (2, 3, 4), "layer_norm", 12),
        (nn.RMSNorm(4), (2, 3, 4), "rms_norm", 4),
        (nn.GroupNorm(2, 6), (1, 6, 5, 5), "group_norm", 75),
        (nn.InstanceNorm2d(6), (1, 6, 5, 5), "instance_norm", 25),
        (nn.BatchNorm2d(6), (1, 6, 5, 5), "batch_norm", 6),
    ],
)
def test_normalisation(layer, shape, function, length):
    operator = only(trace(layer.to("meta"), torch.empty(shape, device="meta")))
    assert (operator.kind, operator.function, operator.attributes["length"]) == (
        "normalise",
        function,
        length,
    )
    assert operator.attributes["affine"] is (function != "instance_norm")


@pytest.mark.parametrize(
    ("function", "expected", "attributes"),
    [
        (lambda x: x.mean(), "mean", {"axes": (0, 1, 2, 3), "keep": False}),
        (lambda x: x.mean((2, 3), keepdim=True), "mean", {"axes": (2, 3), "keep": True}),
        (lambda x: F.adaptive_avg_pool2d(x, 1), "mean", {"axes": (2, 3), "keep": True}),
        (lambda x: x.amax(-1), "max", {"axes": (3,), "keep": False}),
        (lambda x: x.max(dim=1).values, "max", {"axes": (1,), "keep": False}),
        (lambda x: x.sum(-2), "sum", {"axes": (2,), "keep": False}),
        (lambda x: x.argmax(1), "argmax", {"axes": (1,), "keep": False}),
        (lambda x: x.var(1), "variance", {"axes": (1,), "keep": False, "correction": 1.0}),
        (lambda x: x.cumsum(1), "cumsum", {"axes": (1,), "keep": False}),
    ],
)
def test_reduction(function, expected, attributes):
    operator = only(traced(function, (1, 2, 8, 6)))
    assert (operator.kind, operator.function, dict(operator.attributes)) == ("reduce", expected, attributes)


@pytest.mark.parametrize(
    ("function", "expected", "kernel", "stride"),
    [
        (lambda x: F.max_pool2d(x, 3, 2, 1), "max", (3, 3), (2, 2)),
        (lambda x: F.avg_pool2d(x, (2, 3)), "average", (2, 3), (2, 3)),
        (lambda x: F.adaptive_avg_pool2d(x, (4, 3)), "adaptive_average", (2, 2), (2, 2)),
    ],
)
def test_pool(function, expected, kernel, stride):
    operator = only(traced(function, (1, 2, 8, 6)))
    assert (operator.kind, operator.function) == ("pool", expected)
    assert (operator.attributes["kernel"], operator.attributes["stride"]) == (kernel, stride)


@pytest.mark.parametrize("log", [False, True])
def test_softmax(log):
    operator = only(traced(lambda x: F.log_softmax(x, 1) if log else F.softmax(x, 1), (2, 5, 3)))
    assert (operator.kind, dict(operator.attributes)) == ("softmax", {"axis": 1, "length": 5, "log": log})


@pytest.mark.parametrize(("dtype", "epsilon"), [(torch.float32, 2.0**-23), (torch.float16, 2.0**-10)])
def test_an_rms_norm_without_epsilon_has_its_type_s(dtype, epsilon):
    operator = only(trace(nn.RMSNorm(4, dtype=dtype), torch.zeros(2, 4, dtype=dtype)))
    assert operator.attributes["epsilon"] == epsilon


def test_nan_to_num_records_its_numbers():
    operator = only(traced(lambda x: torch.nan_to_num(x, 0.5, neginf=-7), (4,)))
    assert (operator.function, dict(operator.attributes)) == ("nan_to_num", {"nan": 0.5, "negative": -7.0})


def test_dropout_of_attention_counts():
    graph = traced(lambda x: F.scaled_dot_product_attention(x, x, x, dropout_p=0.5), (2, 4, 8))
    assert "native_dropout" in [operator.function for operator in graph.operators]


def test_embedding():
    graph = trace(nn.Embedding(100, 8, device="meta"), torch.empty(2, 5, dtype=torch.int64, device="meta"))
    operator = only(graph)
    assert (operator.kind, dict(operator.attributes)) == ("embedding", {"rows": 100, "width": 8})


@pytest.mark.parametrize(
    ("function", "operation"),
    [
        (lambda x: torch.cat([x, x], 1), "concat"),
        (lambda x: torch.stack([x, x]), "concat"),
        (lambda x: F.pad(x, (1, 2)), "pad"),
        (lambda x: x.roll(1, 2), "roll"),
        (lambda x: x.flip(1), "roll"),
        (lambda x: x.repeat(1, 2, 1, 1), "repeat"),
        (lambda x: x.permute(0, 2, 3, 1).contiguous(), "clone"),
        (lambda x: x.permute(0, 2, 3, 1).reshape(1, 8, -1), "reshape"),
        (lambda x: F.interpolate(x, scale_factor=2), "upsample_nearest"),
        (lambda x: x[:, torch.tensor([0, 1, 1], device="meta")], "gather"),
        (lambda x: F.pixel_unshuffle(x, 2), "pixel_shuffle"),
    ],
)
def test_movement_that_copies(function, operation):
    operator = only(traced(function, (1, 2, 8, 6)))
    assert (operator.kind, operator.function, operator.attributes["operation"]) == (
        "movement",
        "copy",
        operation,
    )


@pytest.mark.parametrize(
    ("function", "attributes"),
    [
        (lambda x: x.transpose(1, 3), {"operation": "permute", "permutation": (0, 3, 2, 1)}),
        (lambda x: x.permute(0, 2, 3, 1), {"operation": "permute", "permutation": (0, 2, 3, 1)}),
        (lambda x: x.movedim(1, -1), {"operation": "permute", "permutation": (0, 2, 3, 1)}),
        (lambda x: x.mT, {"operation": "permute", "permutation": (0, 1, 3, 2)}),
        (lambda x: x.flatten(1), {"operation": "reshape"}),
        (lambda x: x.unsqueeze(0), {"operation": "reshape"}),
        (lambda x: x.expand(4, -1, -1, -1), {"operation": "expand"}),
        (lambda x: x[:, :, 1:-2:2], {"operation": "slice", "axis": 2, "start": 1, "stop": 6, "step": 2}),
        (lambda x: x[0], {"operation": "select", "axis": 0, "start": 0, "stop": 1, "step": 1}),
        (lambda x: x.chunk(2, 1), {"operation": "split", "axis": 1}),
        (lambda x: x.unbind(1), {"operation": "split", "axis": 1}),
    ],
)
def test_movement_that_is_a_view(function, attributes):
    operators = [
        o for o in traced(function, (1, 2, 8, 6)).operators if o.attributes != {"operation": "alias"}
    ]
    assert [(o.kind, o.function, dict(o.attributes)) for o in operators] == [("movement", "view", attributes)]


@pytest.mark.parametrize(("kind", "gates"), [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)])
def test_recurrent(kind, gates):
    layer = kind(10, 20, num_layers=2, bidirectional=True, batch_first=True, device="meta")
    graph = trace(layer, torch.empty(3, 7, 10, device="meta"))
    operator = next(o for o in graph.operators if o.kind == "recurrent")
    weights = 2 * gates * 20 * (10 + 20) + 2 * gates * 20 * (
        40 + 20
    )  # two directions; the second layer reads both
    assert graph.macs == 3 * 7 * weights
    assert (operator.attributes["steps"], operator.attributes["hidden"]) == (7, 20)
