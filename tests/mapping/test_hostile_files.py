"""Damaged and hostile files of networks: one line each, no other error, no hang, no memory that a header asks for."""

import io
import json
import os
import random
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from lanewise.errors import UserError
from lanewise.mapping.trace import trace_model

node = helper.make_node
FLOAT = TensorProto.FLOAT


def info(name, shape=None, kind=FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def onnx_file(path, nodes, constants=(), *, shape=(4, 8), opset=17, functions=(), domains=(), kind=FLOAT):
    graph = helper.make_graph(nodes, "graph", [info("x", shape, kind)], [info("y")], list(constants))
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(name, 1) for name in domains)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8, functions=list(functions))
    path.write_bytes(model.SerializeToString())  # onnx.save writes text if the name says so
    return f"onnx:{path}"


def constant(name, value):
    return numpy_helper.from_array(np.array(value), name)


def beside(name, shape, **entries):
    """A constant that lies in another file."""
    item = TensorProto(name=name, data_type=FLOAT, dims=shape, data_location=TensorProto.EXTERNAL)
    for key, value in entries.items():
        item.external_data.add(key=key, value=str(value))
    return item


ADD = [node("Add", ["x", "k"], ["y"])]
RELU = [node("Relu", ["x"], ["y"])]


def calling(*edges):
    """Functions that call each other."""
    return [
        helper.make_function(
            "own", name, ["a"], ["b"], [node(to, ["a"], ["b"], domain="" if to == "Relu" else "own")],
            [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)],
        )
        for name, to in edges
    ]  # fmt: skip


