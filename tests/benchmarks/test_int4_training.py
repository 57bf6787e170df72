"""The page's tables from a made-up study: means, differences seed by seed, and what the spread allows to say."""

import importlib.util
from pathlib import Path

import pytest

from lanewise.models.int4_outliers import Errors, LayerErrors, OutlierStudy
from lanewise.models.int4_sampling import SamplingMeasurement
from lanewise.models.int4_training import Int4Study, Run
from lanewise.models.sampling_statistics import MEASURED, SamplingStatistics

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
    accuracies = {
        "FP32": (0.96, 0.97, 0.98),
        "INT4": (0.955, 0.965, 0.975),
        "INT4, attention INT8": (0.97, 0.98, 0.99),
        "naive INT4": (0.90, 0.96, 0.87),
    }
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
    sampled = SamplingMeasurement(
        statistics=SamplingStatistics(dx_hi=0.75, dx_lo=0.25, dw_hi={1: 0.5, 2: 0.25}, dw_lo={2: 0.2, 8: 0.00001}),
        dw_powers=(1.5, 2.25), products=80, rows=512.0,
    )  # fmt: skip
    return benchmark.Results(
        training=study, outliers=other, own={"images": (layer,)}, sampling={"images": sampled}
    )


def test_accuracy(benchmark):
    text = benchmark.accuracy(results(benchmark))
    assert "| FP32 | 97.00 % ± 1.00 |  |" in text
    assert "| INT4 | 96.50 % ± 1.00 | -0.50 ± 0.00 |" in text
    assert "| naive INT4 | 91.00 % ± 4.58 | -6.00 ± 5.00 |" in text
    assert "over 3 seeds" in text


def test_findings(benchmark):
    text = benchmark.findings(results(benchmark))
    assert "digits: INT4 is 0.50 points below FP32; the target, 1 point, is met." in text
    assert "digits: INT4, attention INT8 is 1.00 points above FP32; the target, 1 point, is met." in text
    assert "naive INT4: accuracy -5.50 points beside INT4's (within chance)" in text


def test_sampling(benchmark):
    lines = benchmark.sampling(results(benchmark)).splitlines()
    assert lines[0] == "| rows kept, of N | digits: hi | lo | both |"
    assert lines[2:8] == [
        "| dX | 75.00% | 25.00% | 100.00% |",
        "| dW | 75.00% | 20.00% | 95.00% |",
        "| dW, worth 1 | 50.00% | 0.00% | 50.00% |",
        "| dW, worth 2 | 25.00% | 20.00% | 45.00% |",
        "| dW, worth 8 | 0.00% | < 0.01% | < 0.01% |",
        "| distinct worths in a dW | 1.50 | 2.25 | 3.75 |",
    ]
    assert lines[-1] == (
        "Means over layers, steps and 3 seeds of INT4 (digits: 80 products, half of them dX); N is 512."
    )


def test_the_defaults_are_the_pages():
    """What the model of time takes is what the page says was measured, to the page's two digits."""
    page = (ROOT / "docs" / "int4_training.md").read_text(encoding="utf-8")
    part = page.split("<!-- sampling: made by")[1].split("<!-- end of sampling -->")[0]
    rows = {line.split(" | ")[0].strip("| "): line.strip("| ").split(" | ")[1:] for line in part.splitlines()}
    for place, told in enumerate(MEASURED.values()):
        pairs = {"dX": (told.dx_hi, told.dx_lo), "dW": told.dw_kept}
        for worth in {*told.dw_hi, *told.dw_lo}:
            pairs[f"dW, worth {worth}"] = (told.dw_hi.get(worth, 0), told.dw_lo.get(worth, 0))
        for name, pair in pairs.items():
            for cell, value in zip(rows[name][3 * place :], pair):
                assert float(cell.strip("<% ")) / 100 == pytest.approx(value, abs=0.0001)


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
