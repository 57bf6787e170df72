"""ONNX's own tests of its operators: every one is right or refused for a reason that is known."""

import re
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnx.backend.test
import pytest
import torch
from onnx import numpy_helper

from lanewise.errors import UserError
from lanewise.models.onnx.file import read_onnx
from lanewise.models.onnx.module import OnnxModule
from lanewise.models.onnx.types import tensor_of

DATA = Path(onnx.backend.test.__file__).parent / "data"
FOLDERS = ("pytorch-converted", "pytorch-operator", "simple")

REFUSED = (
    # training, random numbers, text, decision trees, files of pictures
    r"operator (ai\.onnx\.(preview\.training|ml)\.\w+|String\w+|RegexFullMatch|TfIdfVectorizer|ImageDecoder)",
    r"operator (RandomUniformLike|Random\w+|Bernoulli)|RandomUniformLike: |Dropout: is random",
    # detectors' last steps, whose sizes depend on values; signals; what is rare
    r"operator (NonMaxSuppression|Unique|RoiAlign|MaxUnpool|DeformConv|DFT|STFT|MelWeightMatrix|BitCast)",
    r"operator (Optional\w*|CausalConvWithState|LinearAttention|ai\.onnx\.preview\.FlexAttention)",
    r"STFT: |FlexAttention|LinearAttention|CausalConv|SequenceMap: ",
    r"Resize: (\w+ by \w+ \(\w+\) is known by its shape alone|only the axes|mode \w+ of)",
    r"LSTM: peepholes|Scan: of a set before 9|operator set must be 6|Loop: runs not once",
    r"(Add|Div|Greater|Less|Max|Min|Mod|Sub|Mul|BitwiseNot|Neg|Sum|Pow|Where): is not known with these options",
    r"is type \d+, which PyTorch has not|integers of 8 or 16 bits are known|is no tensor of numbers",
    r"FLOAT4|float4e2m1|equal_string|Col2Im: It is expected output_size|ReduceMax: torch.bool|TopK: is not known",
)
"""What is refused, and why that is all right."""

DIFFERENT = (
    # PyTorch saturates another way
    r"cast(like)?(_no_saturate)?_\w+_to_FLOAT8",
    # integers of 2 and 4 bits are kept in 8
    r"cast(like)?_\w+_to_U?INT[24]|quantizelinear_u?int[24]",
    # equal numbers in another order
    r"top_k_same_values",
)
"""Tests whose numbers are not ours."""


def value(item):
    """What a test gives: an array, one in protobuf, a list of them, or nothing."""
    if isinstance(item, list):
        return [value(part) for part in item]
    if item is None:
        return None
    return tensor_of(numpy_helper.to_array(item) if isinstance(item, onnx.TensorProto) else item)


def compare(got, wanted, rtol, atol):
    if isinstance(wanted, list):
        assert len(got) == len(wanted)
        for one, other in zip(got, wanted):
            compare(one, other, rtol, atol)
        return
    assert tuple(got.shape) == tuple(wanted.shape)
    assert got.dtype == wanted.dtype
    if got.dtype.is_floating_point:
        coarse = {torch.float16: 2e-3, torch.bfloat16: 2e-2}.get(got.dtype, 0)
        np.testing.assert_allclose(
            got.double(), wanted.double(), rtol=max(rtol, coarse), atol=max(atol, 1e-6, coarse)
        )
    else:
        assert torch.equal(got, wanted)


def outcome(path, inputs, outputs, rtol=1e-3, atol=1e-6):
    """``right``, or why the network was refused or is wrong."""
    try:
        module = OnnxModule(read_onnx(path))
        named = {item.name: value(given) for item, given in zip(module.inputs, inputs)}
        results = module(**{name: given for name, given in named.items() if given is not None})
        results = results if isinstance(results, tuple) else (results,)
        assert len(results) == len(outputs)
        for got, wanted in zip(results, outputs):
            compare(got, value(wanted), rtol, atol)
    except UserError as error:
        return f"refused {error}"
    except (AssertionError, ValueError, TypeError) as error:
        return f"wrong {' '.join(str(error).split())[:200]}"
    return "right"