CALL = [node("F", ["x"], ["y"], domain="own")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"nodes": RELU, "opset": 99}, r"operator set must be \d+ or older, not 99$"),
        ({"nodes": RELU, "opset": 5}, r"operator set must be 6 or newer, not 5$"),
        ({"nodes": RELU, "opset": -3}, r"operator set must be 6 or newer, not -3$"),
        ({"nodes": [node("Foo", ["x"], ["y"], domain="bar")]}, r"node y: operator bar.Foo is unknown; expected"),
        ({"nodes": [*RELU, node("Neg", ["x"], ["y"])]}, r"gives value y twice; expected each once$"),
        ({"nodes": [node("Relu", ["x"], ["x"])]}, r"gives value x twice; expected each once$"),
        ({"nodes": [*RELU, node("Relu", ["x"], [])]}, r"node Relu: has no result; expected one$"),
        ({"nodes": [node("Relu", ["z"], ["y"]), node("Neg", ["x"], ["z"])]}, r"node y: Relu: z is read before"),
        ({"nodes": RELU, "shape": [1 << 62, 1 << 62]}, r"input x: shape .* is too large; expected less than 2\^63"),
        ({"nodes": RELU, "kind": TensorProto.STRING}, r"input x has no shape; expected a tensor of known rank$"),
        (
            {"nodes": ADD, "constants": [beside("k", [8], location="x.bin", offset="one")]},
            r": k: cannot be read: .*; expected its data in or beside the file$",
        ),
        (
            {"nodes": ADD, "constants": [beside("k", [8], location="x.bin", offset=-8)]},
            r": k: cannot be read: .*; expected its data in or beside the file$",
        ),
        (
            {"nodes": ADD, "constants": [beside("k", [8], location="x.bin", offset=1 << 62)]},
            r": k: cannot be read: .*; expected its data in or beside the file$",
        ),
        (
            {"nodes": ADD, "constants": [beside("k", [8], location="x.bin", length=1 << 62)]},
            r": k: cannot be read: .*; expected its data in or beside the file$",
        ),
        (
            {"nodes": ADD, "constants": [TensorProto(name="k", data_type=FLOAT, dims=[8], raw_data=b"abc")]},
            r": k: cannot be read: .*; expected its data in or beside the file$",
        ),
        (
            {"nodes": ADD, "constants": [TensorProto(name="k", data_type=FLOAT, dims=[4, 8], raw_data=b"abc")]},
            r": k: cannot be read: has 3 bytes, not 128; expected its data in or beside the file$",
        ),
        (
            {"nodes": ADD, "constants": [TensorProto(name="k", data_type=FLOAT, dims=[1 << 40, 1 << 40])]},
            r": k: cannot be read: .* overflow.*; expected its data in or beside the file$",
        ),
        (
            {"nodes": CALL, "functions": calling(("F", "G"), ("G", "F")), "domains": ["own"]},
            r"function F calls itself; expected one that ends$",
        ),
        (
            {
                "nodes": [node("ConstantOfShape", ["s"], ["z"]), node("Add", ["x", "z"], ["y"])],
                "constants": [constant("s", [1 << 20, 1 << 20])],
            },
            r"node z: ConstantOfShape: a constant of shape .* has more than \d+ elements$",
        ),
    ],
)  # fmt: skip
def test_onnx_files_that_are_refused(tmp_path, content, message):
    (tmp_path / "x.bin").write_bytes(bytes(16))
    model = onnx_file(tmp_path / "a.onnx", **content)
    with pytest.raises(UserError, match=rf"a\.onnx: .*{message}" if message[0] != ":" else message) as caught:
        trace_model(model, cache=tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", ["json", "onnxtxt", "textproto", "onnx"])
def test_names_decide_nothing(tmp_path, suffix):
    model = onnx_file(tmp_path / f"a.{suffix}", RELU)
    assert [operator.function for operator in trace_model(model, cache=tmp_path).operators] == ["relu"]
    (tmp_path / f"b.{suffix}").write_text("ir_version: 8")
    with pytest.raises(
        UserError, match=rf"b.{suffix}: (cannot be read: .*|has no graph); expected an ONNX file$"
    ):
        trace_model(f"onnx:{tmp_path}/b.{suffix}", cache=tmp_path)


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float8_e4m3fn", "int4", "uint4"])
@pytest.mark.parametrize("shape", [(8,), (4, 8)])
def test_narrow_constants(tmp_path, kind, shape):
    """Small ones are read, large ones (more than 16) are not; all are dequantised to 32 bits."""
    codes = {"float16": 10, "bfloat16": 16, "float8_e4m3fn": 17, "int4": 22, "uint4": 21}
    weight = helper.make_tensor("k", codes[kind], shape, np.ones(shape))
    model = onnx_file(
        tmp_path / "a.onnx", [node("Cast", ["k"], ["wide"], to=FLOAT), node("Add", ["x", "wide"], ["y"])], [weight],
        opset=21,
    )  # fmt: skip
    graph = trace_model(model, cache=tmp_path)
    assert graph.values[graph.outputs[0]].shape == (4, 8)
    assert graph.operators[-1].function == "add"


def test_own_functions_are_written_out(tmp_path):
    model = onnx_file(
        tmp_path / "a.onnx", CALL, functions=calling(("F", "G"), ("G", "Relu")), domains=["own"]
    )
    assert [operator.function for operator in trace_model(model, cache=tmp_path).operators] == ["relu"]


@pytest.mark.parametrize("shape", [(0, 8), (4, 0)])
def test_axes_of_no_length(tmp_path, shape):
    model = onnx_file(tmp_path / "a.onnx", [node("MatMul", ["x", "t"], ["y"]), node("Transpose", ["x"], ["t"])][::-1],
                      shape=shape)  # fmt: skip
    graph = trace_model(model, cache=tmp_path)
    assert graph.values[graph.outputs[0]].shape == (shape[0], shape[0])
    assert graph.macs == 0


def test_quantised_products_keep_their_size(tmp_path):
    """Quantisers leave values as they are: the product is the network's, once."""
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["q"]), node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        node("DequantizeLinear", ["w", "scales", "zeros"], ["v"], axis=1), node("MatMul", ["d", "v"], ["y"]),
    ]  # fmt: skip
    constants = [
        constant("s", np.float32(0.1)), constant("z", np.int8(0)), constant("w", np.ones((8, 6), np.int8)),
        constant("scales", np.ones(6, np.float32)), constant("zeros", np.zeros(6, np.int8)),
    ]  # fmt: skip
    graph = trace_model(onnx_file(tmp_path / "a.onnx", nodes, constants), cache=tmp_path)
    assert graph.macs + graph.folded_macs == 4 * 8 * 6
    assert [operator.kind for operator in graph.operators] == ["matmul"]


