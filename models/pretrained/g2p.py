"""G2P says how an English word is pronounced: two GRUs, sigmoid and tanh, one reads the letters, one writes the phonemes.

Weights: package g2p-en (Apache-2.0), NumPy's arrays, read without unpickling. Words: those of its list of homographs, each with two
right pronunciations.
"""

from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor, nn

from lanewise.errors import UserError
from lanewise.models.pretrained.network import Contexts, Facts, Outputs, Samples, in_contexts
from lanewise.models.pretrained.ocr import edits
from lanewise.models.pretrained.packages import packaged_file
from lanewise.models.pretrained.state import fill

PACKAGE, FILE, WORDS = "g2p-en", "checkpoint20.npz", "homographs.en"
STEPS = 20
"""Phonemes of a word, at most."""
START, END = 2, 3
"""Codes of what stands before the first and behind the last phoneme."""
_VOWELS = (
    "AA", "AE", "AH", "AO", "AW", "AY", "EH", "ER", "EY", "IH", "IY", "OW", "OY", "UH", "UW",
)  # fmt: skip
_CONSONANTS = (
    "B", "CH", "D", "DH", "F", "G", "HH", "JH", "K", "L", "M", "N", "NG", "P", "R", "S", "SH", "T", "TH", "V",
    "W", "Y", "Z", "ZH",
)  # fmt: skip
PHONEMES = (
    "<pad>", "<unk>", "<s>", "</s>",
    *sorted(["UW", *_CONSONANTS, *(f"{vowel}{stress}" for vowel in _VOWELS for stress in "012")]),
)  # fmt: skip
"""By their codes; a vowel's digit is its stress."""
LETTERS = ("<pad>", "<unk>", "</s>", *"abcdefghijklmnopqrstuvwxyz")


class G2p:
    """Phonemes that must be inserted, deleted or replaced to reach the nearer right pronunciation, as a share of its own."""

    facts = Facts(
        name="g2p",
        title="G2P (English)",
        packages=(PACKAGE,),
        licence="Apache-2.0",
        task="pronounce an English word, in 70 phonemes with stress",
        data=f"{PACKAGE}: {WORDS}",
        score="phoneme error rate",
        larger_is_better=False,
        decision="the whole pronunciation of a word",
        feature="state after the last letter",
        functions=("sigmoid", "tanh"),
        count=256,
    )

    def load(self) -> nn.Module:
        """The network in FP32.

        Raises:
            UserError: The package is not installed, or is not what it was.
        """
        path = packaged_file(PACKAGE, FILE)
        module = G2pModule()
        try:
            with np.load(path, allow_pickle=False) as weights:
                state = {_NAMES.get(name, name): torch.from_numpy(weights[name]) for name in weights}
        except (OSError, ValueError, EOFError, BadZipFile) as error:
            raise UserError(f"{path}: cannot be read: {error}; expected G2P's weights") from None
        fill(module, state, path, self.facts.title)
        return module.eval().requires_grad_(False)

    def samples(self, count: int, seed: int) -> Samples:
        """``count`` words, shape ``(length,)`` each, codes of letters and of the end; truth: their two pronunciations, phonemes each.

        Raises:
            UserError: There are not so many.
        """
        lines = packaged_file(PACKAGE, WORDS).read_text(encoding="utf-8").splitlines()
        rows = [line.split("|") for line in lines if not line.startswith("#") and line.count("|") == 3]
        rows = [row for row in rows if row[0].isalpha()]
        if not 0 < count <= len(rows):
            raise UserError(f"samples must be 1 to {len(rows)}, as {WORDS} has, not {count}")
        chosen = [rows[place] for place in np.random.default_rng(seed).permutation(len(rows))[:count]]
        codes = [[LETTERS.index(letter) for letter in [*row[0].lower(), "</s>"]] for row in chosen]
        return Samples(
            count=count,
            values=[torch.tensor(word) for word in codes],
            truth=[(row[1].split(), row[2].split()) for row in chosen],
        )

    def run(self, module: nn.Module, samples: Samples, contexts: Contexts) -> Outputs:
        """A row for each word; details: its phonemes, shape ``(words, STEPS)``, ``END`` from its end on."""
        states: dict[int, Tensor] = {}
        phonemes: dict[int, Tensor] = {}
        lengths = [len(word) for word in samples.values]
        for length in sorted(set(lengths)):  # words of one length together: none is padded
            places = [place for place, other in enumerate(lengths) if other == length]
            with in_contexts(contexts):
                state, codes = module(torch.stack([samples.values[place] for place in places]))
            states |= dict(zip(places, state.float()))
            phonemes |= dict(zip(places, codes))
        details = torch.stack([phonemes[place] for place in range(samples.count)])
        return Outputs(
            features=torch.stack([states[place] for place in range(samples.count)]),
            decisions=torch.tensor([_number(codes) for codes in details.tolist()]),
            details=details,
        )

    def score(self, samples: Samples, outputs: Outputs) -> float:
        """Phoneme error rate."""
        wrong = total = 0
        for codes, right in zip(outputs.details.tolist(), samples.truth, strict=True):
            said = _text([PHONEMES[code] for code in codes if code != END])
            errors = [(edits(said, _text(phonemes)), len(phonemes)) for phonemes in right]
            fewest, length = min(errors, key=lambda pair: pair[0] / pair[1])
            wrong, total = wrong + fewest, total + length
        return wrong / total


