"""Basic Pitch hears which notes sound: sigmoids, of which one feeds convolutions.

Weights: package basic-pitch (Apache-2.0), read from its ONNX file. Bittner et al., "A lightweight instrument-agnostic model for
polyphonic note transcription and multipitch estimation", ICASSP 2022 (arXiv 2203.09893). Chords are synthesised.
"""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lanewise.errors import UserError
from lanewise.models.onnx.file import OnnxInput, read_onnx
from lanewise.models.onnx.module import OnnxModule
from lanewise.models.pretrained.network import Contexts, Facts, Outputs, Samples, in_contexts
from lanewise.models.pretrained.packages import packaged_file

PACKAGE, FILE = "basic-pitch", "nmp.onnx"
RATE, COUNT, HOP = 22050, 43844, 256
"""Samples a second, of a sound, and of a frame."""
FRAMES, KEYS, LOWEST = 172, 88, 27.5
"""Frames of a sound; notes, from the piano's lowest, and its frequency in Hz."""
COMPARED = slice(12, 72)
"""The keys that a decision holds, of which the chords' are some; 60, so that an integer holds them."""
THRESHOLD = 0.3
"""From which a note sounds, as the package has it."""
LARGEST = 1000


class BasicPitch:
    """F-measure of notes, frame by frame."""

    facts = Facts(
        name="basic_pitch",
        title="Basic Pitch",
        packages=(PACKAGE, "onnx"),
        licence="Apache-2.0",
        task="hear which notes sound in each frame of 12 ms, of chords of two to five notes",
        data="synthesised plucked chords with noise",
        score="F-measure of notes",
        larger_is_better=True,
        decision="which of 60 notes sound in a frame",
        feature="shares of notes, onsets and contours of a frame",
        functions=("sigmoid",),
        count=16,
    )

    def load(self) -> nn.Module:
        """The network in FP32.

        Raises:
            UserError: The package is not installed, or is not what it was.
        """
        return BasicPitchModule().eval().requires_grad_(False)

    def samples(self, count: int, seed: int) -> Samples:
        """``count`` sounds, shape ``(count, 1, COUNT, 1)``, -1 to 1; truth: what sounds, shape ``(count, FRAMES, KEYS)``.

        Raises:
            UserError: There are not so many.
        """
        if not 0 < count <= LARGEST:
            raise UserError(f"samples must be 1 to {LARGEST}, as the synthesis has, not {count}")
        generator = np.random.default_rng(seed)
        pairs = [_chords(generator) for _ in range(count)]
        sounds = torch.tensor(np.stack([sound for sound, _ in pairs]), dtype=torch.float32)
        truth = torch.from_numpy(np.stack([notes for _, notes in pairs]))
        return Samples(count=count, values=sounds[:, None, :, None], truth=truth)

    def run(self, module: nn.Module, samples: Samples, contexts: Contexts) -> Outputs:
        """A row for each frame of each sound; details: the notes' shares. The spectrum is taken in FP32."""
        assert isinstance(module, BasicPitchModule)
        rows = []
        for sound in samples.values:
            with torch.no_grad():
                spectrum = module.spectrum(sound)
            with in_contexts(contexts):
                parts = module(spectrum)
            rows.append(torch.cat([part[0].float() for part in parts], 1))
        features = torch.cat(rows)
        notes = features[:, :KEYS]
        sounding = (notes[:, COMPARED] > THRESHOLD).long()
        decisions = (sounding << torch.arange(sounding.shape[1])).sum(1)
        return Outputs(features=features, decisions=decisions, details=notes)

    def score(self, samples: Samples, outputs: Outputs) -> float:
        """Harmonic mean of the share of sounding notes that are heard and that of heard ones that sound."""
        heard, sounding = outputs.details > THRESHOLD, samples.truth.flatten(0, 1)
        return float(2 * (heard & sounding).sum() / (heard.sum() + sounding.sum()))


class BasicPitchModule(nn.Module):
    """The ONNX file's network in two parts: what has no weights of its own to train, up to the normalised spectrum, and the rest.

    Raises:
        UserError: The package is not installed, or is not what it was.
    """

    def __init__(self) -> None:
        super().__init__()
        file = read_onnx(packaged_file(PACKAGE, FILE))
        makers = {name: node for node in file.graph.nodes for name in node.outputs}
        ends = [
            node.inputs[0] for node in file.graph.nodes if node.operator == "Mul" and _NORM in node.output
        ]
        made = makers.get(ends[0]) if len(ends) == 1 else None
        if made is None or any(name not in makers for name in OUTPUTS):
            raise UserError(f"{file.path}: is another graph; expected Basic Pitch's")
        before = OnnxModule(file, ends[0])
        done = {node.output for node in before.nodes}
        nodes = tuple(node for node in file.graph.nodes if node.output not in done)
        graph = replace(
            file.graph,
            inputs=(OnnxInput(name=ends[0], dtype=torch.float32, shape=None),),
            outputs=OUTPUTS,
            nodes=nodes,
        )
        self.spectrum = before
        self.network = OnnxModule(replace(file, graph=graph))

    def forward(self, spectrum: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Shares of notes and onsets, shape ``(1, FRAMES, KEYS)``, and of contours, ``(1, FRAMES, 3 * KEYS)``."""
        notes, onsets, contours = self.network(spectrum)
        return notes, onsets, contours


OUTPUTS = tuple(f"StatefulPartitionedCall:{place}" for place in (1, 2, 0))
_NORM = "batch_normalization/FusedBatchNormV32"


def _chords(generator: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Four chords of notes that fade, each harmonic faster than the one below; a note sounds for as long as its chord."""
    time, sound = np.arange(COUNT) / RATE, np.zeros(COUNT)
    notes = np.zeros((FRAMES, KEYS), np.bool_)
    edges = np.linspace(0, COUNT, 5).astype(int) + np.r_[0, generator.integers(-3000, 3000, 3), 0]
    for start, end in zip(edges[:-1].tolist(), edges[1:].tolist()):
        for key in generator.choice(np.arange(19, 67), generator.integers(2, 6), replace=False):
            pitch, loudness = LOWEST * 2 ** (key / 12), generator.uniform(0.3, 1)
            since = time[: end - start]
            for harmonic in range(1, 1 + min(12, int(RATE / 2 / pitch))):
                fade = np.exp(-since * (1.5 + 0.7 * harmonic)) * (1 - np.exp(-since * 400))
                phase = generator.uniform(0, 2 * np.pi)
                sound[start:end] += (
                    loudness / harmonic * fade * np.sin(2 * np.pi * harmonic * pitch * since + phase)
                )
            notes[round(start / HOP) : round(end / HOP), key] = True
    sound += generator.normal(0, 10 ** generator.uniform(-3, -1.5), COUNT)
    return sound / np.abs(sound).max() * generator.uniform(0.3, 1), notes
