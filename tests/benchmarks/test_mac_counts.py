"""The zoo's count is resumable, and says what differs."""

import importlib.util
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("mac_counts", ROOT / "benchmarks" / "mac_counts.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def row(model, graph=5, counted=5, reason=""):
    return {
        "model": model, "status": "counted", "graph": graph, "folded": 0, "counted": counted,
        "difference": graph - counted, "alone": True, "reason": reason,
    }  # fmt: skip


def test_an_interrupted_run_goes_on(benchmark, monkeypatch, tmp_path):
    log = tmp_path / "log.jsonl"
    log.write_text(json.dumps(row("timm:a")) + "\n" + '{"model": "timm:b", "sta')
    asked = []
    monkeypatch.setattr(benchmark, "count", lambda model: asked.append(model) or row(model))
    rows = benchmark.run(["timm:a", "timm:b", "hf:c"], log)
    assert asked == ["timm:b", "hf:c"]
    assert [each["model"] for each in rows] == ["timm:a", "timm:b", "hf:c"]
    assert [json.loads(line)["model"] for line in log.read_text().splitlines()] == [
        "timm:a",
        "timm:b",
        "hf:c",
    ]
    benchmark.run(["timm:a", "timm:b", "hf:c"], log)
    so_far = benchmark.run(["timm:a", "timm:d", "hf:c"], log, so_far=True)
    assert [each["model"] for each in so_far] == ["timm:a", "hf:c"]
    assert benchmark.summary(so_far, 3).startswith("2 of 3 networks so far.")
    assert len(asked) == 2


def test_a_network_that_cannot_be_built_is_a_row(benchmark):
    assert benchmark.count("timm:no_such")["status"] == "failed"
    counted = benchmark.count("timm:test_resnet")
    assert (counted["status"], counted["difference"]) == ("counted", 0)


def test_summary(benchmark):
    failed = {"model": "hf:x", "status": "failed", "reason": "UserError: takes sound"}
    text = benchmark.summary(
        [row("timm:a"), row("timm:b", 9, 5, "not counted by PyTorch: aten.mv 4"), failed]
    )
    assert "| timm | 2 | 1 | 1 | 2 | 0 | 0 |" in text
    assert "| hf | 0 | 0 | 0 | 0 | 0 | 1 |" in text
    assert "| timm:b | 9 | 0 | 5 | 4 | not counted by PyTorch: aten.mv 4 |" in text
    assert "UserError 1." in text
    assert "No network differs." in benchmark.summary([row("timm:a")])
