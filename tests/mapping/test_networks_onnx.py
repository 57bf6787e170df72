"""Networks from ONNX files: what they cost, what their open axes are, and how bad files are refused."""

import warnings

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from lanewise.cli import main
from lanewise.config import MachineConfig
from lanewise.errors import UserError
from lanewise.mapping.networks import load
from lanewise.mapping.simulate import simulate
from lanewise.mapping.trace import trace, trace_model
from lanewise.models.onnx.file import read_onnx
from lanewise.models.onnx.module import OnnxModule
from lanewise.models.pretrained.packages import packaged_file
from lanewise.torchvision import make_importable

make_importable()  # the exporter imports torchvision, timm as well

import timm  # noqa: E402


def exported(path, module, inputs, **options):
    """Write ``module`` as ONNX by PyTorch's own exporter."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module.eval(), inputs, path, dynamo=True, verbose=False, **options)
    return path


class Attention(nn.Module):
    """Embedding, attention, norms, GELU: what a language model is made of."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(50, 32)
        self.layer = nn.TransformerEncoderLayer(
            32, 4, 64, activation="gelu", batch_first=True, norm_first=True
        )
        self.head = nn.Linear(32, 5)

    def forward(self, tokens):
        """Scores, shape (batch, 5)."""
        return self.head(self.layer(self.table(tokens)).mean(1))


class Recurrent(nn.Module):
    """An LSTM and a GRU one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.LSTM(8, 16, batch_first=True, bidirectional=True)
        self.second = nn.GRU(32, 12, batch_first=True)

    def forward(self, x):
        """The last state, shape (batch, 12)."""
        return self.second(self.first(x)[0])[0][:, -1]


class Decoder(nn.Module):
    """Transposed convolution, resizing, a group norm, slices."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(8, 8, 4, stride=2, padding=1)
        self.norm = nn.GroupNorm(2, 8)
        self.out = nn.Conv2d(8, 4, 3, padding=1, groups=2)

    def forward(self, x):
        """Two pictures of the quarter of the channels."""
        y = nn.functional.silu(self.norm(self.up(x)))
        y = nn.functional.interpolate(self.out(y), scale_factor=2, mode="bilinear")
        return y[:, ::2], torch.cat([y[:, 1:2], y[:, 3:]], 1).softmax(1)


NETWORKS = {
    "attention": (Attention, lambda: torch.randint(0, 50, (2, 9))),
    "recurrent": (Recurrent, lambda: torch.randn(2, 6, 8)),
    "decoder": (Decoder, lambda: torch.randn(2, 8, 6, 5)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_numbers_are_the_exported_networks(tmp_path, name):
    torch.manual_seed(5)
    make, inputs = NETWORKS[name]
    network, x = make().eval(), inputs()
    path = exported(tmp_path / "network.onnx", network, (x,))
    module = OnnxModule(read_onnx(path)).eval()
    with torch.no_grad():
        wanted, got = network(x), module(x)
    for one, other in zip(
        *((part,) if isinstance(part, torch.Tensor) else part for part in (got, wanted)), strict=True
    ):
        assert one.shape == other.shape
        assert (one - other).abs().max() < 2e-6
    graph = trace_model(f"onnx:{path}", cache=tmp_path)
    direct = trace(network, x)
    assert graph.macs + graph.folded_macs == direct.macs + direct.folded_macs
    assert not [operator for operator in graph.operators if operator.kind == "other"]


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("resnet10t", 64),
        pytest.param("mobilenetv3_small_050", 64, marks=pytest.mark.full),
        ("vit_tiny_patch16_224", 32),
    ],
)
def test_costs_what_the_same_network_of_timm_costs(tmp_path, name, size):
    options = {"img_size": size} if name.startswith("vit") else {}
    network = timm.create_model(name, **options)
    path = exported(tmp_path / "network.onnx", network, (torch.zeros(1, 3, size, size),))
    config = MachineConfig()
    direct = simulate(trace_model(f"timm:{name}", resolution=size), config)
    through = simulate(trace_model(f"onnx:{path}", cache=tmp_path), config)
    assert through.macs == direct.macs
    assert (through.machine.cycles, through.baseline.cycles) == (
        direct.machine.cycles,
        direct.baseline.cycles,
    )


