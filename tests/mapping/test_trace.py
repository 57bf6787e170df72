"""Tracing: what is tracked, folded and named; counts against PyTorch's own counter; and the cache."""

import subprocess
import sys

import onnx
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from lanewise.errors import UserError
from lanewise.mapping.graph import Graph
from lanewise.mapping.networks import load
from lanewise.mapping.trace import trace, trace_model


class Written(nn.Module):
    """A function as a module."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *tensors):
        return self.function(*tensors)


def traced(function, *shapes: tuple[int, ...]) -> Graph:
    return trace(Written(function), tuple(torch.empty(shape, device="meta") for shape in shapes))


def steps(graph: Graph) -> list[str]:
    """Function (or kind) of every operator that is not a view."""
    return [
        str(o.attributes["operation"]) if o.kind == "movement" else o.function or o.kind
        for o in graph.operators
        if o.function != "view"
    ]


def result_of(graph: Graph, function: str) -> int:
    return next(o.outputs[0] for o in graph.operators if o.function == function)


# Writes in place


def test_in_place_operators_make_new_values():
    def forward(x):
        y = x * 2
        y.relu_()
        y += x
        return y

    graph = traced(forward, (4,))
    multiply, relu, add = graph.operators
    assert [multiply.function, relu.function, add.function] == ["multiply", "relu", "add"]
    assert relu.inputs == multiply.outputs
    assert add.inputs == (*relu.outputs, 0)
    assert graph.outputs == add.outputs


def test_input_written_in_place_is_not_the_input_any_more():
    graph = traced(lambda x: x.relu_() + x, (4,))
    relu, add = graph.operators
    assert add.inputs == relu.outputs * 2


def test_write_through_a_view_reaches_its_base():
    def forward(x):
        y = x * 2
        y.view(-1).relu_()
        return y.tanh()

    graph = traced(forward, (2, 4))
    assert steps(graph) == ["multiply", "relu", "tanh"]  # all elements: no copy
    tanh = graph.operators[-1]
    alias = graph.operators[tanh.index - 1]
    assert (alias.function, alias.inputs) == ("view", (result_of(graph, "relu"),))


def test_write_to_a_base_reaches_its_views():
    def forward(x):
        y = x * 2
        row = y[1]
        y.relu_()
        return row.tanh()

    graph = traced(forward, (2, 4))
    source = graph.values[graph.operators[-1].inputs[0]]
    assert graph.operators[source.producer].inputs == (result_of(graph, "relu"),)


def test_write_to_a_part_updates_the_whole():
    def forward(x):
        y = x * 2
        y[:, 1:3].relu_()
        untouched = y[:, 0]
        return y.tanh(), untouched.exp()

    graph = traced(forward, (2, 4))
    assert steps(graph) == ["multiply", "relu", "update", "tanh", "exp"]
    update = next(o for o in graph.operators if o.attributes.get("operation") == "update")
    assert update.inputs == (result_of(graph, "multiply"), result_of(graph, "relu"))


def test_pieces_that_do_not_touch_stay_apart():
    def forward(x):
        y = x * 2
        left, right = y[:, :2], y[:, 2:]
        left.relu_()
        return right.tanh()

    graph = traced(forward, (2, 4))
    right = graph.values[graph.operators[-1].inputs[0]]
    assert graph.operators[right.producer].inputs == (result_of(graph, "multiply"),)


def test_a_view_of_what_was_written_reads_what_is_there_now():
    def forward(x):
        y = x * 2
        y[0] = 0
        row = y[:, 1]  # made while y is out of date, read after another write
        y[1].relu_()
        return row.tanh()

    graph = traced(forward, (2, 4))
    assert steps(graph) == ["multiply", "update", "relu", "update", "tanh"]
    tanh = graph.operators[-1]
    assert graph.operators[tanh.index - 1].inputs == graph.operators[tanh.index - 2].outputs


def test_a_result_assembled_from_pieces_is_one_movement():
    def forward(x):
        out = torch.empty_like(x)
        for row in range(4):
            out[row] = x[row] * 2
        return out.tanh()

    graph = traced(forward, (4, 8))
    assert steps(graph) == [*["multiply", "clone"] * 4, "update", "tanh"]
    update = next(o for o in graph.operators if o.attributes.get("operation") == "update")
    assert len(update.inputs) == 5  # the old contents and four rows


def test_alias_made_behind_the_dispatcher():
    graph = traced(lambda x: (x * 2).data.tanh(), (4,))
    assert steps(graph) == ["multiply", "tanh"]
    assert graph.values[graph.operators[-1].inputs[0]].origin == "operator"


# Structure


def test_residual_add_reads_the_value_from_before():
    network = nn.Sequential(nn.Linear(8, 8), nn.ReLU()).to("meta")
    graph = trace(Written(lambda x: x + network(x)), torch.empty(2, 8, device="meta"))
    assert steps(graph) == ["matmul", "relu", "add"]
    assert graph.operators[-1].inputs == (0, graph.operators[1].outputs[0])


class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 8)
        self.act = nn.ReLU()

    def forward(self, x):
        return self.layer(self.act(self.layer(x)))


def test_a_module_used_twice_shares_weights_and_not_names():
    graph = trace(Shared().to("meta"), torch.empty(2, 8, device="meta"))
    assert [o.name for o in graph.operators] == ["layer", "act", "layer#2"]
    names = [[graph.values[i].name for i in o.inputs[1:]] for o in graph.operators if o.kind == "matmul"]
    assert names == [["layer.weight", "layer.bias"]] * 2
    assert graph.operators[0].inputs[2] == graph.operators[2].inputs[2]


def test_names_are_unique_and_carry_the_path():
    graph = trace(*load("timm:resnet18"))
    names = [o.name for o in graph.operators]
    assert len(set(names)) == len(names)
    assert "layer1.0.conv1" in names
    assert names[-1] == "fc"


def test_a_chain_of_views_moves_nothing():
    graph = traced(lambda x: x.view(2, 3, 4).transpose(1, 2).unsqueeze(0)[..., 1:], (6, 4))
    assert [o.function for o in graph.operators] == ["view"] * 4
    assert graph.values[graph.outputs[0]].shape == (1, 2, 4, 2)


def test_what_reads_no_input_is_folded():
    class Position(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Parameter(torch.empty(16, 4))

        def forward(self, x):
            places = torch.arange(x.shape[0], device=x.device)
            mask = torch.ones(x.shape[0], 1, device=x.device).cumsum(0)
            return x + self.table[places] * mask + torch.zeros_like(x)

    graph = trace(Position().to("meta"), torch.empty(8, 4, device="meta"))
    assert [o.function for o in graph.operators] == ["add", "add"]
    assert graph.values[graph.operators[0].inputs[1]].origin == "parameter"
    assert graph.values[graph.operators[1].inputs[1]].origin == "constant"
    assert {"arange", "ones", "cumsum", "index", "mul", "zeros_like"} <= set(graph.folded)


def test_random_numbers_are_not_folded():
    graph = traced(lambda x: x + torch.rand(4, device="meta"), (4,))
    assert steps(graph) == ["rand", "add"]
    assert graph.operators[0].kind == "other"


def test_dropout_does_nothing():
    assert steps(trace(nn.Sequential(nn.Dropout(0.5), nn.ReLU()), torch.empty(4, device="meta"))) == ["relu"]


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (torch.special.bessel_j0, "special_bessel_j0"),
        (lambda x: x.sort().values, "sort"),
        (lambda x: torch.view_as_complex(x.view(2, 2)) * 2, "complex_multiply"),
    ],
)
def test_an_unknown_operator_is_other_with_its_name(function, name):
    other = [o for o in traced(function, (4,)).operators if o.kind == "other"]
    assert [o.function for o in other] == [name]


def test_an_operator_of_another_library_is_other():
    library = torch.library.Library("lanewise_test", "FRAGMENT")
    library.define("twice(Tensor x) -> Tensor")
    library.impl("twice", lambda x: torch.empty_like(x), "Meta")
    graph = traced(torch.ops.lanewise_test.twice, (4,))
    assert [(o.kind, o.function) for o in graph.operators] == [("other", "lanewise_test::twice")]


# Attention


def written_out(query, key, value):
    scores = query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5
    return scores.softmax(-1) @ value


@pytest.mark.parametrize("batch", [1, 3])
def test_fused_attention_is_what_it_is_written_out(batch):
    shapes = [(batch, 4, 10, 16), (batch, 4, 12, 16), (batch, 4, 12, 16)]
    fused, plain = traced(F.scaled_dot_product_attention, *shapes), traced(written_out, *shapes)
    assert steps(fused) == ["matmul", "multiply", "softmax", "matmul"]

    def forms(graph):
        return [(o.kind, o.function, o.inputs, dict(o.attributes)) for o in graph.operators]

    assert forms(fused) == forms(plain)
    assert fused.macs == 2 * batch * 4 * 10 * 12 * 16


def test_attention_masks():
    x = (1, 4, 10, 16)
    causal = traced(lambda q: F.scaled_dot_product_attention(q, q, q, is_causal=True), x)
    assert steps(causal) == ["matmul", "multiply", "add", "softmax", "matmul"]
    add = next(o for o in causal.operators if o.function == "add")
    mask = causal.values[add.inputs[1]]
    assert (mask.shape, mask.origin) == ((10, 10), "constant")
    given = traced(lambda q, m: F.scaled_dot_product_attention(q, q, q, attn_mask=m), x, (10, 10))
    assert given.operators[[o.function for o in given.operators].index("add")].inputs[1] == 1


def test_grouped_attention_copies_no_key():
    shapes = [(2, 8, 10, 16), (2, 2, 12, 16), (2, 2, 12, 16)]
    graph = traced(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, enable_gqa=True), *shapes)
    assert steps(graph) == ["matmul", "multiply", "softmax", "matmul"]
    assert graph.macs == 2 * 2 * 8 * 10 * 12 * 16
    assert graph.values[graph.outputs[0]].shape == (2, 8, 10, 16)


def test_attention_layer_is_taken_apart():
    layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True).to("meta").eval()
    assert steps(trace(layer, torch.empty(1, 6, 32, device="meta"))).count("matmul") == 6


# The module


def test_training_flags_are_put_back():
    network = nn.Sequential(nn.Dropout(), nn.ReLU().eval()).to("meta")
    trace(network, torch.empty(3, device="meta"))
    assert [part.training for part in network.modules()] == [True, True, False]


def test_inputs_by_name_and_real_tensors():
    network = nn.Bilinear(4, 5, 6)
    graph = trace(network, {"input2": torch.ones(2, 5), "input1": torch.ones(2, 4)})
    assert graph.inputs == {"input2": (2, 5), "input1": (2, 4)}
    assert graph.values[graph.outputs[0]].shape == (2, 6)


def test_a_question_about_data_is_refused_and_says_where():
    class Branch(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(RuntimeError) as caught:
        trace(nn.Sequential(nn.ReLU(), Branch()), torch.empty(3, device="meta"))
    assert caught.value.__notes__ == ["while tracing aten._local_scalar_dense.default in module 1"]


def test_a_question_about_a_constant_is_answered():
    def forward(x):
        ahead = torch.ones(4, 4, device="meta").tril()
        ahead[0, 1] = 5
        ahead.mul_(2)
        length = int(ahead.max()) + torch.arange(3, device="meta")[1:].numel()
        chosen = torch.arange(6, device="meta").remainder(2).nonzero().shape[0]
        return x.expand(length, chosen, 4) + 1

    assert traced(forward, (4,)).operators[-1].inputs == (1,)
    assert traced(forward, (4,)).values[-1].shape == (12, 3, 4)


# Counts


def counted(network, inputs) -> int:
    """Attention in its parts: the counter does not know the CPU's fused kernel."""
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        network(**inputs) if isinstance(inputs, dict) else network(*inputs)
    return counter.get_total_flops() // 2


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "model",
    [
        "timm:resnet50", "timm:mobilenetv3_large_100", "timm:vit_small_patch16_224", "timm:convnext_tiny",
        "timm:efficientnet_b0", "timm:swin_tiny_patch4_window7_224", "timm:swinv2_tiny_window8_256",
        "timm:mixer_s16_224", "hf:minilm", "hf:bert", "hf:distilbert", "hf:t5", "hf:vit",
    ],
)  # fmt: skip
def test_macs_equal_pytorchs_counter(model):
    network, inputs = load(model)
    graph = trace(network, inputs)
    assert graph.macs + graph.folded_macs == counted(network, inputs)
    assert not [o for o in graph.operators if o.kind == "other"]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["gpt2", "llama", "mistral", "gemma"])
