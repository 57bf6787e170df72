"""Networks by name, on PyTorch's ``meta`` device: shapes without memory, weights or downloads."""

from typing import TYPE_CHECKING, Any, TypeAlias

from lanewise.errors import UserError

if TYPE_CHECKING:
    import torch

    Inputs: TypeAlias = tuple[torch.Tensor, ...] | dict[str, torch.Tensor]

SCHEMES = ("timm:NAME", "hf:NAME")
"""How a network can be named."""


def load(
    model: str,
    *,
    batch: int = 1,
    sequence: int | None = None,
    resolution: int | None = None,
    phase: str | None = None,
    context: int | None = None,
) -> "tuple[torch.nn.Module, Inputs]":
    """A network in evaluation mode and its inputs, by position or by name, all on the ``meta`` device.

    Args:
        model: ``timm:NAME`` (an image model), ``hf:NAME`` (a transformers architecture with its default
            configuration, or ``hf:minilm``, the sentence encoder all-MiniLM-L6-v2).
        batch: Images or sequences at a time.
        sequence: Tokens of each sequence; by default 128, or the network's most if that is less.
        resolution: Side of the image in pixels; by default the model's own.
        phase: ``prefill`` or ``decode`` of a decoder-only language model of transformers.
        context: Tokens before the one of a decode step; by default 1,024.

    Raises:
        UserError: The name is unknown, or the model does not take such inputs.
    """
    scheme, _, name = model.partition(":")
    if phase not in (None, "prefill", "decode"):
        raise UserError(f"phase: must be prefill or decode, not {phase}")
    if context is not None and phase != "decode":
        raise UserError("context: is for the phase decode; expected that as well")
    if phase == "decode" and sequence is not None:
        raise UserError("sequence: a decode step has one token; expected context instead")
    if phase is not None and scheme != "hf":
        raise UserError(f"{model}: has no phases; expected a language model, hf:NAME")
    network: Any
    inputs: Any
    if scheme == "timm" and name:
        from lanewise.mapping.networks_timm import load_timm

        network, inputs = load_timm(name, batch, resolution)
    elif scheme == "hf" and name:
        from lanewise.mapping.networks_transformers import load_transformers

        network, inputs = load_transformers(name, batch, sequence, resolution, phase, context)
    else:
        raise UserError(f"{model}: unknown kind of model; expected {' or '.join(SCHEMES)}")
    return network.eval(), inputs
