"""Resemblyzer's speaker encoder tells voices apart: three layers of LSTM, sigmoid and tanh.

Weights: package resemblyzer (Apache-2.0), a state dict, read without unpickling code. Wan et al., "Generalized end-to-end loss for
speaker verification", ICASSP 2018 (arXiv 1710.10467). Talk, and who speaks when: package pyannote.audio (MIT), read as files.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lanewise.errors import UserError
from lanewise.models.pretrained.network import Contexts, Facts, Outputs, Samples, in_contexts
from lanewise.models.pretrained.packages import packaged_file
from lanewise.models.pretrained.state import fill, read_state
from lanewise.models.pretrained.talk import PACKAGE as TALK_PACKAGE
from lanewise.models.pretrained.talk import RATE, SOUND, SPEAKERS, talk, turns

PACKAGE, FILE = "resemblyzer", "pretrained.pt"
FRAMES, HOP, WINDOW, BANDS = 160, 160, 400, 40
"""Frames of a piece (1.6 s); samples from one to the next, and of each; mel bands."""
APART = 0.1
"""Seconds from one piece of a turn to the next."""
LOUDNESS = 10 ** (-30 / 20)
"""Root of the mean square that a quieter talk is raised to: 30 dB below full scale."""
WIDTH, LAYERS = 256, 3


class Resemblyzer:
    """Share of pieces whose most alike other piece, at another time, is of the same speaker."""

    facts = Facts(
        name="speaker",
        title="Resemblyzer speaker encoder",
        packages=(PACKAGE, TALK_PACKAGE),
        licence="Apache-2.0",
        task="find, to 1.6 s of talk, another piece by the same speaker",
        data=f"{TALK_PACKAGE}: {SOUND}, {SPEAKERS}",
        score="share of right speakers",
        larger_is_better=True,
        decision="most alike piece at another time",
        feature="embedding",
        functions=("sigmoid", "tanh"),
        count=48,
    )

    def load(self) -> nn.Module:
        """The network in FP32.

        Raises:
            UserError: The package is not installed, or is not what it was.
        """
        path = packaged_file(PACKAGE, FILE)
        weights, module = read_state(path, self.facts.title).get("model_state", {}), SpeakerModule()
        state = {_renamed(name): tensor for name, tensor in weights.items() if "similarity" not in name}
        fill(module, state, path, self.facts.title)
        return module.eval().requires_grad_(False)

    def samples(self, count: int, seed: int) -> Samples:
        """``count`` mel spectra, shape ``(count, FRAMES, BANDS)``; truth: start in seconds and speaker, shape ``(count, 2)``.

        Raises:
            UserError: There are not so many.
        """
        pieces = _pieces()
        if not 3 <= count <= len(pieces):
            raise UserError(f"samples must be 3 to {len(pieces)}, as {SPEAKERS} has, not {count}")
        chosen = [pieces[place] for place in np.random.default_rng(seed).permutation(len(pieces))[:count]]
        sound, spectra = talk(), []
        sound = sound * max(1.0, LOUDNESS / float(np.sqrt(np.mean(sound**2))))
        for start, _ in chosen:
            first = round(start * RATE)
            spectra.append(mel_spectrum(sound[first : first + (FRAMES - 1) * HOP + WINDOW]))
        return Samples(
            count=count,
            values=torch.tensor(np.stack(spectra), dtype=torch.float32),
            truth=torch.tensor(chosen, dtype=torch.float64),
        )

    def run(self, module: nn.Module, samples: Samples, contexts: Contexts) -> Outputs:
        """A row for each piece; details: whether its most alike one is of the same speaker."""
        with in_contexts(contexts):
            embeddings = module(samples.values)
        features = nn.functional.normalize(embeddings.float(), dim=1)
        start, speaker = samples.truth.unbind(1)
        together = (start[:, None] - start).abs() < FRAMES * HOP / RATE
        alike = (features @ features.T).masked_fill(together, -torch.inf)
        decisions = alike.argmax(1)
        return Outputs(features=features, decisions=decisions, details=speaker[decisions] == speaker)

    def score(self, samples: Samples, outputs: Outputs) -> float:  # noqa: ARG002 - the protocol's
        """Share of right speakers."""
        return float(outputs.details.double().mean())


class SpeakerModule(nn.Module):
    """LSTM from frame to frame, its gates operators of their own; the last state's linear layer is the embedding."""

    def __init__(self) -> None:
        super().__init__()
        widths = (BANDS, *[WIDTH] * (LAYERS - 1))
        self.inputs = nn.ModuleList(nn.Linear(width, 4 * WIDTH) for width in widths)
        self.recurrence = nn.ModuleList(nn.Linear(WIDTH, 4 * WIDTH) for _ in widths)
        self.linear = nn.Linear(WIDTH, WIDTH)

    def forward(self, spectra: Tensor) -> Tensor:
        """Embeddings, not yet of length 1, shape ``(pieces, WIDTH)``; ``spectra``: ``(pieces, frames, BANDS)``."""
        for first, again in zip(self.inputs, self.recurrence, strict=True):
            states, hidden = [], spectra.new_zeros(len(spectra), WIDTH)
            cell = hidden
            for step in first(spectra).unbind(1):
                gate_in, forget, new, out = (step + again(hidden)).chunk(4, -1)
                cell = torch.sigmoid(forget) * cell + torch.sigmoid(gate_in) * torch.tanh(new)
                hidden = torch.sigmoid(out) * torch.tanh(cell)
                states.append(hidden)
            spectra = torch.stack(states, 1)
        embeddings: Tensor = self.linear(spectra[:, -1]).relu()
        return embeddings