class G2pModule(nn.Module):
    """Reads letters, then writes the likeliest phoneme again and again."""

    def __init__(self) -> None:
        super().__init__()
        self.letters, self.phonemes = nn.Embedding(len(LETTERS), 256), nn.Embedding(len(PHONEMES), 256)
        self.reader, self.writer = Gru(256), Gru(256)
        self.last = nn.Linear(256, len(PHONEMES))

    def forward(self, words: Tensor) -> tuple[Tensor, Tensor]:
        """State after the last letter, shape ``(words, 256)``, and phonemes, ``(words, STEPS)``; ``words``: ``(words, letters)``."""
        state = self.letters.weight.new_zeros(len(words), 256)
        for letter in self.letters(words).unbind(1):
            state = self.reader(letter, state)
        read, code, codes = state, words.new_full((len(words),), START), []
        ended = torch.zeros(len(words), dtype=torch.bool)
        for _ in range(STEPS):
            state = self.writer(self.phonemes(code), state)
            code = self.last(state).argmax(1)
            ended = ended | (code == END)
            codes.append(code.masked_fill(ended, END))
        return read, torch.stack(codes, 1)


class Gru(nn.Module):
    """One step of a GRU, its gates operators of their own: reset, update, new."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inputs, self.recurrence = nn.Linear(width, 3 * width), nn.Linear(width, 3 * width)

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        """The new state; all of shape ``(rows, width)``."""
        reset, update, new = self.inputs(x).chunk(3, -1)
        old_reset, old_update, old_new = self.recurrence(state).chunk(3, -1)
        new = torch.tanh(new + torch.sigmoid(reset + old_reset) * old_new)
        kept: Tensor = torch.sigmoid(update + old_update)
        return (1 - kept) * new + kept * state


_NAMES = {
    "enc_emb": "letters.weight", "dec_emb": "phonemes.weight", "fc_w": "last.weight", "fc_b": "last.bias",
} | {
    f"{short}_{kind[0]}_{place}": f"{long}.{layer}.{kind}"
    for short, long in (("enc", "reader"), ("dec", "writer"))
    for place, layer in (("ih", "inputs"), ("hh", "recurrence"))
    for kind in ("weight", "bias")
}  # fmt: skip


def _number(codes: list[int]) -> int:
    """One integer that stands for all codes: their polynomial modulo a prime."""
    value = 0
    for code in codes:
        value = (value * 1_000_003 + code) % (2**61 - 1)
    return value


def _text(phonemes: list[str]) -> str:
    """A character for each phoneme."""
    return "".join(chr(256 + PHONEMES.index(name)) if name in PHONEMES else "?" for name in phonemes)