@pytest.mark.parametrize("scheme", ["onnx", "pt2"])
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_what_is_no_regular_file(tmp_path, scheme, kind):
    path = tmp_path / "pipe" if kind == "pipe" else "/dev/zero"
    if kind == "pipe":
        os.mkfifo(path)
    with pytest.raises(
        UserError, match=rf"^{path}: is no regular file; expected an (ONNX file|archive of torch)"
    ):
        trace_model(f"{scheme}:{path}", cache=tmp_path)


def test_files_that_protobuf_cannot_hold(tmp_path):
    """It is not read: it would not fit into memory."""
    path = tmp_path / "a.onnx"
    with path.open("wb") as stream:
        stream.truncate(1 << 40)
    with pytest.raises(
        UserError, match=rf"a.onnx: has {1 << 40} bytes; expected less than {1 << 31}, weights"
    ):
        trace_model(f"onnx:{path}", cache=tmp_path)


# Archives of torch.export


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 8)
        self.steps = torch.arange(6.0)

    def forward(self, x):
        return torch.relu(self.layer(x))[:, :6] * self.steps


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    path = tmp_path_factory.mktemp("pt2") / "a.pt2"
    axes = ({0: torch.export.Dim("batch", max=64)},)
    torch.export.save(torch.export.export(Small().eval(), (torch.zeros(2, 8),), dynamic_shapes=axes), path)
    return path


