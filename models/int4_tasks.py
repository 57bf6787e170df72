"""What the INT4 training study trains on: real images and real text from installed packages, and a small transformer.

Images are 1,797 handwritten digits (Alpaydin, Kaynak, 1998, UCI) from the package scikit-learn
(BSD-3-Clause), text is Australian news of 2001, the Lee
background corpus (Lee, Pincombe, Welsh, 2005), from the package gensim (LGPL-2.1). Both are read as files.
"""

import gzip
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from lanewise.models.minilm import TEXT_FILE, TEXT_PACKAGE
from lanewise.models.pretrained.packages import packaged_file

IMAGE_PACKAGE, IMAGE_FILE = "scikit-learn", "digits.csv.gz"
SIDE = 8
"""Pixels of an image's edge."""
CONTEXT = 32
"""Characters that the text's network sees at once."""
HELD_OUT = 0.1
"""Share of the text, its end, that is not trained on; of the images a third."""
SPAN = 5
"""Characters that a character's embedding knows."""
WIDTH, HEADS, LAYERS, FEEDFORWARD = 64, 4, 2, 256


class Transformer(nn.Module):
    """Two pre-norm encoder layers 64 wide between an embedding and a classifier.

    Tokens are rows of pixels, and the classifier sees their mean; or characters, and the classifier sees each.
    """

    def __init__(self, embed: nn.Module, length: int, classes: int, *, pooled: bool) -> None:
        super().__init__()
        self.embed, self.pooled = embed, pooled
        self.position = nn.Parameter(torch.randn(length, WIDTH) * 0.02)
        layer = nn.TransformerEncoderLayer(
            WIDTH, HEADS, FEEDFORWARD, 0.0, "gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)
        for name, parameter in self.encoder.named_parameters():  # the layers are copies of one
            if parameter.dim() == 2:
                nn.init.xavier_uniform_(parameter)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, classes)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Shape ``(batch, length, pixels)`` or ``(batch, length)`` to ``(batch, classes)`` or ``(batch, length, classes)``."""
        x = self.norm(self.encoder(self.embed(tokens) + self.position))
        result: torch.Tensor = self.head(x.mean(1) if self.pooled else x)
        return result


class CharacterEmbedding(nn.Module):
    """A character and its neighbours: a table, and a convolution over :data:`SPAN` characters."""

    def __init__(self, letters: int) -> None:
        super().__init__()
        self.table = nn.Embedding(letters, WIDTH)
        self.mix = nn.Conv1d(WIDTH, WIDTH, SPAN, padding=SPAN // 2)

    def forward(self, letters: torch.Tensor) -> torch.Tensor:
        """Shape ``(batch, length)`` to ``(batch, length, width)``."""
        result: torch.Tensor = self.mix(self.table(letters).mT).mT
        return result


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """A data set and how a network is trained on it."""

    name: str
    title: str
    data: str
    licence: str
    score: str
    """What the share of right answers is of."""
    train: tuple[torch.Tensor, torch.Tensor]
    """Inputs and classes, one row a sample."""
    test: tuple[torch.Tensor, torch.Tensor]
    network: Callable[[], Transformer]
    steps: int
    batch: int
    learning_rate: float


def images() -> Task:
    """Handwritten digits of 8 x 8 pixels: 8 rows of 8 pixels, two thirds to train on.

    Raises:
        UserError: The package is not installed.
    """
    with gzip.open(packaged_file(IMAGE_PACKAGE, IMAGE_FILE), "rt") as stream:
        table = np.loadtxt(stream, delimiter=",")
    order = np.random.default_rng(0).permutation(len(table))
    pixels = torch.from_numpy(table[order, :-1]).to(torch.float32).reshape(-1, SIDE, SIDE)
    inputs = (pixels - pixels.mean()) / pixels.std()
    classes = torch.from_numpy(table[order, -1]).long()
    first = len(table) * 2 // 3
    return Task(
        name="images", title="digits", data=f"{IMAGE_PACKAGE}: {IMAGE_FILE}", licence="BSD-3-Clause",
        score="images named rightly", train=(inputs[:first], classes[:first]), test=(inputs[first:], classes[first:]),
        network=lambda: Transformer(nn.Linear(SIDE, WIDTH), SIDE, 10, pooled=True),
        steps=400, batch=64, learning_rate=2e-3,
    )  # fmt: skip


def text() -> Task:
    """Lee's news without spaces: after which characters does a word end? 32 at a time; the last tenth is to test.

    Raises:
        UserError: The package is not installed.
    """
    content = " ".join(packaged_file(TEXT_PACKAGE, TEXT_FILE).read_text(encoding="utf-8").lower().split())
    letters = sorted(letter for letter in set(content) if letter != " " and content.count(letter) >= 20)
    numbers = {letter: place + 1 for place, letter in enumerate(letters)}  # 0: any rare one
    ids = torch.tensor([numbers.get(letter, 0) for letter in content if letter != " "])
    ends = torch.tensor(
        [int(after == " ") for letter, after in zip(content, content[1:] + " ") if letter != " "]
    )
    first = int(len(ids) * (1 - HELD_OUT))

    def windows(part: slice, stride: int) -> tuple[torch.Tensor, torch.Tensor]:
        return ids[part].unfold(0, CONTEXT, stride), ends[part].unfold(0, CONTEXT, stride)

    return Task(
        name="text", title="Lee news", data=f"{TEXT_PACKAGE}: {TEXT_FILE}", licence="LGPL-2.1",
        score="characters after which a word's end is told rightly",
        train=windows(slice(first), 1), test=windows(slice(first, None), CONTEXT),
        network=lambda: Transformer(CharacterEmbedding(len(letters) + 1), CONTEXT, 2, pooled=False),
        steps=300, batch=16, learning_rate=3e-3,
    )  # fmt: skip


TASKS: dict[str, Callable[[], Task]] = {"images": images, "text": text}
