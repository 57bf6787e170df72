"""Magika tells a file's type from its bytes: GELU (by tanh), layer norm, softmax.

Weights: package magika (Apache-2.0), read from its ONNX file by name. Fratantonio et al., "Magika: AI-powered
content-type detection", ICSE 2025. Files of known type: those of installed packages, read, never run.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from lanewise.errors import UserError
from lanewise.models.onnx.file import read_onnx
from lanewise.models.pretrained.network import Contexts, Facts, Outputs, Samples, in_contexts
from lanewise.models.pretrained.packages import packaged_file, packaged_files

PACKAGE, FILE, LABELS_FILE = "magika", "model.onnx", "config.min.json"
SIDE = 1024
"""Bytes read from either end of a file, white space at the end cut off."""
BLOCK = 4096
PADDING = 256
BATCH = 32
FILES_PACKAGES = (
    "torch",
    "matplotlib",
    "mflowgen",
    "scikit-learn",
    "gensim",
    "networkx",
    "pyosys",
    "amaranth",
)
"""Their files are classified; each must be installed."""
TYPES: Mapping[str, str] = {
    ".py": "python", ".pyi": "python", ".js": "javascript", ".css": "css", ".html": "html", ".json": "json",
    ".svg": "svg", ".png": "png", ".ttf": "ttf", ".pdf": "pdf", ".tcl": "tcl", ".v": "verilog", ".so": "elf",
    ".gz": "gzip", ".jpg": "jpeg", ".cmake": "cmake", ".rst": "rst", ".md": "markdown", ".sh": "shell",
    ".csv": "csv", ".cpp": "cpp", ".yml": "yaml", ".yaml": "yaml", ".bz2": "bzip", ".npz": "npz",
    ".npy": "npy", ".ipynb": "ipynb", ".xml": "xml", ".tsv": "tsv", ".gif": "gif", ".toml": "toml",
}  # fmt: skip
"""Suffixes whose type admits no doubt, with Magika's names."""
PER_TYPE = 24
"""Files of one type at most, so that none outweighs the rest."""


class Magika:
    """Share of files whose type, by their suffix, is found."""

    facts = Facts(
        name="magika",
        title="Magika (standard_v3_3)",
        packages=(PACKAGE, "onnx", *FILES_PACKAGES),
        licence="Apache-2.0",
        task="tell a file's type, one of 214, from its first and last bytes",
        data=f"files of known suffix in {', '.join(FILES_PACKAGES)}",
        score="top-1 accuracy",
        larger_is_better=True,
        decision="likeliest type",
        feature="shares of the types",
        functions=("gelu_tanh", "layer_norm", "softmax"),
        count=256,
    )

    def load(self) -> nn.Module:
        """Magika in PyTorch's modules, FP32.

        Raises:
            UserError: The package is not installed, or is not what it was.
        """
        return MagikaModule(packaged_file(PACKAGE, FILE)).eval().requires_grad_(False)

    def samples(self, count: int, seed: int) -> Samples:
        """``count`` files, shape ``(count, 2 * SIDE)``, bytes or padding; truth: places among Magika's types.

        Raises:
            UserError: There are not so many.
        """
        labels = json.loads(packaged_file(PACKAGE, LABELS_FILE).read_text())["target_labels_space"]
        files = _files(seed)
        if not 0 < count <= len(files):
            raise UserError(f"samples must be 1 to {len(files)}, as the packages have, not {count}")
        chosen = [files[place] for place in np.random.default_rng(seed).permutation(len(files))[:count]]
        return Samples(
            count=count,
            values=torch.tensor(np.stack([_ends(path) for path in chosen])),
            truth=torch.tensor([labels.index(TYPES[path.suffix]) for path in chosen]),
        )

    def run(self, module: nn.Module, samples: Samples, contexts: Contexts) -> Outputs:
        """A row for each file; details: whether its type is right."""
        shares = []
        for values in samples.values.split(BATCH):
            with in_contexts(contexts):
                shares.append(module(values))
        features = torch.cat(shares).float()
        decisions = features.argmax(1)
        return Outputs(features=features, decisions=decisions, details=decisions == samples.truth)

    def score(self, samples: Samples, outputs: Outputs) -> float:  # noqa: ARG002 - the protocol's
        """Share of right types."""
        return float(outputs.details.double().mean())