def rewritten(archive, path, change, method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(path, "w", method) as new:
        for name in old.namelist():
            new.writestr(name, change(name.partition("/")[2], old.read(name)))
    return f"pt2:{path}"


def program(change):
    return lambda name, data: change(data) if name == "models/model.json" else data


def meta(folder, key, value):
    """The archive's list of weights or constants with other sizes, strides or offset."""

    def change(name, data):
        if name != f"data/{folder}/model_{folder}_config.json":
            return data
        content = json.loads(data)
        for item in content["config"].values():
            old = item["tensor_meta"][key]
            item["tensor_meta"][key] = [value] * len(old) if isinstance(old, list) else value
        return json.dumps(content).encode()

    return change


def target(old, new, **arguments):
    """The program with another operator, called with whole numbers."""

    def change(data):
        content = json.loads(data)
        for part in content["graph_module"]["graph"]["nodes"]:
            if part["target"] == old:
                part["target"] = new
                part["inputs"] = [
                    {"name": name, "arg": {"as_int": value}, "kind": 1} for name, value in arguments.items()
                ]
        return json.dumps(content).encode()

    return program(change)


@pytest.mark.parametrize(
    "change",
    [
        program(lambda _: b"[" * 200_000),
        program(lambda _: b"{}"),
        program(lambda _: b"\xff\xfe"),
        meta("constants", "strides", {"as_int": 1000}),
        meta("constants", "strides", {"as_int": -1}),
        meta("constants", "strides", {"as_int": 1 << 70}),
        meta("constants", "sizes", {"as_int": -3}),
        meta("constants", "sizes", {"as_int": 7}),
        meta("constants", "storage_offset", {"as_int": 1 << 60}),
        meta("weights", "sizes", {"as_int": -3}),
        meta("weights", "sizes", {"as_int": 1 << 70}),
        program(lambda data: data.replace(b'{"as_int": 8}', b'{"as_int": -8}')),
        program(lambda data: data.replace(b'{"as_int": 8}', b'{"as_int": 99999999999999999999}')),
        target("torch.ops.aten.relu.default", "_operator.pow", a=9, b=1 << 40),
        target("torch.ops.aten.relu.default", "_operator.mod", a=9, b=0),
    ],
)  # fmt: skip
def test_archives_that_are_refused(archive, tmp_path, change):
    model = rewritten(archive, tmp_path / "b.pt2", change)
    with pytest.raises(UserError, match=r"b\.pt2: .*; expected ") as caught:
        trace_model(model, cache=tmp_path)
    assert "\n" not in str(caught.value)


def headers(data, place, change):
    """A zip file with a byte of all its headers changed: of the files' and of the directory's."""
    for mark, offset in ((b"PK\x03\x04", place), (b"PK\x01\x02", place + 2)):
        at = -1
        while (at := data.find(mark, at + 1)) >= 0:
            data[at + offset] = change(data[at + offset])
    return data


@pytest.mark.parametrize("damage", ["encrypted", "method", "deflate", "bzip2", "cut"])
def test_damaged_zip_files_are_refused(archive, tmp_path, damage):
    path = tmp_path / "b.pt2"
    method = {"deflate": zipfile.ZIP_DEFLATED, "bzip2": zipfile.ZIP_BZIP2}.get(damage, zipfile.ZIP_STORED)
    rewritten(archive, path, lambda _, data: data, method)
    data = bytearray(path.read_bytes())
    if damage == "encrypted":
        headers(data, 6, lambda byte: byte | 1)
    elif damage == "method":
        headers(data, 8, lambda _: 97)
    elif damage == "deflate":
        at = data.find(b"models/model.json")
        data[at + 30 : at + 80] = b"\xff" * 50
    elif damage == "cut":
        data = data[: len(data) * 2 // 3]
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"b\.pt2: .*; expected an archive of torch\.export\.save$"):
        trace_model(f"pt2:{path}", cache=tmp_path)


BOUNDED = """
import resource, sys
import torch
from pathlib import Path
from lanewise.errors import UserError
from lanewise.mapping.pt2_archive import read_pt2
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (256 << 20),) * 2)
try:
    print(sorted(read_pt2(Path(sys.argv[1])).constants))
except UserError as error:
    print(error)
"""


@pytest.mark.full
@pytest.mark.parametrize("bomb", ["constant", "program", "lying program"])
def test_zip_bombs_stay_within_256_mib(archive, tmp_path, bomb):
    """1 GiB of zeros or blanks behind 1 MiB."""
    path = tmp_path / "b.pt2"
    name = "data/constants/tensor_0" if bomb == "constant" else "models/model.json"
    rewritten(archive, path, lambda at, data: b" " * (1 << 30) if at == name else data, zipfile.ZIP_DEFLATED)
    if bomb == "lying program":
        data = path.read_bytes()
        path.write_bytes(data.replace((1 << 30).to_bytes(4, "little"), (5000).to_bytes(4, "little")))
    run = subprocess.run(
        [sys.executable, "-c", BOUNDED, str(path)], capture_output=True, text=True, check=True, timeout=300
    )
    if bomb == "constant":
        assert run.stdout == "['steps']\n"
    else:
        assert run.stdout.startswith(f"{path}: cannot be read: ")
        assert "bytes; expected" in run.stdout or bomb == "lying program"


# Fuzzing


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """An ONNX file with what this reader knows of: constants, shapes, patterns, a branch, a loop, quantisers."""
    path = tmp_path_factory.mktemp("onnx") / "a.onnx"
    body = helper.make_graph(
        [node("MatMul", ["state", "w"], ["next"]), node("Identity", ["on"], ["goes"])], "body",
        [info("turn", [], TensorProto.INT64), info("on", [], TensorProto.BOOL), info("state")],
        [info("goes", [], TensorProto.BOOL), info("next")],
    )  # fmt: skip
    branches = {
        f"{name}_branch": helper.make_graph([node(op, ["l"], [name])], name, [], [info(name)])
        for name, op in (("then", "Relu"), ("else", "Neg"))
    }
    nodes = [
        node("Conv", ["x", "c"], ["f"], pads=[1, 1, 1, 1], strides=[2, 2]), node("Shape", ["f"], ["s"]),
        node("Slice", ["s", "zero", "two"], ["t"]), node("Concat", ["t", "minus"], ["u"], axis=0),
        node("Reshape", ["f", "u"], ["g"]), node("ReduceMean", ["g"], ["m"], axes=[-1]),
        node("Sub", ["g", "m"], ["d"]), node("Sigmoid", ["d"], ["e"]), node("Mul", ["d", "e"], ["h"]),
        node("QuantizeLinear", ["h", "scale", "zp"], ["i"]), node("DequantizeLinear", ["i", "scale", "zp"], ["j"]),
        node("Pad", ["j", "pads"], ["k"]), node("Loop", ["n", "", "j"], ["l"], body=body),
        node("If", ["yes"], ["o"], **branches), node("Softmax", ["o"], ["p"], axis=-1),
        node("ConstantOfShape", ["u2"], ["q"]), node("Expand", ["q", "u2"], ["r"]), node("Tile", ["r", "u2"], ["v"]),
        node("Range", ["z0", "n", "one"], ["rng"]), node("ReduceSum", ["k"], ["ks"], keepdims=0),
        node("Add", ["p", "ks"], ["p2"]), node("Flatten", ["p2"], ["y"]),
    ]  # fmt: skip
    constants = [
        constant("c", np.ones((4, 3, 3, 3), np.float32)), constant("zero", [0]), constant("two", [2]),
        constant("minus", [-1]), constant("w", np.ones((16, 16), np.float32)), constant("n", 2),
        constant("scale", np.float32(0.1)), constant("zp", np.uint8(3)), constant("pads", [0, 0, 1, 0, 0, 1]),
        constant("yes", True), constant("u2", [2, 3]), constant("z0", 0), constant("one", 1),
    ]  # fmt: skip
    onnx_file(path, nodes, constants, shape=(1, 3, 8, 8))
    return path


def damaged(whole, seed):
    """A file that is cut, or has bytes or bits changed, doubled or left out."""
    source, data = random.Random(seed), bytearray(whole)
    kind = source.choice(["cut", "bit", "bit", "byte", "byte", "gone", "twice"])
    for _ in range(source.randint(1, 4)):
        at = source.randrange(len(data))
        if kind == "cut":
            return bytes(data[:at])
        if kind == "bit":
            data[at] ^= 1 << source.randrange(8)
        elif kind == "byte":
            data[at] = source.choice([0, 1, 0x7F, 0x80, 0xFF, source.randrange(256)])
        elif kind == "gone":
            del data[at : at + source.randint(1, 8)]
        else:
            data[at:at] = data[at : at + source.randint(1, 16)]
    return bytes(data)


def lines(model, cache):
    """How many the refusal has; 0 for a graph. Any other error is raised."""
    try:
        return 0 if trace_model(model, cache=cache).outputs else -1
    except UserError as error:
        return len(str(error).splitlines())


def places(content, found):
    """All lists and objects of JSON that is not empty, with each key of theirs."""
    for key, part in content.items() if isinstance(content, dict) else enumerate(content):
        found.append((content, key))
        if isinstance(part, dict | list):
            places(part, found)
    return found


def damaged_archive(whole, seed):
    """An archive whose checksums hold: two values of its JSON are others, or are gone; or its text is damaged."""
    source, result = random.Random(seed), io.BytesIO()
    others = [None, -1, 0, 3, 1 << 40, 1 << 70, 2.5, True, "", "x", "as_int", [], {}, [[1]], {"as_int": -2}]
    with zipfile.ZipFile(io.BytesIO(whole)) as old, zipfile.ZipFile(result, "w") as new:
        texts = [name for name in old.namelist() if name.endswith(".json")]
        chosen = source.choice([*texts, *[name for name in texts if "/models/" in name] * 2])
        for name in old.namelist():
            data = old.read(name)
            if name == chosen and seed % 4 == 0:
                data = damaged(data, seed)
            elif name == chosen:
                content = json.loads(data)
                for _ in range(2):
                    holder, key = source.choice(places(content, []))
                    if source.random() < 0.2:
                        del holder[key]
                    else:
                        holder[key] = source.choice(others)
                data = json.dumps(content).encode()
            new.writestr(name, data)
    return result.getvalue()


@pytest.mark.parametrize("part", [0, *(pytest.param(part, marks=pytest.mark.full) for part in range(1, 10))])
@pytest.mark.parametrize("form", ["onnx", "pt2", "pt2 inside"])
def test_damaged_files_are_one_line_or_a_graph(archive, network, tmp_path, form, part):
    whole = (network if form == "onnx" else archive).read_bytes()
    damage = damaged_archive if form == "pt2 inside" else damaged
    path = tmp_path / "damaged"
    found = []
    for seed in range(part * 50, part * 50 + 50):
        path.write_bytes(damage(whole, seed))
        try:
            found.append(lines(f"{form.split()[0]}:{path}", tmp_path / str(seed)))
        except Exception as error:
            raise AssertionError(f"seed {seed}: {error!r}") from error
    assert set(found) == {0, 1}, f"lines by seed: {found}"
