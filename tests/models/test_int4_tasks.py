"""The data sets are what the page says they are."""

import torch

from lanewise.models.int4_tasks import CONTEXT, SIDE, TASKS, WIDTH


def test_images():
    task = TASKS["images"]()
    inputs, classes = task.train
    assert inputs.shape == (1198, SIDE, SIDE)
    assert task.test[0].shape == (599, SIDE, SIDE)
    assert torch.bincount(classes).min() > 100  # every digit is there
    every = torch.cat([inputs, task.test[0]])
    assert abs(float(every.mean())) < 1e-3
    assert task.network()(inputs[:3]).shape == (3, 10)


def test_text():
    """A window's classes say where the words of the file end."""
    task = TASKS["text"]()
    letters, ends = task.train
    assert letters.shape == ends.shape
    assert letters.shape[1] == CONTEXT
    first = "hundredsofpeoplehavebeenforcedto"
    assert len({*first}) == len(set(letters[0].tolist()))
    words = ["hundreds", "of", "people", "have", "been", "forced", "to"]
    assert ends[0].sum() == len(words)
    assert [place for place, end in enumerate(ends[0].tolist()) if end][:3] == [7, 9, 15]
    share = float(task.test[1].double().mean())
    assert 0.15 < share < 0.25  # the majority's score is not 92 %
    assert task.network()(letters[:2]).shape == (2, CONTEXT, 2)


def test_layers_do_not_start_alike():
    network = TASKS["images"]().network()
    first, second = network.encoder.layers
    assert not torch.equal(first.linear1.weight, second.linear1.weight)
    assert first.linear1.weight.shape[1] == WIDTH
