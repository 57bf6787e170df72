"""Silero VAD hears whether somebody speaks: LSTM with sigmoid and tanh.

Weights: package silero-vad (MIT), read from its ONNX file for 16 kHz by name. Talk, and who speaks when: package pyannote.audio (MIT),
read as files. Beside the talk stand sounds that are none.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

from lanewise.errors import UserError
from lanewise.models.onnx.file import read_onnx
from lanewise.models.pretrained.network import Contexts, Facts, Outputs, Samples, in_contexts
from lanewise.models.pretrained.packages import packaged_file
from lanewise.models.pretrained.talk import PACKAGE as TALK_PACKAGE
from lanewise.models.pretrained.talk import RATE, SOUND, SPEAKERS, talk, turns

PACKAGE, FILE = "silero-vad", "silero_vad_16k_op15.onnx"
FRAME, BEFORE = 512, 64
"""Samples of a frame (32 ms), and those of the one before that the network sees with it."""
FRAMES = 60
"""Of a sound: 1.92 s."""
LARGEST = 1000
THRESHOLD = 0.5


class SileroVad:
    """Share of frames of 32 ms that are rightly called speech or not."""

    facts = Facts(
        name="silero",
        title="Silero VAD (16 kHz)",
        packages=(PACKAGE, TALK_PACKAGE, "onnx"),
        licence="MIT",
        task=f"hear in each frame of 32 ms whether somebody speaks, {FRAMES} frames at a time",
        data=f"{TALK_PACKAGE}: {SOUND} with noise, {SPEAKERS}; noise, tones, clicks and hum",
        score="accuracy",
        larger_is_better=True,
        decision="speech or not",
        feature="LSTM's hidden state",
        functions=("sigmoid", "tanh"),
        count=48,
    )

    def load(self) -> nn.Module:
        """The network in FP32.

        Raises:
            UserError: The package is not installed, or is not what it was.
        """
        return SileroModule(packaged_file(PACKAGE, FILE)).eval().requires_grad_(False)

    def samples(self, count: int, seed: int) -> Samples:
        """``count`` sounds, shape ``(count, FRAMES * FRAME)``, -1 to 1, three of four with talk; truth: who speaks, ``(count, FRAMES)``.

        Raises:
            UserError: There are not so many.
        """
        if not 0 < count <= LARGEST:
            raise UserError(f"samples must be 1 to {LARGEST}, as the synthesis has, not {count}")
        generator = np.random.default_rng(seed)
        sound = talk()
        spoken = _spoken(len(sound))
        sounds, truth = [], []
        for place in range(count):
            if place % 4 == 3:
                sounds.append(_no_talk(place // 4, generator))
                truth.append(np.zeros(FRAMES, np.bool_))
                continue
            start = int(generator.integers(len(spoken) - FRAMES))
            piece = sound[start * FRAME : (start + FRAMES) * FRAME]
            noise = generator.normal(0, 10 ** generator.uniform(-4, -1.5), len(piece))
            sounds.append((piece * generator.uniform(0.3, 1) + noise).clip(-1, 1))
            truth.append(spoken[start : start + FRAMES])
        return Samples(
            count=count,
            values=torch.tensor(np.stack(sounds), dtype=torch.float32),
            truth=torch.tensor(np.stack(truth)),
        )

    def run(self, module: nn.Module, samples: Samples, contexts: Contexts) -> Outputs:
        """A row for each frame of each sound; details: its probability of speech. The spectrum is taken in FP32."""
        assert isinstance(module, SileroModule)
        with torch.no_grad():
            spectrum = module.spectrum(samples.values)
        with in_contexts(contexts):
            speech, hidden = module(spectrum)
        speech = speech.float().reshape(-1)
        return Outputs(
            features=hidden.float().flatten(0, 1), decisions=(speech >= THRESHOLD).long(), details=speech
        )

    def score(self, samples: Samples, outputs: Outputs) -> float:
        """Share of right frames."""
        return float((outputs.decisions == samples.truth.reshape(-1)).double().mean())


class SileroModule(nn.Module):
    """Silero VAD for whole sounds: its encoder on all frames at once, then its LSTM from frame to frame.

    Raises:
        UserError: The file is not its weights.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        weights = read_onnx(path).weights
        self.stft = nn.Conv1d(1, 258, 256, stride=128, bias=False)
        sizes = (129, 128, 64, 64, 128)
        self.encoder = nn.ModuleList(
            nn.Conv1d(sizes[place], sizes[place + 1], 3, stride=stride, padding=1)
            for place, stride in enumerate((1, 2, 2, 1))
        )
        self.inputs, self.recurrence = nn.Linear(128, 512), nn.Linear(128, 512)
        self.last = nn.Linear(128, 1)
        state = {}
        for mine, name in _NAMES.items():
            if name not in weights:
                raise UserError(f"{path}: has no {name}; expected Silero VAD's weights")
            state[mine] = weights[name].squeeze(-1) if mine == "last.weight" else weights[name]
        self.load_state_dict(state)

    def spectrum(self, sounds: Tensor) -> Tensor:
        """Magnitudes, shape ``(sounds, frames, 129, 4)``, of sounds of shape ``(sounds, frames * FRAME)``."""
        padded = F.pad(sounds, (BEFORE, 0))
        frames = padded.unfold(1, FRAME + BEFORE, FRAME)
        ends = F.pad(frames.flatten(0, 1), (0, BEFORE), mode="reflect")
        parts = self.stft(ends[:, None]).unflatten(0, frames.shape[:2])
        magnitudes: Tensor = (parts[:, :, :129].square() + parts[:, :, 129:].square()).sqrt()
        return magnitudes

    def forward(self, spectrum: Tensor) -> tuple[Tensor, Tensor]:
        """Probability of speech, shape ``(sounds, frames)``, and the hidden states, ``(sounds, frames, 128)``."""
        x = spectrum.flatten(0, 1)
        for convolution in self.encoder:
            x = convolution(x).relu()
        inputs = self.inputs(x[..., 0]).unflatten(0, spectrum.shape[:2])
        hidden = inputs.new_zeros(len(inputs), 128)
        cell, states = hidden, []
        for step in inputs.unbind(1):
            gate_in, forget, new, out = (step + self.recurrence(hidden)).chunk(4, -1)
            cell = torch.sigmoid(forget) * cell + torch.sigmoid(gate_in) * torch.tanh(new)
            hidden = torch.sigmoid(out) * torch.tanh(cell)
            states.append(hidden)
        every = torch.stack(states, 1)
        return torch.sigmoid(self.last(every.relu())[..., 0]), every


