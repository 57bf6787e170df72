"""Approximated networks learn, with either derivative."""

import threading

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - its usual name
from torch.utils.checkpoint import checkpoint

from lanewise.models.nn import approximate

SEED = 3


def randn(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(SEED))


def same(result, expected):
    torch.testing.assert_close(result, expected, rtol=0, atol=0, equal_nan=True)


def network():
    torch.manual_seed(SEED)
    return nn.Sequential(
        nn.Linear(4, 8), nn.GELU(), nn.Sequential(nn.LayerNorm(8), nn.Tanh()), nn.Linear(8, 2), nn.Softmax(-1)
    )


def test_gradient_checkpoints():
    module, x = approximate(network(), segments=8), randn(5, 4)
    plain = torch.autograd.grad(module(x).square().sum(), list(module.parameters()))
    kept = checkpoint(module, x, use_reentrant=False)
    same(torch.autograd.grad(kept.square().sum(), list(module.parameters())), plain)


class Checkpointed(nn.Module):
    """Keeps a function of its own for the backward pass, in checkpoints one inside the other, or not."""

    def __init__(self, **options):
        super().__init__()
        torch.manual_seed(SEED)
        self.linear, self.act, self.options = nn.Linear(4, 4), nn.Tanh(), options

    def again(self, function, x):
        return checkpoint(function, x, **self.options) if self.options else function(x)

    def forward(self, x):
        def inner(y):
            return self.act(F.gelu(self.linear(y)).pow(2)).pow(2)

        return self.again(lambda y: self.again(inner, y).exp().pow(2), x)


@pytest.mark.parametrize("exclude", [(), ("",)])
@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpoints_of_functions(reentrant, exclude):
    config = {"segments": 4, "exclude": exclude}
    gradients = []
    for options in ({}, {"use_reentrant": reentrant}):
        module, x = approximate(Checkpointed(**options), **config), randn(3, 4).requires_grad_()
        module(x).sum().backward()
        gradients.append([x.grad, *(p.grad for p in module.parameters())])
    same(gradients[1], gradients[0])
    y = randn(3, 4)
    assert torch.equal(Checkpointed()(y), approximate(Checkpointed(), **config)(y)) == bool(exclude)
    torch.testing.assert_close(torch.tanh(y), y.double().tanh().float(), rtol=0, atol=1e-6)


def test_checkpoints_outside_of_sessions_stay_exact():
    for reentrant in (False, True):
        gradients = []
        for options in ({}, {"use_reentrant": reentrant}):
            module, x = Checkpointed(**options), randn(3, 4).requires_grad_()
            module(x).sum().backward()
            gradients.append(x.grad)
        same(*gradients)


@pytest.mark.parametrize("gradient", ["exact", "table"])
@pytest.mark.parametrize(
    ("format", "degree"), [("fp16", 1), ("fp16", 2), ("bf16", 1), ("fp8e4m3", 1), ("int8", 1), ("fp32", 1)]
)
def test_a_network_learns(format, degree, gradient):
    """Two spirals; without non-linear layers no more than two thirds of the points would be right."""
    torch.manual_seed(SEED)
    turns = torch.linspace(0.2, 1, 60)[:, None]
    arm = turns * torch.cat([torch.cos(5 * turns), torch.sin(5 * turns)], 1)
    x, labels = torch.cat([arm, -arm]), torch.arange(2).repeat_interleave(60)
    module = nn.Sequential(
        nn.Linear(2, 24), nn.LayerNorm(24), nn.SiLU(), nn.Linear(24, 24), nn.Tanh(), nn.Linear(24, 2)
    )
    module = approximate(module, segments=16, degree=degree, format=format, gradient=gradient)
    optimiser = torch.optim.Adam(module.parameters(), 0.02)
    first = None
    for _ in range(120):
        loss = F.cross_entropy(module(x), labels)
        first = first or loss.item()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.item() < first / 5
    assert (module(x).argmax(1) == labels).float().mean() > 0.95


def test_gradients_agree_with_the_exact_network():
    x = randn(64, 4)
    gradients = {}
    for name, module in (
        ("none", network()),
        ("exact", approximate(network(), segments=32)),
        ("table", approximate(network(), segments=32, gradient="table")),
    ):
        module(x)[:, 0].square().mean().backward()
        gradients[name] = torch.cat([p.grad.reshape(-1) for p in module.parameters()])
    scale = gradients["none"].norm()
    assert 0 < (gradients["exact"] - gradients["none"]).norm() / scale < 0.003
    assert 0 < (gradients["table"] - gradients["none"]).norm() / scale < 0.03


@pytest.mark.parametrize("gradient", ["exact", "table"])
def test_derivatives_of_derivatives_are_refused(gradient):
    x = randn(3).requires_grad_()
    result = approximate(nn.SiLU(), gradient=gradient)(x).square().sum()
    (slope,) = torch.autograd.grad(result, x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()


def test_threads_have_sessions_of_their_own():
    module, x = approximate(network(), segments=4), randn(5, 4)
    wanted, results = module(x), {}
    inside, done = threading.Event(), threading.Event()

    def linger(*_):
        inside.set()
        done.wait(10)

    handle = module[3].register_forward_hook(linger)
    thread = threading.Thread(target=lambda: results.update(hardware=module(x)))
    thread.start()
    assert inside.wait(10)
    exact = torch.tanh(x)  # while the other thread's session runs
    done.set()
    thread.join()
    handle.remove()
    torch.testing.assert_close(exact, x.double().tanh().float(), rtol=0, atol=1e-6)
    torch.testing.assert_close(results["hardware"], wanted, rtol=0, atol=0)
