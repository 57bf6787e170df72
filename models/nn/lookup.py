"""A function's results for every operand of a number format, as tensors: bit-exact, and fast."""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from lanewise.formats import FORMATS, NumberFormat
from lanewise.models.fit import fit
from lanewise.models.flex_sfu import SfuTable, flex_sfu
from lanewise.models.functions import FUNCTIONS
from lanewise.models.numbers import Bits, bits_dtype, encode

Lookup: TypeAlias = npt.NDArray[np.float16]
"""A function's results for all 65,536 FP16 bit patterns, shape ``(65536,)``."""


def patterns(form: NumberFormat) -> Bits:
    """All bit patterns of a format of at most 16 bits, in their order as unsigned integers.

    >>> patterns(FORMATS["fp8e4m3"]).shape
    (256,)
    """
    return np.arange(1 << form.bits).astype(bits_dtype(form))


def table_lookup(table: SfuTable) -> Lookup:
    """What Flex-SFU returns with ``table``, one of FP16."""
    return flex_sfu(patterns(FORMATS["fp16"]), table).view(np.float16)


def flex_sfu_lookup(function: str, segments: int) -> Lookup:
    """What Flex-SFU returns in FP16 with ``function`` fitted in ``segments`` segments.

    Raises:
        UserError: As :func:`~lanewise.models.fit.fit`.
    """
    return table_lookup(fit(function, segments=segments, format="fp16").table())


def exact_lookup(function: str) -> Lookup:
    """``function`` itself, rounded to FP16: the reference that separates FP16's share of an error."""
    every = patterns(FORMATS["fp16"]).view(np.float16)
    with np.errstate(all="ignore"):
        return FUNCTIONS[function](every.astype(np.float64)).astype(np.float16)


def operand_bits(x: torch.Tensor, form: NumberFormat, scale: float = 1.0) -> Bits:
    """The nearest numbers of ``form``, ties to even, as :func:`~lanewise.models.numbers.encode` gives them.

    Args:
        x: Real numbers, any shape and floating-point type.
        form: The format.
        scale: What one unit of an integer format stands for.

    Returns:
        Bit patterns, shape of ``x``; a NaN's payload is anything.
    """
    x = x.detach().cpu()
    if x.dtype == torch.float64 or form.name not in _TORCH:
        return encode(x.double().numpy() / scale, form)
    if not form.infinities:
        x = x.clamp(-form.maximum, form.maximum)  # PyTorch's conversion would make NaN of what overflows
    kind, view = _TORCH[form.name]
    converted: Bits = x.to(kind).contiguous().view(view).numpy().view(bits_dtype(form))
    return converted


_TORCH = {
    "fp16": (torch.float16, torch.int16), "bf16": (torch.bfloat16, torch.int16), "fp32": (torch.float32, torch.int32),
    "fp8e5m2": (torch.float8_e5m2, torch.uint8), "fp8e4m3": (torch.float8_e4m3fn, torch.uint8),
}  # fmt: skip
"""PyTorch's type for a format, and an integer of its width."""


def look_up(values: Lookup | npt.NDArray[np.float32], x: torch.Tensor) -> torch.Tensor:
    """``values[x rounded to FP16]``; shape and type of ``x``. ``values``: shape ``(65536,)``."""
    result = torch.from_numpy(values.take(operand_bits(x, FORMATS["fp16"])))
    return result.to(dtype=x.dtype, device=x.device)
