"""PP-OCRv6 (small) reads lines of text: GELU, SiLU, softmax, layer norm; hard sigmoids beside.

Weights: package rapidocr (Apache-2.0), which carries PaddleOCR's recogniser as ONNX. Lines: headlines of the Lee corpus
(gensim, LGPL-2.1) drawn with the DejaVu fonts that Matplotlib carries, small, blurred and noisy.
"""

import re

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from torch import nn

from lanewise.errors import UserError
from lanewise.models.onnx.file import read_onnx
from lanewise.models.onnx.module import OnnxModule
from lanewise.models.pretrained.network import Contexts, Facts, Outputs, Samples, in_contexts
from lanewise.models.pretrained.packages import packaged_file

PACKAGE, FILE = "rapidocr", "PP-OCRv6_rec_small.onnx"
TEXT_PACKAGE, TEXT_FILE = "gensim", "lee.cor"
FONTS_PACKAGE = "matplotlib"
FONTS = ("DejaVuSans.ttf", "DejaVuSerif.ttf", "DejaVuSansMono.ttf", "DejaVuSans-Oblique.ttf")
HEIGHT = 48
"""Of the network's input, pixels."""
LETTERS = (10, 14)
"""Heights of the letters, pixels: so small that not all can be read."""
CHARACTERS = 32
"""Of a line, at most."""


class PpOcr:
    """Characters that must be inserted, deleted or replaced, as a share of those there are."""

    facts = Facts(
        name="ocr",
        title="PP-OCRv6 recogniser (small)",
        packages=(PACKAGE, "onnx", TEXT_PACKAGE, FONTS_PACKAGE, "pillow"),
        licence="Apache-2.0",
        task="read a line of small, noisy print, any of 18,708 characters",
        data=f"{TEXT_PACKAGE}: {TEXT_FILE}, drawn with {FONTS_PACKAGE}'s DejaVu fonts",
        score="character error rate",
        larger_is_better=False,
        decision="likeliest character of a position, or none",
        feature="shares of the likeliest characters of a position",
        functions=("gelu", "layer_norm", "silu", "softmax"),
        count=96,
    )

    def load(self) -> nn.Module:
        """The recogniser in FP32.

        Raises:
            UserError: The package is not installed, or is not what it was.
        """
        module = OnnxModule(read_onnx(packaged_file(PACKAGE, FILE)))
        return module.eval().requires_grad_(False)

    def samples(self, count: int, seed: int) -> Samples:
        """``count`` pictures, each of shape ``(1, 3, HEIGHT, width)``, -1 to 1; truth: what they say.

        Raises:
            UserError: There are not so many lines.
        """
        words = packaged_file(TEXT_PACKAGE, TEXT_FILE).read_text(encoding="latin-1").split()
        lines = lines_of(words)
        if not 0 < count <= len(lines):
            raise UserError(f"samples must be 1 to {len(lines)}, as {TEXT_FILE} has, not {count}")
        generator = np.random.default_rng(seed)
        chosen = [lines[place] for place in generator.permutation(len(lines))[:count]]
        return Samples(count=count, values=[draw(line, generator) for line in chosen], truth=chosen)

    def run(self, module: nn.Module, samples: Samples, contexts: Contexts) -> Outputs:
        """A row for each position of each picture; details: the picture's place."""
        features, decisions, places = [], [], []
        for place, picture in enumerate(samples.values):
            with in_contexts(contexts):
                shares = module(picture)[0]
            features.append(shares.float().topk(_BEST).values)
            decisions.append(shares.argmax(-1))
            places += [place] * len(shares)
        return Outputs(
            features=torch.cat(features), decisions=torch.cat(decisions), details=torch.tensor(places)
        )

    def score(self, samples: Samples, outputs: Outputs) -> float:
        """Character error rate."""
        characters = ["", *read_onnx(packaged_file(PACKAGE, FILE)).metadata["character"].split("\n"), " "]
        wrong = total = 0
        for place, line in enumerate(samples.truth):
            codes = outputs.decisions[outputs.details == place].tolist()
            # connectionist temporal classification: the same code again is the same character
            read = "".join(
                characters[code] for code, last in zip(codes, [0, *codes]) if code not in (0, last)
            )
            wrong += edits(read, line)
            total += len(line)
        return wrong / total


_BEST = 8


def edits(one: str, other: str) -> int:
    """Fewest insertions, deletions and replacements that turn one into the other (Levenshtein, 1966).

    >>> edits("kitten", "sitting")
    3
    """
    row = list(range(len(other) + 1))
    for place, letter in enumerate(one, 1):
        above, row = row, [place]
        for column, wanted in enumerate(other):
            row.append(min(above[column + 1] + 1, row[column] + 1, above[column] + (letter != wanted)))
    return row[-1]


def lines_of(words: list[str]) -> list[str]:
    """Different lines of at most ``CHARACTERS`` characters each, of ASCII alone."""
    lines = [""]
    for word in words:
        word = re.sub(r"[^\x21-\x7e]", "", word)
        if not word:
            continue
        if len(lines[-1]) + 1 + len(word) > CHARACTERS:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}".strip()
    return list(dict.fromkeys(line for line in lines if len(line) >= CHARACTERS // 2))


def draw(line: str, generator: np.random.Generator, letters: tuple[int, int] = LETTERS) -> torch.Tensor:
    """Print on paper of changing brightness, blurred and noisy, scaled to ``HEIGHT``: shape ``(1, 3, HEIGHT, width)``, -1 to 1."""
    font = ImageFont.truetype(
        str(packaged_file(FONTS_PACKAGE, FONTS[generator.integers(len(FONTS))])),
        int(generator.integers(letters[0], letters[1] + 1)),
    )
    left, top, right, bottom = font.getbbox(line)
    width, height = int(right - left) + 8, int(bottom - top) + 6
    ink, paper = int(generator.integers(0, 80)), int(generator.integers(160, 256))
    picture = Image.new("L", (width, height), paper)
    ImageDraw.Draw(picture).text((4 - left, 3 - top), line, fill=ink, font=font)
    picture = picture.filter(ImageFilter.GaussianBlur(generator.uniform(0.3, 0.9)))
    noisy = np.asarray(picture, np.float64) + generator.normal(0, 20, (height, width))
    picture = Image.fromarray(noisy.clip(0, 255).round().astype(np.uint8))
    picture = picture.resize((max(1, round(width * HEIGHT / height)), HEIGHT), Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.asarray(picture, np.float32) / 127.5 - 1)
    return pixels.expand(1, 3, *pixels.shape).contiguous()
