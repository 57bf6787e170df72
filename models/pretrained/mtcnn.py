"""MTCNN's P-Net, R-Net and O-Net tell faces from what is none: PReLU, which stays exact, and a softmax of two.

Weights: package facenet-pytorch (MIT), state dicts, read without unpickling code. Zhang et al., "Joint face detection and
alignment using multitask cascaded convolutional networks", IEEE SPL 2016 (arXiv 1604.02878). Pictures: 100 faces
and 100 others of Labeled Faces in the Wild that package scikit-image (BSD-3-Clause) carries, read as a file.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

from lanewise.errors import UserError
from lanewise.models.pretrained.network import Contexts, Facts, Outputs, Samples, in_contexts
from lanewise.models.pretrained.packages import packaged_file
from lanewise.models.pretrained.state import fill, read_state

PACKAGE = "facenet-pytorch"
PICTURES_PACKAGE, PICTURES = "scikit-image", "lfw_subset.npy"
FACES = 100
"""The first pictures; the others show none."""
NOISE = 0.3
"""Largest standard deviation of the noise, of pixels from -1 to 1: without it, all are told."""
BATCH = 20


class _FaceNet:
    """Share of pictures rightly called face or not."""

    facts: Facts
    file: str
    size: int
    """Of the network's input, pixels."""
    channels: tuple[int, ...]
    kernels: tuple[int, ...]
    pools: tuple[int, ...]
    """Side of the window behind each convolution; 0 for none."""
    dense: int
    """Width of the linear layer; 0 for none."""
    heads: tuple[tuple[str, int], ...]

    def load(self) -> nn.Module:
        """The network in FP32.

        Raises:
            UserError: The package is not installed, or is not what it was.
        """
        path = packaged_file(PACKAGE, self.file)
        module = FaceModule(self.channels, self.kernels, self.pools, self.dense, self.heads)
        fill(module, read_state(path, self.facts.title), path, self.facts.title)
        return module.eval().requires_grad_(False)

    def samples(self, count: int, seed: int) -> Samples:
        """``count`` grey, noisy pictures, shape ``(count, 3, size, size)``, -1 to 1; truth: whether it is a face, shape ``(count,)``.

        Raises:
            UserError: There are not so many.
        """
        pictures = np.load(packaged_file(PICTURES_PACKAGE, PICTURES), allow_pickle=False)
        if not 0 < count <= len(pictures):
            raise UserError(f"samples must be 1 to {len(pictures)}, as {PICTURES} has, not {count}")
        generator = np.random.default_rng(seed)
        chosen = generator.permutation(len(pictures))[:count]
        noise = generator.uniform(0, NOISE, (count, 1, 1)) * generator.normal(
            0, 1, (count, *pictures.shape[1:])
        )
        noisy = (pictures[chosen] * 2 - 1 + noise).clip(-1, 1)
        grey = torch.tensor(noisy, dtype=torch.float32)[:, None]
        scaled = F.interpolate(grey, (self.size, self.size), mode="bilinear", antialias=True)
        return Samples(
            count=count,
            values=scaled.expand(-1, 3, -1, -1).contiguous(),
            truth=torch.from_numpy(chosen < FACES),
        )

    def run(self, module: nn.Module, samples: Samples, contexts: Contexts) -> Outputs:
        """A row for each picture; details: whether it is right."""
        shares, boxes = [], []
        for pictures in samples.values.split(BATCH):
            with in_contexts(contexts):
                share, *rest = module(pictures)
            shares.append(share.float())
            boxes.append(torch.cat([*rest], 1).float())
        decisions = torch.cat(shares).argmax(1)
        features = torch.cat([torch.cat(shares), torch.cat(boxes)], 1)
        return Outputs(features=features, decisions=decisions, details=(decisions == 1) == samples.truth)

    def score(self, samples: Samples, outputs: Outputs) -> float:  # noqa: ARG002 - the protocol's
        """Share of right pictures."""
        return float(outputs.details.double().mean())