# Open axes


def dynamic(path, shapes, *, op="Add", fixed=None):
    """A sum of inputs with the shapes given."""
    inputs = [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in shapes.items()]
    node = helper.make_node(op, list(shapes), ["y"]) if fixed is None else fixed
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([node], "graph", inputs, [output])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    return f"onnx:{path}"


FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


@pytest.mark.parametrize(
    ("kind", "shape", "options", "wanted"),
    [
        (FLOAT, ["N", 3, "H", "W"], {"batch": 2, "resolution": 32}, (2, 3, 32, 32)),
        (FLOAT, ["N", 3, "H", "W"], {"resolution": 32, "dims": {"W": 48}}, (1, 3, 32, 48)),
        (FLOAT, [None, 3, None, "?"], {"resolution": 8, "dims": {"x.3": 16}}, (1, 3, 8, 16)),
        (INT64, ["batch", "anything"], {"sequence": 7}, (1, 7)),
        (FLOAT, ["batch", "seq_len", 16], {"sequence": 7}, (1, 7, 16)),
        (FLOAT, ["a", "a", 16], {"batch": 3}, (3, 3, 16)),
        (FLOAT, [8, 16], {"sequence": 7}, (8, 16)),
    ],
)
def test_open_axes(tmp_path, kind, shape, options, wanted):
    model = dynamic(tmp_path / "a.onnx", {"x": (kind, shape)}, op="Abs")
    network, inputs = load(model, **options)
    assert tuple(inputs["x"].shape) == tuple(network(**inputs).shape) == wanted
    assert inputs["x"].is_meta


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        (["N", "K"], {}, "axis 1 of input x has no size; expected --dim K=N"),
        ([2, None, 4], {}, "axis 1 of input x has no size; expected --dim x.1=N"),
        (["N", 4], {"dims": {"M": 3}}, "--dim M: is no open axis; expected one of N, x.0"),
        ([2, 4], {"dims": {"M": 3}}, "--dim M: is no open axis; expected one of none: all sizes are fixed"),
        ([1, 4], {"batch": 2}, "--batch: axis 0 of input x must be 1, as the file says, not 2"),
        (
            [1, 3, 8, 8],
            {"resolution": 9},
            "--resolution: axis 2 of input x must be 8, as the file says, not 9",
        ),
        (["N", 4], {"dims": {"N": 1 << 40}}, f"--dim N: must be 1 to {1 << 24}, not {1 << 40}"),
        (["N", 4], {"dims": {"N": 0}}, f"--dim N: must be 1 to {1 << 24}, not 0"),
        (None, {}, "input x has no shape; expected a tensor of known rank"),
    ],
)
def test_open_axes_that_are_refused(tmp_path, shape, options, message):
    model = dynamic(tmp_path / "a.onnx", {"x": (FLOAT, shape)}, op="Abs")
    with pytest.raises(UserError) as caught:
        load(model, **options)
    assert str(caught.value).removeprefix(f"{model}: ") == message


def test_several_inputs_and_shapes_that_follow_from_shapes(tmp_path):
    """Reshape by a computed shape; the two inputs share the batch's name."""
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"], start=0, end=1),
        helper.make_node("Concat", ["shape", "rest"], ["wanted"], axis=0),
        helper.make_node("Reshape", ["x", "wanted"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["y"]),
    ]
    inputs = [
        helper.make_tensor_value_info("x", FLOAT, ["N", 4, "T"]),
        helper.make_tensor_value_info("w", FLOAT, ["N", "T", 5]),
    ]
    output = helper.make_tensor_value_info("y", FLOAT, None)
    rest = [onnx.numpy_helper.from_array(np.array([4, -1]), "rest")]
    graph = helper.make_graph(nodes, "graph", inputs, [output], rest)
    path = tmp_path / "a.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)]), path)
    traced = trace_model(f"onnx:{path}", dims={"N": 3, "T": 6}, cache=tmp_path)
    assert traced.inputs == {"x": (3, 4, 6), "w": (3, 6, 5)}
    assert traced.macs == 3 * 4 * 6 * 5
    assert traced.values[traced.outputs[0]].shape == (3, 4, 5)


