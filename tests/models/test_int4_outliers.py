"""Errors by their definition, on activations with outliers and on the real network's."""

import json

import numpy as np
import pytest
import torch

from lanewise.models.int4_outliers import int4_outliers, layer_errors, task_outliers
from lanewise.models.int4_tasks import TASKS


def test_errors_of_a_layer_with_outliers():
    torch.manual_seed(1)
    x, weight = torch.randn(400, 64), torch.randn(30, 64)
    x[:, ::32] *= 15
    row = layer_errors("layer", x, weight, 32)
    assert row.outlier > 2 * row.turned_outlier
    assert row.activations.best_hadamard < row.activations.best < row.activations.minmax
    assert row.activations.best_hadamard < row.activations.minmax_hadamard < row.activations.minmax
    assert row.product.best_hadamard < row.product.best
    step = float(x.half().abs().max()) / 7
    quantised = np.clip(np.rint(x.numpy() / step), -8, 7) * step
    expected = np.linalg.norm(quantised - x.numpy()) / np.linalg.norm(x.numpy())
    assert row.activations.minmax == pytest.approx(expected, rel=0.02)


def test_minilm():
    study = int4_outliers(4, seed=2)
    assert len(study.layers) == 24
    assert {row.width for row in study.layers} == {384, 1536}
    assert max(row.outlier for row in study.layers) > 20
    for row in study.layers:
        for errors in (row.activations, row.product):
            assert all(0 < error < 1 for error in vars(errors).values())
        assert row.activations.best < row.activations.minmax
        assert row.activations.best_hadamard < row.activations.minmax_hadamard
    values = json.loads(json.dumps(study.as_dict(), allow_nan=False))
    assert (values["sentences"], values["seed"], values["block"]) == (4, 2, 32)
    assert values["tokens"] > 40


def test_the_studys_own_network():
    layers = task_outliers(TASKS["images"](), steps=3)
    assert [row.layer for row in layers] == [f"encoder.layers.{n}.linear{m}" for n in (0, 1) for m in (1, 2)]
    assert [row.width for row in layers] == [64, 256] * 2
    assert all(0 < error < 1 for row in layers for error in vars(row.activations).values())
