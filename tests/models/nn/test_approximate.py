"""Approximated networks: the original stays, copies and saved ones work, sessions begin and end as they should."""

import io
import re
from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - its usual name

from lanewise.config import FlexSfuConfig, MachineConfig, VectorConfig
from lanewise.errors import UserError
from lanewise.models.nn import ApproximateConfig, approximate, calibrate, error_report, exact

SEED = 3


class Call(nn.Module):
    """A module that calls a function."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *args):
        return self.function(*args)


def randn(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(SEED))


def same(result, expected):
    torch.testing.assert_close(result, expected, rtol=0, atol=0, equal_nan=True)


def network():
    torch.manual_seed(SEED)
    return nn.Sequential(
        nn.Linear(4, 8), nn.GELU(), nn.Sequential(nn.LayerNorm(8), nn.Tanh()), nn.Linear(8, 2), nn.Softmax(-1)
    )


def test_the_original_is_left_alone_and_keys_stay():
    original, x = network(), randn(5, 4)
    wanted = original(x)
    approximated = approximate(original, segments=4)
    assert type(approximated) is type(original)
    assert list(approximated.state_dict()) == list(original.state_dict())
    same(original(x), wanted)
    assert not torch.equal(approximated(x), wanted)
    approximated.load_state_dict(network().state_dict())
    assert approximated.train().training
    assert not approximated.eval()[2].training
    assert approximate(original, segments=4, inplace=True) is original
    same(original(x), approximated(x))
    assert exact(original) is original
    same(original(x), wanted)


def test_copies_and_saved_networks():
    original, x = network(), randn(5, 4)
    approximated = approximate(original, segments=4)
    wanted = approximated(x)
    copied = deepcopy(approximated)
    file = io.BytesIO()
    torch.save(copied, file)
    file.seek(0)
    same(torch.load(file, weights_only=False)(x), wanted)
    exact(approximated)
    same(copied(x), wanted)
    same(exact(copied)(x), original(x))


def test_again_with_another_configuration():
    x = randn(5, 4)
    twice = approximate(approximate(network(), segments=4), segments=64)
    same(twice(x), approximate(network(), segments=64)(x))


def test_parts_run_on_the_hardware_too():
    whole, x = approximate(network(), segments=4), randn(5, 8)
    same(whole[2](x), approximate(network()[2], segments=4)(x))
    mixed = network()
    approximate(mixed[2], segments=4, inplace=True)
    approximate(mixed[1], segments=8, inplace=True)
    original = network()
    inner = approximate(original[2], segments=4)(
        approximate(original[1], segments=8)(original[0](randn(5, 4)))
    )
    same(mixed(randn(5, 4)), original[4](original[3](inner)))


def test_an_inner_configuration_wins():
    mixed, x = network(), randn(5, 4)
    approximated = approximate(mixed, segments=64)
    approximate(approximated[2], segments=4, inplace=True)
    original = network()
    front = approximate(original[:2], segments=64)(x)
    back = approximate(original[3:], segments=64)
    same(approximated(x), back(approximate(original[2], segments=4)(front)))


def test_excluded_layers_stay_exact():
    original, x = network(), randn(5, 4)
    report = error_report(original, approximate(original, exclude=("2*", "4")), x)
    assert [row.layer for row in report.rows] == ["1"]
    with pytest.raises(UserError, match=r"^exclude must match layers of Sequential, not '7\*'$"):
        approximate(original, exclude=("7*",))


def test_any_name_of_a_shared_layer_excludes_it():
    shared, x = nn.GELU(), randn(5, 4)
    original = nn.Sequential()
    original.add_module("first", shared)
    original.add_module("second", shared)
    for name in ("first", "second"):
        same(approximate(original, segments=4, exclude=(name,))(x), original(x))
    assert not torch.equal(approximate(original, segments=4)(x), original(x))


def test_an_error_inside_ends_the_session():
    def fail(*_):
        raise ArithmeticError

    broken = approximate(nn.Sequential(nn.Tanh(), Call(fail)))
    with pytest.raises(ArithmeticError):
        broken(torch.ones(2))
    same(torch.tanh(torch.ones(2)), nn.Tanh()(torch.ones(2)))
    before = nn.Sequential(nn.Tanh())
    before.register_forward_pre_hook(fail)
    with pytest.raises(ArithmeticError):
        approximate(before)(torch.ones(2))
    x = torch.tensor([0.3])
    assert torch.tanh(x).item() == float(np.tanh(np.float32(0.3)))


def test_calibration():
    module, x = network(), randn(200, 4)
    config = calibrate(module, None, x[:100], (x[100:],), format="int8")
    names = [name for name, _, _ in config.ranges]
    assert names == ["gelu", "tanh"]
    inputs = module[0](x)
    _, low, high = config.ranges[0]
    assert (low, high) == (inputs.min().item(), inputs.max().item())
    errors = [
        error_report(module, approximate(module, c), x).output.mse
        for c in (ApproximateConfig(format="int8"), config)
    ]
    assert errors[1] < errors[0]
    with pytest.raises(UserError, match=r"^inputs must be at least one, not none$"):
        calibrate(module, None)


@pytest.mark.parametrize("format", ["fp16", "fp32", "int16"])
def test_calibration_with_outliers(format):
    x, usual = torch.cat([randn(100), torch.tensor([1000.0, -1000.0])]), torch.linspace(-3, 3, 1001)
    config = calibrate(nn.GELU(), None, x, format=format)
    wide = [("gelu", -1000.0, 1000.0)] if format == "int16" else [("gelu", -8.0, 8.0)]
    assert list(config.ranges) == wide
    if format != "int16":
        same(approximate(nn.GELU(), config)(usual), approximate(nn.GELU(), format=format)(usual))


def test_calibration_narrows_each_side_alone():
    assert calibrate(nn.GELU(), None, torch.tensor([-1.0, 900.0])).ranges == (("gelu", -1.0, 8.0),)
    assert calibrate(nn.GELU(), None, torch.tensor([9.0, 900.0])).ranges == ()
    arc = calibrate(Call(torch.atan), None, torch.tensor([-1.0, 9.0]), functions=("atan",))
    assert arc.ranges == (("atan", -1.0, 9.0),)  # which has no asymptote near


def test_configurations_of_machines():
    unit = FlexSfuConfig(segments=16, degree=2, formats=("bf16", "fp16"))
    expected = ApproximateConfig(segments=16, degree=2, format="bf16")
    assert ApproximateConfig.of(unit) == expected
    machine = MachineConfig(flex_sfu=unit, vector=VectorConfig(vlen_bits=512))
    assert ApproximateConfig.of(machine, format="fp16").vlen_bits == 512
    assert ApproximateConfig.of(8) == ApproximateConfig(segments=8)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: approximate(F.gelu), "module must be a torch.nn.Module, not builtin_function_or_method"),
        (lambda: approximate(nn.GELU(), 33), "segments must be 4, 8, 16, 32 or 64, not 33"),
        (
            lambda: approximate(nn.GELU(), "fp16"),
            "config must be an ApproximateConfig, a FlexSfuConfig, a MachineConfig or",
        ),
        (lambda: approximate(nn.GELU(), segmentz=4), "options must be segments, degree, format, functions, "),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(UserError, match="^" + re.escape(message)):
        call()
