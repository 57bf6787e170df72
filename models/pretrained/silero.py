"""Silero VAD hears whether somebody speaks: LSTM with sigmoid and tanh.

Weights: package silero-vad (MIT), its 16 kHz network as safetensors. Talk, and who speaks when: package pyannote.audio (MIT),
read as files. Beside the talk stand sounds that are none.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from scipy.io import wavfile
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

from lanewise.errors import UserError
from lanewise.models.pretrained.network import Contexts, Facts, Outputs, Samples, in_contexts
from lanewise.models.pretrained.packages import packaged_file

PACKAGE, FILE = "silero-vad", "silero_vad_16k.safetensors"
TALK_PACKAGE, TALK, SPEAKERS = "pyannote.audio", "sample.wav", "sample.rttm"
RATE = 16000
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
        packages=(PACKAGE, TALK_PACKAGE, "safetensors"),
        licence="MIT",
        task=f"hear in each frame of 32 ms whether somebody speaks, {FRAMES} frames at a time",
        data=f"{TALK_PACKAGE}: {TALK} with noise, {SPEAKERS}; noise, tones, clicks and hum",
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
        talk, spoken = _talk()
        sounds, truth = [], []
        for place in range(count):
            if place % 4 == 3:
                sounds.append(_no_talk(place // 4, generator))
                truth.append(np.zeros(FRAMES, np.bool_))
                continue
            start = int(generator.integers(len(spoken) - FRAMES))
            piece = talk[start * FRAME : (start + FRAMES) * FRAME]
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
        try:
            weights: Mapping[str, Tensor] = load_file(str(path))
        except (OSError, SafetensorError) as error:
            raise UserError(f"{path}: cannot be read: {error}; expected Silero VAD's weights") from None
        self.stft = nn.Conv1d(1, 258, 256, stride=128, bias=False)
        sizes = (129, 128, 64, 64, 128)
        self.encoder = nn.ModuleList(
            nn.Conv1d(sizes[place], sizes[place + 1], 3, stride=stride, padding=1)
            for place, stride in enumerate((1, 2, 2, 1))
        )
        self.inputs, self.recurrence = nn.Linear(128, 512), nn.Linear(128, 512)
        self.last = nn.Linear(128, 1)
        names = {"stft_conv": "stft", "final_conv": "last"} | {
            f"conv{place + 1}": f"encoder.{place}" for place in range(4)
        }
        state = {}
        for name, tensor in weights.items():
            layer, _, kind = name.partition(".")
            if layer == "lstm_cell":
                kind, _, end = kind.partition("_")
                layer = "inputs" if end == "ih" else "recurrence"
            if name == "final_conv.weight":
                tensor = tensor.squeeze(-1)
            state[f"{names.get(layer, layer)}.{kind}"] = tensor
        try:
            self.load_state_dict(state)
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()
            raise UserError(f"{path}: {reason}; expected Silero VAD's weights") from None

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


def _talk() -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The talk, -1 to 1, and for each of its frames whether somebody speaks for most of it.

    Raises:
        UserError: It is not what it was.
    """
    path = packaged_file(TALK_PACKAGE, TALK)
    rate, sound = wavfile.read(path)
    if rate != RATE or sound.dtype != np.int16 or sound.ndim != 1:
        raise UserError(f"{path}: must have {RATE} samples of 16 bits a second, one channel")
    spoken = np.zeros(len(sound), np.bool_)
    for line in packaged_file(TALK_PACKAGE, SPEAKERS).read_text(encoding="utf-8").splitlines():
        start, length = (float(word) for word in line.split()[3:5])
        spoken[round(start * RATE) : round((start + length) * RATE)] = True
    frames = len(sound) // FRAME
    return sound / 32768, spoken[: frames * FRAME].reshape(frames, FRAME).mean(1) > THRESHOLD


def _no_talk(kind: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """Noise, a sweeping tone, clicks, hum with harmonics, or next to silence."""
    count = FRAMES * FRAME
    time = np.arange(count) / RATE
    loudness = 10 ** generator.uniform(-2, -0.5)
    low, high = np.sort(generator.uniform(80, 4000, 2))
    if kind % 5 == 0:
        return (loudness * generator.normal(0, 1, count)).clip(-1, 1)
    if kind % 5 == 1:
        sweep: NDArray[np.float64] = np.sin(2 * np.pi * (low * time + (high - low) / 4 * time**2))
        return loudness * sweep
    if kind % 5 == 2:
        return loudness * (generator.uniform(0, 1, count) < 5 / RATE) * generator.uniform(-1, 1, count)
    if kind % 5 == 3:
        waves = [np.sin(2 * np.pi * 50 * harmonic * time) / harmonic for harmonic in (1, 2, 3, 5, 7)]
        return loudness * np.sum(waves, axis=0)
    return generator.normal(0, 1e-4, count)
