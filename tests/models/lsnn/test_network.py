"""The hand-written gradient, the solve, and the measures of symplecticity on maps whose symplecticity is known."""

import pytest
import torch

from lanewise.models.lsnn.network import GeneratingNetwork, Scales
from lanewise.models.lsnn.stepping import enough_iterations, follow, implicit_step, residuals
from lanewise.models.lsnn.symplecticity import defects, loop_defects
from lanewise.models.lsnn.tables import table_pair


def network(sizes=(4, 12, 9, 1), seed=0, gain=0.1):
    torch.manual_seed(seed)
    scales = Scales(
        centre=torch.randn(sizes[0]), spread=torch.rand(sizes[0]) + 0.5, offset=0.1 * torch.randn(sizes[0]), gain=torch.tensor(gain)
    )  # fmt: skip
    return GeneratingNetwork(sizes, scales=scales).double().requires_grad_(False)


def states(count=30, n=4, seed=1):
    return torch.randn(count, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("sizes", [(4, 7, 1), (4, 12, 9, 1), (2, 6, 5, 4, 1)])
def test_gradient_is_autograds(sizes):
    net = network(sizes)
    x = states(n=sizes[0]).requires_grad_()
    (wanted,) = torch.autograd.grad(net.potential(x).sum(), x)
    assert (net(x) - wanted).abs().max() < 1e-14


def test_the_map_solves_the_paper_equations():
    net = network()
    x = states()
    count = enough_iterations(net, x, 1e-15)
    y = implicit_step(net, x, count)
    q, p, last, place = x[:, :2], x[:, 2:], y[:, 2:], y[:, :2]
    gradient = net(torch.cat([q, last], 1))
    assert (p - last - gradient[:, :2]).abs().max() < 1e-14
    assert (place - q - gradient[:, 2:]).abs().max() < 1e-14
    changes = residuals(net, x, count)
    assert changes[-1] < changes[0]
    with pytest.raises(ArithmeticError, match="iterations must reach 1e-15 within 2"):
        enough_iterations(net, x, 1e-15, 2)


def test_symplectic_only_where_it_is():
    net = network()
    x = states(6)
    unit = torch.ones(4)
    assert defects(lambda v: implicit_step(net, v, 20), x).max() < 1e-12
    assert (
        loop_defects(lambda v: implicit_step(net, v, 20), x, radius=0.1 * unit, points=128, seed=0).max()
        < 1e-9
    )

    def stretched(v):
        return v * torch.tensor([1.01, 1.01, 1.0, 1.0], dtype=torch.float64)

    assert (defects(stretched, x) - 0.01).abs().max() < 1e-12
    loops = loop_defects(stretched, x, radius=0.1 * unit, points=64, seed=0, planes=50)
    assert 0.009 < loops.max() <= 0.01 + 1e-9


def test_too_few_iterations_cost_symplecticity():
    net, x = network(gain=0.5), states(10)
    found = [float(defects(lambda v, n=n: implicit_step(net, v, n), x).max()) for n in (1, 2, 4, 8)]
    print(found)
    assert found[0] > 1e-4
    assert found[0] > found[1] > found[2] > found[3]


def test_following_an_angle():
    path = follow(lambda v: v + torch.tensor([0.0, 2.0, 0.0, 0.0]), torch.zeros(1, 4), 5, angle=True)
    assert path.shape == (6, 1, 4)
    assert float(path[5, 0, 1]) == pytest.approx(10 - 2 * torch.pi, abs=1e-5)


def test_one_hidden_layer_is_symplectic_with_any_table():
    """Its backward pass takes one function of one argument: B_l = K_l in the first layer."""
    x = states(10)
    mismatched = table_pair("separate", segments=8, degree=2).reals()
    shallow, deep = network((4, 16, 1), gain=0.5), network((4, 16, 12, 1), gain=0.5)
    for net in (shallow, deep):
        net.slopes = mismatched
    assert defects(lambda v: implicit_step(shallow, v, 60), x).max() < 1e-12
    assert defects(lambda v: implicit_step(deep, v, 60), x).max() > 1e-4


def test_sizes_are_checked():
    with pytest.raises(ValueError, match="sizes must be at least three and end with 1"):
        GeneratingNetwork((4, 1))