def tensors(folder, kind):
    count = len(list(folder.glob(f"{kind}_*.pb")))
    return [onnx.load_tensor(folder / f"{kind}_{place}.pb") for place in range(count)]


def shape_of(item):
    """The shape of what a test gives, or those of a list."""
    return [shape_of(part) for part in item] if isinstance(item, list) else tuple(item.shape)


def on_meta(item):
    return [on_meta(part) for part in item] if isinstance(item, list) else item.to("meta")


def outcome_by_shape(path, inputs, outputs):
    """``right`` if the results have the shapes that they have on numbers; else as of :func:`outcome`."""
    try:
        module = OnnxModule(read_onnx(path, shapes_only=True), exact=False).to("meta")
        named = {item.name: value(given) for item, given in zip(module.inputs, inputs)}
        results = module(**{name: on_meta(given) for name, given in named.items() if given is not None})
        results = results if isinstance(results, tuple) else (results,)
        got, wanted = ([shape_of(part) for part in side] for side in (results, map(value, outputs)))
    except (UserError, ValueError) as error:
        return f"refused {error}"
    return "right" if got == wanted else f"wrong {got}, not {wanted}"


BY_SHAPE = (
    # a size, or whether to go on, is an input of the test
    r"must be a constant or follow from shapes|must be known before the network runs|how often it runs must be known",
    r"meta tensors|on a meta tensor|'meta' device|Meta tensor|meta backend",
)
"""What else is refused on the meta device."""


def by_shape(networks):
    """Names of the networks that are wrong and why, and how many are right."""
    wrong, right = {}, 0
    for name, path, given, results in networks:
        result = outcome_by_shape(path, given, results)
        right += result == "right"
        if result != "right" and not any(
            re.search(reason, result + name) for reason in (*REFUSED, *BY_SHAPE)
        ):
            wrong[name] = result
    return wrong, right


def stored(folder):
    for path in sorted((DATA / folder).glob("*/model.onnx")):
        run = path.parent / "test_data_set_0"
        yield path.parent.name, path, tensors(run, "input"), tensors(run, "output")


def cases(path):
    """Every operator's tests and their data, each written to ``path``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.case.node import collect_testcases

        found = collect_testcases(None)
    for case in found:
        onnx.save(case.model, path)
        for inputs, outputs in case.data_sets:
            yield case, inputs, outputs


@pytest.mark.parametrize("folder", FOLDERS)
def test_networks_by_shape_alone(folder):
    wrong, right = by_shape(stored(folder))
    assert not wrong
    assert right >= {"pytorch-converted": 82, "pytorch-operator": 35, "simple": 10}[folder]


@pytest.mark.full
def test_every_operator_by_shape_alone(tmp_path):
    path = tmp_path / "model.onnx"
    wrong, right = by_shape((case.name, path, inputs, outputs) for case, inputs, outputs in cases(path))
    assert not wrong
    assert right >= 1370


@pytest.mark.parametrize("folder", FOLDERS)
def test_networks_converted_from_pytorch(folder):
    wrong, right = {}, 0
    for path in sorted((DATA / folder).glob("*/model.onnx")):
        for run in sorted(path.parent.glob("test_data_set_*")):
            result = outcome(path, tensors(run, "input"), tensors(run, "output"))
            right += result == "right"
            if result != "right" and not any(re.search(reason, result) for reason in REFUSED):
                wrong[path.parent.name] = result
    assert not wrong
    assert right >= {"pytorch-converted": 82, "pytorch-operator": 35, "simple": 15}[folder]


@pytest.mark.full
def test_every_operator(tmp_path):
    wrong, right = {}, 0
    for case, inputs, outputs in cases(tmp_path / "model.onnx"):
        result = outcome(tmp_path / "model.onnx", inputs, outputs, case.rtol, case.atol)
        right += result == "right"
        reasons = (*REFUSED, *DIFFERENT)
        if result != "right" and not any(re.search(reason, result + case.name) for reason in reasons):
            wrong[case.name] = result
    assert not wrong
    assert right >= 1590