def test_absurd_sizes_are_one_line(tmp_path):
    node = helper.make_node("Gemm", ["x", "x"], ["y"], transB=1)
    model = dynamic(tmp_path / "a.onnx", {"x": (FLOAT, ["N", "K"])}, fixed=node)
    big = {"N": 1 << 24, "K": 1 << 24}
    graph = trace_model(model, dims=big, cache=tmp_path)  # shapes need no memory
    assert graph.macs == 1 << 72
    shape = helper.make_node("ConstantOfShape", ["x"], ["y"])
    model = dynamic(tmp_path / "b.onnx", {"x": (INT64, [2])}, fixed=shape)
    with pytest.raises(UserError, match=r"b.onnx: node y: ConstantOfShape: x must be a constant or follow"):
        trace_model(model, cache=tmp_path)


# Bad files, and the cache


@pytest.mark.parametrize("damage", ["missing", "folder", "empty", "text", "truncated", "half"])
def test_bad_files_are_one_line_and_status_2(tmp_path, capsys, damage):
    path = tmp_path / "a.onnx"
    model = dynamic(path, {"x": (FLOAT, [2, 4])}, op="Relu")
    whole = path.read_bytes()
    contents = {"empty": b"", "text": b"no network at all", "truncated": whole[:-9], "half": whole[:20]}
    if damage in contents:
        path.write_bytes(contents[damage])
    else:
        path.unlink()
        if damage == "folder":
            path.mkdir()
    assert main(["simulate", model]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"lanewise: {path}: ")
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize(
    ("option", "message"),
    [("x", "must be NAME=N with a whole number N"), ("x=-1", "must be NAME=N"), ("=3", "must be NAME=N")],
)
def test_dim_options_that_are_refused(tmp_path, capsys, option, message):
    model = dynamic(tmp_path / "a.onnx", {"x": (FLOAT, ["N", 4])}, op="Relu")
    assert main(["simulate", model, "--dim", option]) == 2
    assert capsys.readouterr().err.startswith(f"lanewise: --dim {option}: {message}")


def test_dim_is_for_files_alone():
    with pytest.raises(UserError, match=r"^--dim N: timm:resnet18 has no open axes; expected onnx: or pt2:$"):
        load("timm:resnet18", dims={"N": 3})


def test_traces_are_kept_by_content(tmp_path):
    said: list[str] = []
    first = dynamic(tmp_path / "a.onnx", {"x": (FLOAT, ["N", 4])}, op="Relu")
    graph = trace_model(first, cache=tmp_path, progress=said.append)
    other = tmp_path / "b.onnx"
    other.write_bytes((tmp_path / "a.onnx").read_bytes())
    again = trace_model(f"onnx:{other}", cache=tmp_path, progress=said.append)
    assert again.model == f"onnx:{other}"
    assert again.hash != graph.hash or again.operators == graph.operators
    assert said == [f"{first}: tracing"]
    dynamic(tmp_path / "a.onnx", {"x": (FLOAT, ["N", 5])}, op="Relu")
    assert trace_model(first, cache=tmp_path).inputs == {"x": (1, 5)}
    assert trace_model(first, cache=tmp_path, batch=3).inputs == {"x": (3, 5)}


# Files that packages carry


@pytest.mark.parametrize(
    ("package", "file", "options"),
    [
        ("rapidocr", "PP-OCRv6_det_small.onnx", {"resolution": 64}),
        ("rapidocr", "PP-OCRv6_rec_small.onnx", {"dims": {"x.3": 64}}),
        ("rapidocr", "ch_ppocr_mobile_v2.0_cls_mobile.onnx", {"resolution": 48}),
        ("magika", "model.onnx", {}),
    ],
)
def test_real_files(tmp_path, package, file, options):
    """Traced by shapes alone, they have the products that the same network does on real numbers."""
    path = packaged_file(package, file)
    graph = trace_model(f"onnx:{path}", cache=tmp_path, **options)
    assert not [operator.function for operator in graph.operators if operator.kind == "other"]
    module = OnnxModule(read_onnx(path)).eval()
    dtypes = {item.name: item.dtype for item in module.inputs}
    inputs = {name: torch.zeros(shape, dtype=dtypes[name]) for name, shape in graph.inputs.items()}
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(**inputs)
    assert graph.macs + graph.folded_macs == counter.get_total_flops() // 2 > 0
