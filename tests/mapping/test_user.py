"""A module of one's own from Python: what it costs, and that it stays as it was."""

import resource
import subprocess
import sys

import pytest
import torch
from torch import nn

import lanewise
from lanewise.config import MachineConfig
from lanewise.errors import UnmappedError, UserError
from lanewise.mapping.simulate import simulate as simulate_graph
from lanewise.mapping.trace import trace as trace_graph


class Two(nn.Module):
    """Two operands, one by name; a buffer that is counted up."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(16, 32)
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
        self.dropout = nn.Dropout(0.5)

    def forward(self, x, gate=None):
        """Shape (batch, 32)."""
        self.calls += 1
        y = self.dropout(nn.functional.gelu(self.linear(x)))
        return y if gate is None else y * gate


class AsksItsBuffer(nn.Module):
    """How often it works is in a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)
        self.register_buffer("times", torch.tensor(3))

    def forward(self, x):
        """Shape as ``x``."""
        for _ in range(int(self.times)):
            x = self.linear(x)
        return x


class AsksItsInput(nn.Module):
    """What it does depends on the input's values."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, x):
        """Shape as ``x``."""
        return self.linear(x) if x.sum() > 0 else x


def test_costs_what_the_traced_module_costs():
    with torch.device("meta"):
        graph = trace_graph(Two(), torch.empty(4, 16))
    config = MachineConfig()
    wanted = simulate_graph(graph, config)
    found = lanewise.simulate(Two(), torch.zeros(4, 16), config=config)
    assert found.machine.cycles == wanted.machine.cycles > 0
    assert found.baseline.cycles == wanted.baseline.cycles > found.machine.cycles
    assert lanewise.simulate(Two(), torch.zeros(4, 16)).machine.cycles == found.machine.cycles


@pytest.mark.parametrize(
    "inputs",
    [
        (torch.zeros(4, 16), torch.zeros(4, 32)),
        [torch.zeros(4, 16, device="meta"), torch.zeros(4, 32)],
        {"x": torch.zeros(4, 16), "gate": torch.zeros(4, 32)},
    ],
)
def test_kinds_of_inputs(inputs):
    graph = lanewise.trace(Two(), inputs)
    assert graph.inputs == {"x": (4, 16), "gate": (4, 32)}
    assert graph.macs == 4 * 16 * 32
    assert graph.model == "Two"


def test_the_module_stays_as_it_was():
    module = Two().train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    lanewise.simulate(module, torch.zeros(4, 16))
    assert module.training
    assert module.dropout.training
    assert module.linear.weight.device.type == "cpu"
    assert module.linear.weight.requires_grad
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_a_large_module_is_not_copied():
    """4 GiB of parameters, of which no page is ever touched."""
    module = nn.Linear(1, 1)
    module.weight = nn.Parameter(torch.empty(1 << 15, 1 << 15), requires_grad=False)
    module.bias = None
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert lanewise.trace(module, torch.zeros(2, 1 << 15)).macs == 2 << 30
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 20  # KiB


def test_values_are_asked_for_where_there_are_any():
    assert lanewise.trace(AsksItsBuffer(), torch.zeros(2, 8)).macs == 3 * 2 * 64
    assert lanewise.trace(AsksItsInput(), torch.ones(2, 8)).macs == 2 * 64
    assert lanewise.trace(AsksItsInput(), -torch.ones(2, 8)).macs == 0
    with pytest.raises(
        UserError, match=r"^AsksItsInput: its forward pass cannot be traced: .*; expected shapes"
    ):
        lanewise.trace(AsksItsInput(), torch.ones(2, 8, device="meta"))


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_nested_tensors_are_refused():
    nested = torch.nested.nested_tensor([torch.zeros(2, 8), torch.zeros(3, 8)])
    with pytest.raises(UserError, match=r"^inputs: must be dense tensors"):
        lanewise.trace(nn.ReLU(), nested)


@pytest.mark.parametrize(
    ("module", "inputs", "message"),
    [
        (len, torch.zeros(1), "module: must be a torch.nn.Module, not builtin_function_or_method"),
        (nn.ReLU(), 3, "inputs: must be a tensor, a tuple, or a dict of arguments, not int"),
        (nn.ReLU(), "x", "inputs: must be a tensor, a tuple, or a dict of arguments, not str"),
        (nn.ReLU(), (), "inputs: must hold a tensor"),
        (nn.ReLU(), {1: torch.zeros(1)}, "inputs: names of arguments must be text, not 1"),
        (nn.ReLU(), torch.eye(3).to_sparse(), "inputs: must be dense tensors, of one shape each"),
        (nn.Linear(4, 4), torch.zeros(2, 5), "Linear: its forward pass cannot be traced: "),
        (nn.Linear(4, 4), {"y": torch.zeros(2, 4)}, "Linear: its forward pass cannot be traced: "),
    ],
)
def test_what_is_refused(module, inputs, message):
    with pytest.raises(UserError) as caught:
        lanewise.trace(module, inputs)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_configuration(tmp_path):
    file = tmp_path / "machine.toml"
    file.write_text("[vector]\nlanes = 4\n")
    slow = lanewise.simulate(nn.GELU(), torch.zeros(64, 64), config=file)
    assert slow.machine.cycles > lanewise.simulate(nn.GELU(), torch.zeros(64, 64)).machine.cycles
    file.write_text("[vector]\nlanes = 5\n")
    with pytest.raises(UserError, match="lanes"):
        lanewise.simulate(nn.GELU(), torch.zeros(64, 64), config=str(file))


def test_operators_without_a_kernel():
    class Sorts(nn.Module):
        def forward(self, x):
            return torch.linalg.inv(x)

    with pytest.raises((UserError, UnmappedError)):
        lanewise.simulate(Sorts(), torch.zeros(8, 8))
    assert lanewise.simulate(Sorts(), torch.zeros(8, 8), allow_unmapped=True).machine.cycles > 0


def test_importing_lanewise_is_cheap():
    script = "import lanewise, sys; print([name for name in ('torch', 'numpy', 'lanewise.mapping') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
    with pytest.raises(AttributeError, match="has no attribute 'simulation'"):
        _ = lanewise.simulation
