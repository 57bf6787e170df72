"""The study on few steps: results are kept, repeated, and told."""

import json
import re

import pytest
import torch

from lanewise.errors import UserError
from lanewise.models.int4 import Int4Linear
from lanewise.models.int4_tasks import TASKS
from lanewise.models.int4_training import VARIANTS, Int4Study, Training, int4_training
from lanewise.models.one_thread import one_thread

STEPS = 12


def study(cache, **options):
    said = []
    result = int4_training(
        ["images"], ["FP32", "INT4"], [0], steps=STEPS, cache=cache, progress=said.append, **options
    )
    return result, said


def test_a_study_is_kept_and_repeats(tmp_path):
    first, said = study(tmp_path / "one")
    again, _ = study(tmp_path / "one")
    anew, _ = study(tmp_path / "other")
    assert first == again
    for ours, theirs in zip(first.runs, anew.runs):
        assert (ours.accuracy, ours.loss, ours.train_loss) == (
            theirs.accuracy,
            theirs.loss,
            theirs.train_loss,
        )
    assert len(list((tmp_path / "one" / "int4-training").iterdir())) == 2
    assert re.fullmatch(r"int4_training: images, seed 0, FP32: \d+\.\d\d%, \d+ s", said[0])
    assert first.runs[0].accuracy > 0.2  # a tenth by chance
    assert first.runs[0].loss != first.runs[1].loss
    values = json.loads(json.dumps(first.as_dict(), allow_nan=False))
    assert values["tasks"]["images"]["steps"] == STEPS
    assert values["versions"]["torch"] == torch.__version__
    assert isinstance(first, Int4Study)
    assert [run.variant for run in first.of("images", "INT4")] == ["INT4"]


def test_an_interrupted_study_goes_on(tmp_path):
    def interrupt(line):
        raise KeyboardInterrupt(line)

    with pytest.raises(KeyboardInterrupt):
        int4_training(["images"], ["FP32", "INT4"], [0], steps=STEPS, cache=tmp_path, progress=interrupt)
    kept = list((tmp_path / "int4-training").iterdir())
    assert len(kept) == 1
    before = kept[0].stat().st_mtime_ns
    study(tmp_path)
    assert kept[0].stat().st_mtime_ns == before


@pytest.mark.parametrize("variant", VARIANTS)
def test_variants_quantise_the_encoder(variant):
    training = Training(TASKS["text"](), VARIANTS[variant], 0, 5)
    layers = [name for name, part in training.network.named_modules() if isinstance(part, Int4Linear)]
    assert len(layers) == (0 if variant == "FP32" else 6)
    assert all(name.startswith("encoder.") for name in layers)
    with one_thread():
        losses = [training.step() for _ in range(2)]
    assert all(0 < loss < 2 for loss in losses)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tasks": ["sound"]}, "task must be one of images, text, not 'sound'"),
        ({"variants": ["INT3"]}, f"variant must be one of {', '.join(VARIANTS)}, not 'INT3'"),
        ({"steps": 0}, "steps must be at least 1, not 0"),
    ],
)
def test_what_cannot_be_trained(tmp_path, options, message):
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        int4_training(cache=tmp_path, **options)
