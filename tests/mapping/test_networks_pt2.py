"""Networks from archives of torch.export: the same graph as the module's, nothing unpickled, bad files refused."""

import json
import pickle
import zipfile

import pytest
import torch
from torch import nn

from lanewise.cli import main
from lanewise.config import MachineConfig
from lanewise.errors import UserError
from lanewise.mapping.networks import load
from lanewise.mapping.networks_shared import empty_weights
from lanewise.mapping.simulate import simulate
from lanewise.mapping.trace import trace, trace_model


class Network(nn.Module):
    """Convolution, norm, attention, a buffer, a constant, arithmetic on sizes, several results."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.block = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))
        self.register_buffer("shift", torch.ones(8))

    def forward(self, x, *, scale):
        """A picture of half the size by its rows, and positions."""
        y = torch.relu_(self.norm(self.convolution(x)))
        y = nn.functional.max_pool2d(y, 2).flatten(2).mT
        y = nn.functional.scaled_dot_product_attention(y, y, y) * scale + self.shift
        with torch.no_grad():
            y = self.block(y) + torch.arange(1.0, 9.0, device=x.device)
        left, right = y.split(4, -1)
        return {"left": left, "right": [right.sum(-1).view(x.shape[0], -1), y.amax((1, 2))]}


def saved(path, module, args, kwargs=None, **options):
    torch.export.save(torch.export.export(module.eval(), args, kwargs, **options), path)
    return f"pt2:{path}"


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    path = tmp_path_factory.mktemp("pt2") / "network.pt2"
    axes = {"x": {0: torch.export.Dim("batch", max=8), 2: 2 * torch.export.Dim("half", min=2, max=64)}}
    x, scale = torch.zeros(2, 3, 16, 16), torch.zeros(1)
    saved(path, Network(), (x,), {"scale": scale}, dynamic_shapes={**axes, "scale": None})
    return path


def content(graph):
    """What a graph computes, and what its operators are called; not what became of constants."""
    return [
        (o.name, o.kind, o.function, dict(o.attributes), [graph.values[i].shape for i in o.inputs])
        for o in graph.operators
    ]


def test_the_graph_is_the_modules_own(archive):
    network, inputs = load(f"pt2:{archive}", batch=4, resolution=None, dims={"x.2": 24})
    assert {name: tuple(value.shape) for name, value in inputs.items()} == {
        "x": (4, 3, 24, 16),
        "scale": (1,),
    }
    through = trace(network, inputs)
    with torch.device("meta"):
        module = Network().eval()
        direct = trace(module, {"x": torch.empty(4, 3, 24, 16), "scale": torch.empty(1)})
    assert content(through) == content(direct)
    assert through.macs == direct.macs > 0
    config = MachineConfig()
    costs = [simulate(graph, config) for graph in (through, direct)]
    assert costs[0].machine.cycles == costs[1].machine.cycles
    assert costs[0].baseline.cycles == costs[1].baseline.cycles


@pytest.mark.parametrize("name", ["timm:resnet10t", "timm:vit_tiny_patch16_224"])
def test_networks_of_timm_through_an_archive(tmp_path, name):
    options = {"resolution": 32}
    with empty_weights():
        module, (image,) = load(name, **options)
    real = module.to_empty(device="cpu")
    model = saved(tmp_path / "network.pt2", real, (torch.zeros(image.shape),))
    network, inputs = load(model)
    through, direct = trace(network, inputs), trace_model(name, **options)
    assert content(through) == content(direct)


def test_an_open_axis_that_is_computed_from_another(archive):
    """The second axis is 2 * half: half is in no input alone."""
    with pytest.raises(UserError, match=r"axis 2 of input x has no size; expected --dim 2\*s\d+=N$"):
        load(f"pt2:{archive}")
    _, inputs = load(f"pt2:{archive}", dims={"x.0": 3, "x.2": 20})
    assert tuple(inputs["x"].shape) == (3, 3, 20, 16)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"dims": {"x.0": 9}, "resolution": 16},
            r"axis 0 of input x must be 0 to 8, as it was exported, not 9$",
        ),
        ({"batch": 9, "resolution": 16}, r"axis 0 of input x must be 0 to 8, as it was exported, not 9$"),
        (
            {"dims": {"rows": 9}, "resolution": 16},
            r"--dim rows: is no open axis; expected one of s\d+, x.0, 2\*s",
        ),
    ],
)
def test_sizes_that_are_refused(archive, options, message):
    with pytest.raises(UserError, match=message):
        load(f"pt2:{archive}", **options)


# Bad files


def rewritten(archive, path, change):
    """The archive with its JSON changed."""
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name.endswith(".json"):
                data = json.dumps(change(name.rpartition("/")[2], json.loads(data))).encode()
            new.writestr(name, data)
    return f"pt2:{path}"


class Trap:
    """Its unpickling would raise."""

    def __reduce__(self):
        return (eval, ("1 / 0",))


def test_pickles_of_the_archive_are_not_read(archive, tmp_path):
    path = tmp_path / "trap.pt2"
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            new.writestr(name, pickle.dumps(Trap()) if name.endswith(".pt") else old.read(name))
    assert load(f"pt2:{path}", resolution=16)[1]["x"].shape[2] == 16


@pytest.mark.parametrize(
    "target",
    [
        "torch.serialization.os.system", "torch.ops.aten.from_file.default", "_operator.call", "math.comb",
        "torch.ops.aten.nothing.default", "torch.ops.mine.add.default", "torch.ops.aten.save.default",
    ],
)  # fmt: skip
def test_operators_that_are_none_of_pytorchs_tensors_are_refused(archive, tmp_path, target):
    def change(name, data):
        if name == "model.json":
            data["graph_module"]["graph"]["nodes"][3]["target"] = target
        return data

    model = rewritten(archive, tmp_path / "changed.pt2", change)
    with pytest.raises(
        UserError, match=rf"changed.pt2: operator {target} is unknown; expected one of torch.ops"
    ):
        load(model, resolution=16)


def test_weights_that_can_only_be_unpickled_are_refused(archive, tmp_path):
    def change(name, data):
        if name == "model_weights_config.json":
            data["config"]["convolution.weight"]["use_pickle"] = True
        return data

    model = rewritten(archive, tmp_path / "changed.pt2", change)
    with pytest.raises(
        UserError, match=r"convolution.weight can only be unpickled; expected a plain tensor$"
    ):
        load(model)


@pytest.mark.parametrize(
    "damage", ["missing", "folder", "empty", "text", "truncated", "other", "old", "no JSON", "no node"]
)
def test_bad_files_are_one_line_and_status_2(archive, tmp_path, capsys, damage):
    path = tmp_path / "bad.pt2"
    whole = archive.read_bytes()
    contents = {"empty": b"", "text": b"no archive at all", "truncated": whole[: len(whole) // 2]}
    if damage in contents:
        path.write_bytes(contents[damage])
    elif damage == "folder":
        path.mkdir()
    elif damage == "no node":
        rewritten(archive, path, lambda _, data: {**data, "graph_module": {"graph": {}, "signature": {}}})
    elif damage != "missing":
        names = {
            "other": "a/readme",
            "old": "serialized_exported_program.json",
            "no JSON": "a/models/model.json",
        }
        with zipfile.ZipFile(path, "w") as new:
            new.writestr(names[damage], "{")
    assert main(["simulate", f"pt2:{path}"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"lanewise: {path}: ")
    assert len(error.splitlines()) == 1
    if damage == "old":
        assert "is of the format before PyTorch 2.8" in error
