"""RMS norm as one operator whose result is rounded once.

Written out, as transformers has it, its squares are results of an operator; beyond 255 they are infinite in FP16.
"""

from copy import deepcopy

import torch
from torch import nn

from lanewise.models.nn.recognise import recognise


@torch.library.custom_op("lanewise::rms_norm", mutates_args=())
def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """``x / sqrt(mean(x^2) + eps) * weight`` over the last axis; shape of ``x``, ``weight`` as long as that axis.

    Source: Zhang, Sennrich, NeurIPS 2019 (arXiv 1910.07467).
    """
    return x * (x.square().mean(-1, keepdim=True) + eps).rsqrt() * weight


class WholeRmsNorm(nn.Module):
    """RMS norm of the last axis by :func:`rms_norm`."""

    def __init__(self, weight: torch.Tensor, eps: float) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Shape of ``x``."""
        assert isinstance(self.weight, torch.Tensor)
        result: torch.Tensor = rms_norm(x, self.weight, self.eps)
        return result


def with_whole_rms_norms(module: nn.Module) -> nn.Module:
    """``module``, or a copy in which each RMS norm that is written out is a :class:`WholeRmsNorm`."""
    found = {name for name, part in module.named_modules() if _whole(part) is not None}
    if not found:
        return module
    if "" in found:  # it is one itself
        return _whole(module) or module
    module = deepcopy(module)
    for name in found:
        parent, _, last = name.rpartition(".")
        setattr(module.get_submodule(parent), last, _whole(module.get_submodule(name)))
    return module


def _whole(part: nn.Module) -> WholeRmsNorm | None:
    form = recognise(part)
    if form is None or form.function != "rms_norm" or form.axis != -1 or form.weight is None:
        return None
    weight: torch.Tensor = getattr(part, form.weight)
    return WholeRmsNorm(weight.detach() + form.added, form.epsilon)
