"""A session ends with the call that began it, and only what PyTorch runs is run on the hardware."""

import functools
import inspect
import io
from copy import deepcopy

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - its usual name

from lanewise.errors import UserError
from lanewise.models.nn import approximate, exact

SEED = 5


def randn(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(SEED))


def same(result, expected):
    torch.testing.assert_close(result, expected, rtol=0, atol=0)


class Stop(nn.Module):
    """Stops as by Ctrl-C, if it is told to."""

    stopping = True

    def forward(self, x):
        if self.stopping:
            raise KeyboardInterrupt
        return x


def check_nothing_is_left():
    x = randn(50)
    same(F.gelu(x), torch.ops.aten.gelu(x))
    torch.testing.assert_close(
        F.gelu(x).double(), x * torch.erfc(-x.double() / 2**0.5) / 2, rtol=0, atol=1e-6
    )
    assert not torch.equal(approximate(nn.GELU(), segments=4)(x), F.gelu(x))


@pytest.mark.parametrize("exclude", [(), ("1",)])
def test_an_interrupted_network_leaves_nothing(exclude):
    network = approximate(nn.Sequential(nn.GELU(), Stop()), segments=4, exclude=exclude)
    with pytest.raises(KeyboardInterrupt):
        network(randn(5))
    check_nothing_is_left()
    network[1].stopping = False
    same(network(randn(5)), approximate(nn.GELU(), segments=4)(randn(5)))


def networks():
    torch.manual_seed(SEED)
    return nn.Sequential(nn.Linear(4, 4), nn.GELU(), nn.LayerNorm(4), nn.Softmax(-1))


@pytest.mark.parametrize(
    ("record", "recorder"),
    [
        (lambda network, x: torch.jit.trace(network, x), "TorchScript"),
        (lambda network, x: torch.jit.trace(lambda y: network(y), x), "torch.jit.trace"),
        (lambda network, _: torch.jit.script(network), "TorchScript"),
        (lambda network, _: torch.jit.script(nn.Sequential(network)), "TorchScript"),
        (lambda network, x: torch.export.export(network, (x,)), "torch.export"),
    ],
)
def test_recording_is_refused(record, recorder):
    network, x = approximate(networks(), segments=4).requires_grad_(False), randn(3, 4)
    wanted = network(x)
    message = (
        f"^an approximated network must be run by PyTorch itself, not recorded by {recorder}, which cannot"
    )
    with pytest.raises(UserError, match=message):
        record(network, x)
    check_nothing_is_left()
    same(network(x), wanted)
    record(exact(network), x)


@pytest.mark.parametrize(
    "transform",
    [lambda f: torch.func.vmap(f), lambda f: torch.func.grad(lambda x: f(x).square().sum())],
)
@pytest.mark.parametrize("layer", [nn.GELU(), nn.Softmax(-1), nn.LayerNorm(4), nn.LSTM(4, 4)])
def test_transforms_are_refused(layer, transform):
    network = approximate(layer, segments=4)
    with pytest.raises(
        UserError, match=r"^the hardware's functions must be computed on plain tensors, not on"
    ):
        transform(lambda x: network(x)[0])(randn(3, 4, 4))
    check_nothing_is_left()


def test_functional_calls_and_transforms_of_what_is_exact():
    network, x = approximate(networks(), segments=4), randn(3, 4)
    same(torch.func.functional_call(network, dict(network.named_parameters()), (x,)), network(x))
    line = approximate(nn.Sequential(nn.Linear(4, 4), nn.ReLU()))
    torch.testing.assert_close(torch.func.vmap(line)(x), line(x))


def test_forward_itself_runs_on_the_hardware():
    network, x = approximate(networks(), segments=4), randn(3, 4)
    same(network.forward(x), network(x))
    assert not torch.equal(network.forward(x), networks()(x))
    assert inspect.signature(network.forward) == inspect.signature(networks().forward)


def test_a_forward_of_the_modules_own():
    """As libraries that move weights about put it there, before or after."""

    def twice(old, x):
        return 2 * old(x)

    before, x = nn.Tanh(), randn(3, 4)
    before.forward = functools.partial(twice, before.forward)
    hardware = approximate(nn.Tanh(), segments=4)
    wanted = 2 * hardware(x)
    approximated = approximate(before, segments=4)
    same(approximated(x), wanted)
    same(exact(approximated)(x), before(x))
    hardware.forward = functools.partial(twice, hardware.forward)
    same(hardware(x), wanted)
    same(approximate(hardware, segments=64)(x), 2 * approximate(nn.Tanh(), segments=64)(x))
    same(exact(hardware)(x), before(x))


def test_copies_have_layers_of_their_own():
    network, x = approximate(networks(), segments=4), randn(3, 4)
    wanted, copied, file = network(x), deepcopy(network), io.BytesIO()
    torch.save(network, file)
    file.seek(0)
    saved = torch.load(file, weights_only=False)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    for other in (copied, saved):
        same(other(x), wanted)
        same(exact(other)(x), networks()(x))