def test_macs_of_decoders_equal_pytorchs_counter(kind):
    """Small ones on the CPU: on the meta device their code asks for values that the counter cannot give."""
    import transformers

    sizes = {
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "head_dim": 16,
    }
    names = (
        {"n_embd": 64, "n_layer": 2, "n_head": 4} if kind == "gpt2" else {**sizes, "num_key_value_heads": 2}
    )
    config = transformers.AutoConfig.for_model(kind, vocab_size=128, use_cache=False, **names)
    network = transformers.AutoModel.from_config(config).eval()
    tokens = torch.arange(24).reshape(2, 12)
    graph = trace(network, {"input_ids": tokens})
    assert graph.macs + graph.folded_macs == counted(network, {"input_ids": tokens})
    with torch.device("meta"):
        empty = transformers.AutoModel.from_config(config).eval()
    on_meta = trace(empty, {"input_ids": tokens.to("meta")})
    assert on_meta.macs == graph.macs
    assert steps(on_meta) == steps(graph)


# The cache


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A file of each kind."""
    folder = tmp_path_factory.mktemp("files")
    torch.export.save(torch.export.export(torch.nn.ReLU(), (torch.zeros(2),)), folder / "a.pt2")
    x, y = (onnx.helper.make_tensor_value_info(name, 1, [2]) for name in "xy")
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "graph", [x], [y])
    onnx.save(onnx.helper.make_model(graph), folder / "a.onnx")
    return folder


@pytest.mark.parametrize("model", ["timm:resnet18", "hf:minilm", "onnx:a.onnx", "pt2:a.pt2"])
def test_the_cache_depends_on_every_file_of_the_tracer(model, files):
    script = (
        "import sys, lanewise.mapping.recorder, lanewise.mapping.networks as networks, lanewise.mapping.trace as trace; "
        f"network, inputs = networks.load({model!r}); trace.trace(network, inputs); "
        "kept = 'lanewise.mapping.', 'lanewise.models.onnx.'; "
        "print(*[name for name in sys.modules if name.startswith(kept)]); "
        f"print(*trace.tracer_files({model.partition(':')[0]!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=files
    )
    loaded, hashed = (
        {name.removeprefix("lanewise.mapping.").removeprefix("lanewise.") for name in line.split()}
        for line in done.stdout.splitlines()
    )
    stems = {
        name.removeprefix("../").removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for name in hashed
    }
    assert loaded <= stems


def test_warm_trace_is_equal_and_imports_no_torch(tmp_path):
    said: list[str] = []
    cold = trace_model("timm:resnet18", cache=tmp_path, progress=said.append)
    assert said == ["timm:resnet18: tracing"]
    (file,) = (tmp_path / "traces").iterdir()
    script = (
        "import sys; from pathlib import Path; from lanewise.mapping.trace import trace_model; "
        f"graph = trace_model('timm:resnet18', cache=Path({str(tmp_path)!r})); "
        "print(graph.hash, *[name for name in ('torch', 'timm', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [cold.hash]
    assert list((tmp_path / "traces").iterdir()) == [file]
    assert trace_model("timm:resnet18", cache=tmp_path) == cold


def test_every_option_has_its_own_trace(tmp_path):
    graphs = [
        trace_model("hf:minilm", cache=tmp_path, **options)
        for options in ({}, {"sequence": 64}, {"batch": 2})
    ]
    assert [g.inputs["input_ids"] for g in graphs] == [(1, 128), (1, 64), (2, 128)]
    assert len({g.hash for g in graphs}) == 3


@pytest.mark.parametrize("damage", [b"", b"no gzip", None])
def test_a_damaged_file_is_traced_again(tmp_path, capsys, damage):
    good = trace_model("timm:resnet18", cache=tmp_path)
    (file,) = (tmp_path / "traces").iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2] if damage is None else damage)
    assert trace_model("timm:resnet18", cache=tmp_path) == good
    assert "the cached trace cannot be read" in capsys.readouterr().err
    assert file.read_bytes() == whole


def test_a_network_that_cannot_be_traced_is_one_line(tmp_path, monkeypatch):
    def refuse(*_args, **_kwargs):
        raise RuntimeError("first line\nsecond line")

    monkeypatch.setattr("lanewise.mapping.trace.trace", refuse)
    with pytest.raises(
        UserError, match=r"^timm:resnet18: its forward pass cannot be traced: first line; expected"
    ):
        trace_model("timm:resnet18", cache=tmp_path)
    assert not (tmp_path / "traces").exists()


@pytest.mark.parametrize("option", ["batch", "sequence", "resolution"])
def test_options_must_be_positive(tmp_path, option):
    with pytest.raises(UserError, match=f"^{option}: must be at least 1, not 0$"):
        trace_model("timm:resnet18", cache=tmp_path, **{option: 0})
