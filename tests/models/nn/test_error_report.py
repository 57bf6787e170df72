"""The error report's numbers, each against a computation of its own."""

import json

import pytest
import torch
from torch import nn

from lanewise.errors import UserError
from lanewise.models.nn import ApproximateConfig, activation, approximate, error_report

SEED = 9


def randn(*shape):
    return 4 * torch.randn(*shape, generator=torch.Generator().manual_seed(SEED))


def test_a_row_is_the_functions_error_on_the_operands_seen():
    module, x = nn.Sequential(nn.Tanh(), nn.Softplus(), nn.Softplus(beta=3)), randn(50, 20)
    report = error_report(module, approximate(module, segments=8), x)
    config = ApproximateConfig(segments=8)
    operand = x
    names = [("tanh", ()), ("softplus", (1.0, 20.0)), ("softplus", (3.0, 20.0))]
    for row, part, (name, parameters) in zip(report.rows, module, names, strict=True):
        hardware = activation(name, parameters, config)
        result = hardware(operand)
        error = result.double() - part(operand.double())
        assert (row.function, row.calls, row.elements) == (hardware.name, 1, 1000)
        assert (row.lowest, row.highest) == (operand.min().item(), operand.max().item())
        low, high = hardware.range
        assert row.outside == pytest.approx(((operand < low) | (operand > high)).double().mean().item())
        assert row.mse == pytest.approx(error.square().mean().item())
        assert row.max_error == pytest.approx(error.abs().max().item())
        assert row.relative_error == pytest.approx((error.norm() / part(operand.double()).norm()).item())
        operand = result
    difference = operand.double() - module(x).double()
    assert report.output.mse == pytest.approx(difference.square().mean().item())
    assert report.output.max_error == pytest.approx(difference.abs().max().item())
    assert 0 < report.rows[0].outside < 0.2


def test_calls_of_a_layer_add_up():
    module = nn.Sequential(nn.Linear(4, 4), shared := nn.SiLU(), nn.Linear(4, 4), shared)
    report = error_report(module, approximate(module), (randn(5, 4),))
    assert [(row.layer, row.calls, row.elements) for row in report.rows] == [("1", 2, 40)]


def test_masked_scores_are_no_numbers():
    scores = torch.tensor([[1.0, 2.0, -torch.inf]])
    module = nn.Softmax(-1)
    row = error_report(module, approximate(module), scores).rows[0]
    assert (row.lowest, row.highest) == (1, 2)
    assert row.max_error < 0.001


def test_evaluation_mode_for_both():
    module = nn.Sequential(nn.Dropout(0.5), nn.Tanh(), nn.BatchNorm1d(4))
    mean = module[2].running_mean.clone()
    approximated = approximate(module)
    report = error_report(module, approximated, {"input": randn(50, 4)})
    assert report.output.max_error < 0.01
    assert module[0].training
    assert approximated[0].training
    assert torch.equal(module[2].running_mean, mean)


def test_it_prints_and_is_json():
    module = nn.Sequential(nn.Tanh(), nn.LayerNorm(20))
    report = error_report(module, approximate(module), randn(50, 20))
    lines = str(report).splitlines()
    assert lines[0].split() == [
        "layer",
        "function",
        "calls",
        "elements",
        "lowest",
        "highest",
        "outside",
        "MSE",
        "maximum",
        "relative",
    ]
    assert [line.split()[:4] for line in lines[1:]] == [
        ["0", "tanh", "1", "1,000"], ["1", "layer_norm", "1", "1,000"], ["(network)", "output", "1", "1,000"],
    ]  # fmt: skip
    assert len({len(line) for line in lines}) == 1
    read = json.loads(json.dumps(report.as_dict()))
    assert read["rows"][0]["function"] == "tanh"
    assert read["output"]["mse"] == report.output.mse


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (nn.ReLU(), "approximated must call functions that are replaced; ReLU calls none"),
        (nn.Sequential(nn.Tanh(), nn.Flatten(0), nn.Threshold(0, 0)), None),
    ],
)
def test_nothing_to_compare(module, message):
    if message is None:
        assert error_report(module, approximate(module), randn(3, 4)).output.calls == 1
        return
    with pytest.raises(UserError, match=message):
        error_report(module, approximate(module), randn(3, 4))
