"""The page's tables from a made-up study: means, differences seed by seed, and what the spread allows to say."""

import importlib.util
from pathlib import Path

import pytest

from lanewise.models.int4_outliers import Errors, LayerErrors, OutlierStudy
from lanewise.models.int4_training import Int4Study, Run

ROOT = Path(__file__).parents[2]
ABOUT = {
    "title": "digits", "data": "a: b", "licence": "c", "score": "d", "train": 10, "test": 5, "steps": 7, "batch": 2,
    "learning_rate": 0.1, "parameters": 1234,
}  # fmt: skip


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("int4_training", ROOT / "benchmarks" / "int4_training.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def results(benchmark):
    accuracies = {"FP32": (0.96, 0.97, 0.98), "INT4": (0.955, 0.965, 0.975), "naive INT4": (0.90, 0.96, 0.87)}
    runs = tuple(
        Run(
            task="images",
            variant=name,
            seed=seed,
            accuracy=value,
            loss=1 - value,
            train_loss=0.1,
            seconds=3.0,
        )
        for name, values in accuracies.items()
        for seed, value in enumerate(values)
    )
    study = Int4Study(runs=runs, tasks={"images": ABOUT}, versions={"torch": "2"})
    layer = LayerErrors(
        layer="encoder.layer.0.output.dense", width=8, outlier=30.0, turned_outlier=6.0,
        activations=Errors(0.5, 0.3, 0.2, 0.1), product=Errors(0.4, 0.3, 0.2, 0.25),
    )  # fmt: skip
    other = OutlierStudy(
        layers=(layer,), block=32, sentences=2, tokens=9, seed=0, source="e", versions={"numpy": "3"}
    )
    return benchmark.Results(training=study, outliers=other, own={"images": (layer,)})


def test_accuracy(benchmark):
    text = benchmark.accuracy(results(benchmark))
    assert "| FP32 | 97.00 % ± 1.00 |  |" in text
    assert "| INT4 | 96.50 % ± 1.00 | -0.50 ± 0.00 |" in text
    assert "| naive INT4 | 91.00 % ± 4.58 | -6.00 ± 5.00 |" in text
    assert "over 3 seeds" in text


def test_findings(benchmark):
    text = benchmark.findings(results(benchmark))
    assert "digits: INT4 is 0.50 points below FP32; the target, 1 point, is met." in text
    assert "naive INT4: accuracy -5.50 points beside INT4's (within chance)" in text


def test_outliers(benchmark):
    text = benchmark.outliers(results(benchmark))
    assert (
        "| 0.output.dense | 30.0 | 6.0 | 50.0% | 30.0% | 20.0% | 10.0% | 40.0% | 30.0% | 20.0% | 25.0% |"
        in text
    )
    assert (
        "- X, best step: the transform lowers the error in 1 of 1 layers, from 20.0% to 10.0% in the mean."
        in text
    )
    assert "- X W, best step: the transform lowers the error in 0 of 1 layers" in text


def test_own_outliers(benchmark):
    text = benchmark.own_outliers(results(benchmark))
    assert "| digits | 30.0 | 6.0 | 20.0% | 10.0% | 20.0% | 25.0% |" in text
    assert "| MiniLM | 30.0 |" in text


def test_every_part_has_its_place(benchmark):
    page = (ROOT / "docs" / "int4_training.md").read_text(encoding="utf-8")
    for name, part in benchmark.PARTS.items():
        assert page.count(f"<!-- {name}: made by benchmarks/int4_training.py -->") == 1
        assert page.count(f"<!-- end of {name} -->") == 1
        assert part(results(benchmark))
