"""PP-OCRv6's detector (small) finds the lines of text on a page: GELU and a sigmoid; hard sigmoids beside.

Weights: package rapidocr (Apache-2.0), which carries PaddleOCR's detector as ONNX. Liao et al., "Real-time scene text detection with
differentiable binarization", AAAI 2020 (arXiv 1911.08947). Pages: lines of the Lee corpus (gensim, LGPL-2.1) in Matplotlib's fonts.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from scipy import ndimage
from torch import nn

from lanewise.errors import UserError
from lanewise.models.onnx.file import read_onnx
from lanewise.models.onnx.module import OnnxModule
from lanewise.models.pretrained.network import Contexts, Facts, Outputs, Samples, in_contexts
from lanewise.models.pretrained.ocr import FONTS, FONTS_PACKAGE, PACKAGE, TEXT_FILE, TEXT_PACKAGE, lines_of
from lanewise.models.pretrained.packages import packaged_file

FILE = "PP-OCRv6_det_small.onnx"
SIDE = 320
"""Of a page, pixels."""
CELL = 4
"""Side of the square that is decided at once, pixels."""
LETTERS = (9, 20)
"""Heights of the letters, pixels."""
THRESHOLD, GROWTH, OVERLAP = 0.3, 1.6, 0.5
"""Share from which a pixel is text; how far what is found grows, by its area through its perimeter (as RapidOCR has both); share
of the union that a found and a drawn box must have in common."""

Box = tuple[int, int, int, int]
"""Left, top, right, bottom."""


class PpPages:
    """Harmonic mean of the share of drawn lines that are found and the share of found ones that are drawn."""

    facts = Facts(
        name="ocr_pages",
        title="PP-OCRv6 detector (small)",
        packages=(PACKAGE, "onnx", TEXT_PACKAGE, FONTS_PACKAGE, "pillow"),
        licence="Apache-2.0",
        task=f"find the lines of noisy print on a page of {SIDE} x {SIDE} pixels",
        data=f"{TEXT_PACKAGE}: {TEXT_FILE}, drawn with {FONTS_PACKAGE}'s DejaVu fonts",
        score="harmonic mean of recall and precision",
        larger_is_better=True,
        decision=f"text or none in a square of {CELL} x {CELL} pixels",
        feature="shares of text and none of a square's pixels",
        functions=("gelu", "sigmoid"),
        count=24,
    )

    def load(self) -> nn.Module:
        """The detector in FP32.

        Raises:
            UserError: The package is not installed, or is not what it was.
        """
        return OnnxModule(read_onnx(packaged_file(PACKAGE, FILE))).eval().requires_grad_(False)

    def samples(self, count: int, seed: int) -> Samples:
        """``count`` pages, shape ``(count, 1, 3, SIDE, SIDE)``, -1 to 1; truth: the boxes of each page's lines.

        Raises:
            UserError: There are not so many lines.
        """
        lines = lines_of(packaged_file(TEXT_PACKAGE, TEXT_FILE).read_text(encoding="latin-1").split())
        most = len(lines) // _MOST
        if not 0 < count <= most:
            raise UserError(f"samples must be 1 to {most}, as {TEXT_FILE} has, not {count}")
        generator = np.random.default_rng(seed)
        order = generator.permutation(len(lines))
        pages = [
            _page([lines[place] for place in order[page * _MOST : (page + 1) * _MOST]], generator)
            for page in range(count)
        ]
        return Samples(
            count=count, values=torch.stack([page for page, _ in pages]), truth=[boxes for _, boxes in pages]
        )

    def run(self, module: nn.Module, samples: Samples, contexts: Contexts) -> Outputs:
        """A row for each square of each page; details: its pixels' shares, shape ``(rows, CELL, CELL)``."""
        squares = []
        for page in samples.values:
            with in_contexts(contexts):
                shares = module(page)[0, 0].float()
            squares.append(shares.unfold(0, CELL, CELL).unfold(1, CELL, CELL).flatten(0, 1))
        details = torch.cat(squares)
        text = details.flatten(1)
        decisions = (text.mean(1) > THRESHOLD).long()
        return Outputs(features=torch.cat([text, 1 - text], 1), decisions=decisions, details=details)

    def score(self, samples: Samples, outputs: Outputs) -> float:
        """Harmonic mean of recall and precision, a found line being the drawn one that it covers best."""
        cells = SIDE // CELL
        maps = (
            outputs.details.view(samples.count, cells, cells, CELL, CELL)
            .transpose(2, 3)
            .reshape(-1, SIDE, SIDE)
        )
        right = total = 0
        for shares, drawn in zip(maps.numpy(), samples.truth, strict=True):
            found = boxes_of(shares)
            total += len(found) + len(drawn)
            left = list(found)
            for box in drawn:
                best = max(left, key=lambda other: overlap(box, other), default=None)
                if best is not None and overlap(box, best) >= OVERLAP:
                    left.remove(best)
                    right += 1
        return 2 * right / total


