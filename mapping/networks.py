"""Networks by name, on PyTorch's ``meta`` device: shapes without memory, weights or downloads."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from lanewise.errors import UserError
from lanewise.mapping.networks_sizes import LARGEST, Sizes

if TYPE_CHECKING:
    import torch

    Inputs: TypeAlias = tuple[torch.Tensor, ...] | dict[str, torch.Tensor]

SCHEMES = ("timm:NAME", "hf:NAME", "onnx:FILE", "pt2:FILE")
"""How a network can be named."""


def load(
    model: str,
    *,
    batch: int = 1,
    sequence: int = 128,
    resolution: int | None = None,
    dims: Mapping[str, int] | None = None,
) -> "tuple[torch.nn.Module, Inputs]":
    """A network in evaluation mode and its inputs, by position or by name, all on the ``meta`` device.

    Args:
        model: ``timm:NAME`` (an image model), ``hf:NAME`` (a transformers architecture with its default
            configuration, or ``hf:minilm``, the sentence encoder all-MiniLM-L6-v2), ``onnx:FILE``, or
            ``pt2:FILE`` (written by ``torch.export.save``).
        batch: Images or sequences at a time.
        sequence: Tokens of each sequence.
        resolution: Side of the image in pixels; by default the model's own.
        dims: Sizes by name of axes that a file leaves open.

    Raises:
        UserError: The name is unknown, the file cannot be read, or the model does not take such inputs.
    """
    scheme, _, name = model.partition(":")
    sizes = Sizes(batch=batch, sequence=sequence, resolution=resolution, named=dims or {})
    for key, size in sizes.named.items():
        if not 1 <= size <= LARGEST:
            raise UserError(f"--dim {key}: must be 1 to {LARGEST}, not {size}")
    if scheme in ("timm", "hf") and sizes.named:
        raise UserError(f"--dim {next(iter(sizes.named))}: {model} has no open axes; expected onnx: or pt2:")
    network: Any
    inputs: Any
    if scheme == "timm" and name:
        from lanewise.mapping.networks_timm import load_timm

        network, inputs = load_timm(name, batch, resolution)
    elif scheme == "hf" and name:
        from lanewise.mapping.networks_transformers import load_transformers

        network, inputs = load_transformers(name, batch, sequence, resolution)
    elif scheme == "onnx" and name:
        from lanewise.mapping.networks_onnx import load_onnx

        network, inputs = load_onnx(name, sizes)
    elif scheme == "pt2" and name:
        from lanewise.mapping.networks_pt2 import load_pt2

        network, inputs = load_pt2(name, sizes)
    else:
        *others, last = SCHEMES
        raise UserError(f"{model}: unknown kind of model; expected {', '.join(others)} or {last}")
    return network.eval(), inputs