def _renamed(name: str) -> str:
    """``lstm.weight_ih_l0`` is ``inputs.0.weight``."""
    if not name.startswith("lstm."):
        return name
    kind, place, layer = name.removeprefix("lstm.").split("_")
    return f"{'inputs' if place == 'ih' else 'recurrence'}.{layer[1:]}.{kind}"


def _pieces() -> list[tuple[float, int]]:
    """Start, in seconds, and speaker of each piece in which one person alone speaks."""
    spoken = turns()
    speakers = sorted({speaker for *_, speaker in spoken})
    length, pieces = FRAMES * HOP / RATE, []
    for start, end, speaker in spoken:
        for place in range(1 + int((end - start - length) / APART) if end - start >= length else 0):
            first = start + place * APART
            others = [turn for turn in spoken if turn[2] != speaker]
            if not any(begin < first + length and first < stop for begin, stop, _ in others):
                pieces.append((first, speakers.index(speaker)))
    return pieces


def mel_spectrum(sound: NDArray[np.float64]) -> NDArray[np.float64]:
    """Power in mel bands (Slaney's, each of area 1), shape ``(frames, BANDS)``, under a Hann window."""
    frames = np.lib.stride_tricks.sliding_window_view(sound, WINDOW)[::HOP]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
    power = np.abs(np.fft.rfft(frames * window, axis=1)) ** 2
    edges = _hertz(np.linspace(0, _mel(RATE / 2), BANDS + 2))
    bins = np.arange(WINDOW // 2 + 1) * RATE / WINDOW
    rising = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    weights = np.minimum(rising, falling).clip(0) * (2 / (edges[2:] - edges[:-2]))[:, None]
    bands: NDArray[np.float64] = power @ weights.T
    return bands


_STEP, _KNEE, _LOG = 200 / 3, 1000.0, np.log(6.4) / 27
"""Hertz to a mel below the knee, the knee in hertz, and the logarithm of a mel's ratio above it (Slaney, 1998)."""


def _mel(hertz: float) -> float:
    return hertz / _STEP if hertz < _KNEE else _KNEE / _STEP + float(np.log(hertz / _KNEE)) / _LOG


def _hertz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    above: NDArray[np.float64] = _KNEE * np.exp(_LOG * (mel - _KNEE / _STEP))
    return np.where(mel < _KNEE / _STEP, mel * _STEP, above)
