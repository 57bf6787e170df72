"""PP-OCR's direction classifier (mobile, v2.0) tells lines that stand upside down: hard-swish, hard sigmoid, and a softmax of two.

Weights: package rapidocr (Apache-2.0), which carries it as ONNX. Lines: as the recogniser reads them.
"""

import numpy as np
import torch
from torch import nn

from lanewise.errors import UserError
from lanewise.models.onnx.file import read_onnx
from lanewise.models.onnx.module import OnnxModule
from lanewise.models.pretrained.network import Contexts, Facts, Outputs, Samples, in_contexts
from lanewise.models.pretrained.ocr import (
    FONTS_PACKAGE,
    HEIGHT,
    PACKAGE,
    TEXT_FILE,
    TEXT_PACKAGE,
    draw,
    lines_of,
)
from lanewise.models.pretrained.packages import packaged_file

FILE = "ch_ppocr_mobile_v2.0_cls_mobile.onnx"
WIDTH = 192
"""Of the network's input, pixels; its height is the recogniser's."""
LETTERS = (14, 24)
"""Heights of the letters, pixels."""
BATCH = 16


class PpDirection:
    """Share of lines whose direction is found."""

    facts = Facts(
        name="ocr_direction",
        title="PP-OCR direction classifier (mobile v2.0)",
        packages=(PACKAGE, "onnx", TEXT_PACKAGE, FONTS_PACKAGE, "pillow"),
        licence="Apache-2.0",
        task="tell whether a line of small, noisy print is upside down",
        data=f"{TEXT_PACKAGE}: {TEXT_FILE}, drawn with {FONTS_PACKAGE}'s DejaVu fonts",
        score="accuracy",
        larger_is_better=True,
        decision="upright or upside down",
        feature="shares of the two",
        functions=("softmax",),
        count=256,
    )

    def load(self) -> nn.Module:
        """The classifier in FP32.

        Raises:
            UserError: The package is not installed, or is not what it was.
        """
        return OnnxModule(read_onnx(packaged_file(PACKAGE, FILE))).eval().requires_grad_(False)

    def samples(self, count: int, seed: int) -> Samples:
        """``count`` pictures, shape ``(count, 3, 48, WIDTH)``, -1 to 1, half of them turned; truth: which, shape ``(count,)``.

        Raises:
            UserError: There are not so many lines.
        """
        lines = lines_of(packaged_file(TEXT_PACKAGE, TEXT_FILE).read_text(encoding="latin-1").split())
        if not 0 < count <= len(lines):
            raise UserError(f"samples must be 1 to {len(lines)}, as {TEXT_FILE} has, not {count}")
        generator = np.random.default_rng(seed)
        pictures = []
        turned = generator.integers(0, 2, count)
        for place, chosen in enumerate(generator.permutation(len(lines))[:count]):
            picture = draw(lines[chosen], generator, LETTERS)
            if picture.shape[3] > WIDTH:  # as the network was trained: pressed together
                picture = nn.functional.interpolate(picture, (HEIGHT, WIDTH), mode="bilinear")
            picture = picture.flip(2, 3) if turned[place] else picture
            pictures.append(nn.functional.pad(picture, (0, WIDTH - picture.shape[3])))
        return Samples(count=count, values=torch.cat(pictures), truth=torch.from_numpy(turned))

    def run(self, module: nn.Module, samples: Samples, contexts: Contexts) -> Outputs:
        """A row for each line; details: whether it is right."""
        shares = []
        for pictures in samples.values.split(BATCH):
            with in_contexts(contexts):
                shares.append(module(pictures))
        features = torch.cat(shares).float()
        decisions = features.argmax(1)
        return Outputs(features=features, decisions=decisions, details=decisions == samples.truth)

    def score(self, samples: Samples, outputs: Outputs) -> float:  # noqa: ARG002 - the protocol's
        """Share of right lines."""
        return float(outputs.details.double().mean())
