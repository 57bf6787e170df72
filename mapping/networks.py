"""Networks by name, on PyTorch's ``meta`` device: shapes without memory, weights or downloads."""

from typing import TYPE_CHECKING, Any, TypeAlias

from lanewise.errors import UserError

if TYPE_CHECKING:
    import torch

    Inputs: TypeAlias = tuple[torch.Tensor, ...] | dict[str, torch.Tensor]

SCHEMES = ("timm:NAME", "hf:NAME")
"""How a network can be named."""


def load(
    model: str, *, batch: int = 1, sequence: int = 128, resolution: int | None = None
) -> "tuple[torch.nn.Module, Inputs]":
    """A network in evaluation mode and its inputs, by position or by name, all on the ``meta`` device.

    Args:
        model: ``timm:NAME`` (an image model), ``hf:NAME`` (a transformers architecture with its default
            configuration, or ``hf:minilm``, the sentence encoder all-MiniLM-L6-v2).
        batch: Images or sequences at a time.
        sequence: Tokens of each sequence.
        resolution: Side of the image in pixels; by default the model's own.

    Raises:
        UserError: The name is unknown, or the model does not take such inputs.
    """
    scheme, _, name = model.partition(":")
    network: Any
    inputs: Any
    if scheme == "timm" and name:
        from lanewise.mapping.networks_timm import load_timm

        network, inputs = load_timm(name, batch, resolution)
    elif scheme == "hf" and name:
        from lanewise.mapping.networks_transformers import load_transformers

        network, inputs = load_transformers(name, batch, sequence, resolution)
    else:
        raise UserError(f"{model}: unknown kind of model; expected {' or '.join(SCHEMES)}")
    return network.eval(), inputs