class MagikaModule(nn.Module):
    """The network of the ONNX file. Bytes are looked up, four at a time are one position of 256 channels."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        weights = read_onnx(path).weights

        def weight(name: str) -> torch.Tensor:
            if name not in weights:
                raise UserError(f"{path}: has no {name}; expected Magika's weights")
            return weights[name]

        prefix = "jax2tf_get_logits_/"
        inner = f"{prefix}pjit_get_logits_/MagikaV2/"
        table = weight(f"{prefix}Const:0") + weight(f"{inner}Dense_0/Reshape:0").view(1, -1)
        self.embedding = nn.Embedding(*table.shape)
        self.embedding.load_state_dict({"weight": table})
        kernel = weight(f"{inner}Conv_0/transpose_3:0").squeeze(-1)
        self.before = _norm(weight, f"{inner}LayerNorm_0/")
        self.convolution = nn.Conv1d(kernel.shape[1], kernel.shape[0], kernel.shape[2])
        self.convolution.load_state_dict({"weight": kernel, "bias": weight("const_fold_opt__209").view(-1)})
        self.after = _norm(weight, f"{inner}LayerNorm_1/")
        last = weight(f"{prefix}Const_24:0").T.contiguous()
        self.head = nn.Linear(last.shape[1], last.shape[0])
        self.head.load_state_dict({"weight": last, "bias": weight(f"{inner}Dense_1/Reshape:0").view(-1)})

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Shares of the types, shape ``(files, 214)``; ``values``: shape ``(files, 2 * SIDE)``, 0 to 256."""
        x = nn.functional.gelu(self.embedding(values), approximate="tanh")
        x = x.view(len(values), self.before.normalized_shape[0], -1)
        x = self.before(x.mT).mT  # over positions, not channels, as it was trained
        x = nn.functional.gelu(self.convolution(x.mT), approximate="tanh")
        scores: torch.Tensor = self.head(self.after(x.amax(-1)))
        return scores.softmax(-1)


def _norm(weight: Any, prefix: str) -> nn.LayerNorm:
    scale, shift = (weight(f"{prefix}Reshape_{place}:0").view(-1) for place in (2, 3))
    norm = nn.LayerNorm(len(scale), eps=1e-6)
    norm.load_state_dict({"weight": scale, "bias": shift})
    return norm


def _files(seed: int) -> list[Path]:
    """At most ``PER_TYPE`` of each type, in a fixed order."""
    by_type: dict[str, list[Path]] = {}
    for package in FILES_PACKAGES:
        for path in packaged_files(package, "*"):
            if path.suffix in TYPES and path.is_file() and path.stat().st_size > 64:
                by_type.setdefault(TYPES[path.suffix], []).append(path)
    generator = np.random.default_rng(seed)
    chosen = []
    for kind in sorted(by_type):
        paths = by_type[kind]
        chosen += [paths[place] for place in generator.permutation(len(paths))[:PER_TYPE]]
    return chosen


def _ends(path: Path) -> np.ndarray[Any, np.dtype[np.int64]]:
    """First and last ``SIDE`` bytes, as magika's own features take them (version 2)."""
    with path.open("rb") as stream:
        size = path.stat().st_size
        start = stream.read(min(BLOCK, size)).lstrip()[:SIDE]
        stream.seek(max(0, size - BLOCK))
        end = stream.read().rstrip()[-SIDE:]
    values = np.full(2 * SIDE, PADDING, np.int64)
    values[: len(start)] = np.frombuffer(start, np.uint8)
    values[2 * SIDE - len(end) :] = np.frombuffer(end, np.uint8)
    return values
