"""transformers' architectures by name, built from a configuration."""

import os
from typing import Any

from lanewise.errors import UserError
from lanewise.mapping.networks_shared import empty_weights, first_line
from lanewise.torchvision import make_importable


def load_transformers(
    name: str,
    batch: int,
    sequence: int | None,
    resolution: int | None,
    phase: str | None = None,
    context: int | None = None,
) -> tuple[Any, dict[str, Any]]:
    """The architecture ``name`` and its inputs by name.

    Args:
        name: An architecture in its default configuration, or a published size of one
            (:mod:`lanewise.mapping.networks_transformers_sizes`), or ``minilm``.
        batch: Sequences, images or sounds at a time.
        sequence: Tokens of each sequence; by default 128, or the network's most if that is less.
        resolution: Side of the image; by default the network's own.
        phase: ``prefill`` or ``decode`` of a decoder-only language model, with its head
            (:mod:`lanewise.mapping.networks_transformers_phases`); by default the network without a head, once.
        context: Tokens before the one of a decode step.

    Raises:
        UserError: transformers has no such architecture, it cannot be built, or it takes other inputs.
    """
    make_importable()
    os.environ.setdefault(
        "TRANSFORMERS_DISABLE_TORCH_CHECK", "1"
    )  # its checks of values are no part of a network
    from lanewise.mapping.networks_transformers_configs import configuration, model_class
    from lanewise.mapping.networks_transformers_inputs import Request
    from lanewise.mapping.networks_transformers_phases import decode_inputs, prefill_inputs
    from lanewise.mapping.networks_transformers_special import inputs_of

    model = f"hf:{name}"
    try:
        config = configuration(name)
        kind = model_class(model, config, head="MODEL_FOR_CAUSAL_LM_MAPPING" if phase else "")
        with empty_weights():
            network = kind._from_config(config)
    except (
        RuntimeError,
        ValueError,
        AttributeError,
        TypeError,
        ImportError,
        LookupError,
        AssertionError,
    ) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{model}: cannot be built from its configuration: {first_line(error)}") from error
    network.eval()
    for part in network.modules():
        _restore(part)
        if hasattr(part, "warn_if_padding_and_no_attention_mask"):
            part.warn_if_padding_and_no_attention_mask = (
                _no_warning  # it looks at the tokens, and there are none
            )
    request = Request(model=model, network=network, batch=batch, sequence=sequence, resolution=resolution)
    if phase == "prefill":
        return network, prefill_inputs(request)
    if phase == "decode":
        return network, decode_inputs(request, context)
    return network, inputs_of(request)


def _restore(part: Any) -> None:
    """Give buffers their values again that say how a network runs, and that were made on the meta device."""
    import torch

    if isinstance(
        getattr(part, "attn_mask_probs", None), torch.Tensor
    ):  # EoMT: no masks are left after training
        part.attn_mask_probs = torch.zeros(part.attn_mask_probs.shape)
    conv = getattr(part, "conv", None)
    if isinstance(conv, torch.nn.Conv1d) and isinstance(getattr(part, "padding_total", None), torch.Tensor):
        reach = (conv.kernel_size[0] - 1) * conv.dilation[0] + 1
        part.stride, part.kernel_size = torch.tensor(conv.stride[0]), torch.tensor(reach)
        part.padding_total = torch.tensor(reach - conv.stride[0])


def _no_warning(*_args: Any, **_kwargs: Any) -> None:
    """Replaces a method that only warns."""