_NAMES = {
    "stft.weight": "model.stft.forward_basis_buffer",
    **{
        f"encoder.{place}.{kind}": f"model.encoder.{place}.reparam_conv.{kind}"
        for place in range(4)
        for kind in ("weight", "bias")
    },
    **{
        f"{layer}.{kind}": f"model.decoder.rnn.{kind}_{end}"
        for layer, end in (("inputs", "ih"), ("recurrence", "hh"))
        for kind in ("weight", "bias")
    },
    **{f"last.{kind}": f"model.decoder.decoder.2.{kind}" for kind in ("weight", "bias")},
}
"""Of the file's tensors, by mine."""


def _spoken(count: int) -> NDArray[np.bool_]:
    """Whether somebody speaks for most of each frame of ``count`` samples."""
    spoken = np.zeros(count, np.bool_)
    for start, end, _ in turns():
        spoken[round(start * RATE) : round(end * RATE)] = True
    mostly: NDArray[np.bool_] = spoken[: count // FRAME * FRAME].reshape(-1, FRAME).mean(1) > 1 / 2
    return mostly


def _no_talk(kind: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """Noise, a sweeping tone, clicks, hum with harmonics, or next to silence."""
    count = FRAMES * FRAME
    time = np.arange(count) / RATE
    loudness = 10 ** generator.uniform(-2, -0.5)
    low, high = np.sort(generator.uniform(80, 4000, 2))
    sound: NDArray[np.float64]
    if kind % 5 == 0:
        sound = generator.normal(0, 1, count)
    elif kind % 5 == 1:
        sound = np.sin(2 * np.pi * (low * time + (high - low) / 4 * time**2))
    elif kind % 5 == 2:
        sound = (generator.uniform(0, 1, count) < 5 / RATE) * generator.uniform(-1, 1, count)
    elif kind % 5 == 3:
        waves = [np.sin(2 * np.pi * 50 * harmonic * time) / harmonic for harmonic in (1, 2, 3, 5, 7)]
        sound = np.sum(waves, axis=0)
    else:
        sound = generator.normal(0, 1e-3, count)
    return (loudness * sound).clip(-1, 1)