_MOST = 12
"""Lines of a page, at most."""


def boxes_of(shares: NDArray[Any]) -> list[Box]:
    """Boxes of the connected pixels that are text, grown as differentiable binarisation has shrunk them; shape ``(rows, columns)``."""
    labels, _ = ndimage.label(shares > THRESHOLD)
    boxes = []
    for down, right in ndimage.find_objects(labels):
        height, width = down.stop - down.start, right.stop - right.start
        grow = round(height * width * GROWTH / (2 * (height + width)))
        boxes.append((right.start - grow, down.start - grow, right.stop + grow, down.stop + grow))
    return boxes


def overlap(one: Box, other: Box) -> float:
    """Area in common as a share of the union.

    >>> overlap((0, 0, 4, 2), (2, 0, 6, 2))
    0.3333333333333333
    """
    width, height = (min(one[i + 2], other[i + 2]) - max(one[i], other[i]) for i in range(2))
    common = max(0, width) * max(0, height)
    return common / (sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)) - common)


def _page(lines: list[str], generator: np.random.Generator) -> tuple[torch.Tensor, list[Box]]:
    """Lines below each other until the page is full, some letters pale; the paper's brightness changes across it."""
    slope = generator.uniform(-60, 60)
    paper = generator.uniform(150, 230) + slope * np.linspace(-0.5, 0.5, SIDE)[:, None].repeat(SIDE, 1)
    picture = Image.fromarray(paper.clip(0, 255).astype(np.uint8))
    brush, boxes, down = ImageDraw.Draw(picture), [], int(generator.integers(4, 20))
    for line in lines:
        name = FONTS[generator.integers(len(FONTS))]
        font = ImageFont.truetype(
            str(packaged_file(FONTS_PACKAGE, name)), int(generator.integers(LETTERS[0], LETTERS[1] + 1))
        )
        while line and font.getlength(line) > SIDE - 8:
            line = line.rpartition(" ")[0]
        across = int(generator.integers(4, max(5, SIDE - 3 - round(font.getlength(line)))))
        left, top, right, bottom = font.getbbox(line)
        if not line or down + bottom - top > SIDE - 4:
            break
        brush.text((across - left, down - top), line, fill=int(generator.integers(0, 110)), font=font)
        start = down - round(top)  # of the letters' full height, which a label takes in
        boxes.append((across, start, across + round(right - left), start + sum(font.getmetrics())))
        down += round(bottom - top) + int(generator.integers(6, 24))
    picture = picture.filter(ImageFilter.GaussianBlur(generator.uniform(0.2, 0.9)))
    noisy = np.asarray(picture, np.float64) + generator.normal(0, 15, (SIDE, SIDE))
    pixels = torch.from_numpy((noisy.clip(0, 255).round() / 127.5 - 1).astype(np.float32))
    return pixels.expand(1, 3, SIDE, SIDE).contiguous(), boxes