class FaceModule(nn.Module):
    """One of the cascade's networks, with the names of its state dict.

    Args:
        channels: Of the input and of each convolution's result.
        kernels: Sides of the convolutions.
        pools: Sides of the maximum's windows, 0 for none; each moves by 2.
        dense: Width of a linear layer behind the convolutions; 0 for none: the heads are convolutions.
        heads: Names and widths: faces, boxes, and of O-Net landmarks.
    """

    def __init__(
        self, channels: tuple[int, ...], kernels: tuple[int, ...], pools: tuple[int, ...],
        dense: int, heads: tuple[tuple[str, int], ...],
    ) -> None:  # fmt: skip
        super().__init__()
        self.pools, self.dense, self.heads = pools, dense, [name for name, _ in heads]
        for place, kernel in enumerate(kernels, 1):
            self.add_module(f"conv{place}", nn.Conv2d(channels[place - 1], channels[place], kernel))
            self.add_module(f"prelu{place}", nn.PReLU(channels[place]))
        self.next = len(kernels) + 1
        if dense:
            self.add_module(f"dense{self.next}", nn.Linear(9 * channels[-1], dense))
            self.add_module(f"prelu{self.next}", nn.PReLU(dense))
        for name, width in heads:
            self.add_module(name, nn.Linear(dense, width) if dense else nn.Conv2d(channels[-1], width, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Shares of none and face, shape ``(pictures, 2)``, boxes ``(pictures, 4)`` and, of O-Net, landmarks ``(pictures, 10)``."""
        for place, pool in enumerate(self.pools, 1):
            x = self.get_submodule(f"prelu{place}")(self.get_submodule(f"conv{place}")(x))
            x = F.max_pool2d(x, pool, 2, ceil_mode=True) if pool else x
        if self.dense:
            x = x.permute(0, 3, 2, 1).flatten(1)  # as it was trained
            x = self.get_submodule(f"prelu{self.next}")(self.get_submodule(f"dense{self.next}")(x))
        faces, *rest = (self.get_submodule(name)(x).flatten(1) for name in self.heads)
        return faces.softmax(1), *rest


def _facts(name: str, title: str, feature: str) -> Facts:
    return Facts(
        name=name,
        title=title,
        packages=(PACKAGE, PICTURES_PACKAGE),
        licence="MIT",
        task="tell a face from what is none",
        data=f"{PICTURES_PACKAGE}: {PICTURES}, with noise",
        score="accuracy",
        larger_is_better=True,
        decision="face or none",
        feature=feature,
        functions=("softmax",),
        count=200,
    )


class PNet(_FaceNet):
    """The first, for 12 x 12 pixels."""

    facts = _facts("pnet", "MTCNN P-Net", "shares and box")
    file, size, dense = "pnet.pt", 12, 0
    channels, kernels, pools = (3, 10, 16, 32), (3, 3, 3), (2, 0, 0)
    heads = (("conv4_1", 2), ("conv4_2", 4))


class RNet(_FaceNet):
    """The second, for 24 x 24 pixels."""

    facts = _facts("rnet", "MTCNN R-Net", "shares and box")
    file, size, dense = "rnet.pt", 24, 128
    channels, kernels, pools = (3, 28, 48, 64), (3, 3, 2), (3, 3, 0)
    heads = (("dense5_1", 2), ("dense5_2", 4))


class ONet(_FaceNet):
    """The third, for 48 x 48 pixels."""

    facts = _facts("onet", "MTCNN O-Net", "shares, box and landmarks")
    file, size, dense = "onet.pt", 48, 256
    channels, kernels, pools = (3, 32, 64, 64, 128), (3, 3, 3, 2), (3, 3, 2, 0)
    heads = (("dense6_1", 2), ("dense6_2", 4), ("dense6_3", 10))
