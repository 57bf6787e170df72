"""The linear filter of a spiking neuron, ``v = x * l * k`` with ``l_t = a**t`` and ``k_t = (1 - b) b**t``, in four forms.

Source: Yarga and Wood 2023 (arXiv 2306.12666). Without a reset all are the same numbers: step by step, by parallel scan, by FFT, and as one
convolution. Shapes: ``x`` is ``(steps, ...)``, and so is the result.
"""

import torch
from torch import Tensor


def by_steps(x: Tensor, a: float, b: float) -> Tensor:
    """``I_t = a I_{t-1} + x_t``, ``V_t = b V_{t-1} + (1 - b) I_t``, one step after the other."""
    current = voltage = torch.zeros_like(x[0])
    voltages = []
    for inputs in x:
        current = a * current + inputs
        voltage = b * voltage + (1 - b) * current
        voltages.append(voltage)
    return torch.stack(voltages)


def scan(x: Tensor, decay: float) -> Tensor:
    """``y_t = decay y_{t-1} + x_t`` in log2(steps) passes, each over all steps at once (Hillis and Steele 1986)."""
    distance = 1
    while distance < len(x):
        x = torch.cat([x[:distance], x[distance:] + decay**distance * x[:-distance]])
        distance *= 2
    return x


def by_scan(x: Tensor, a: float, b: float) -> Tensor:
    """Two parallel scans."""
    return (1 - b) * scan(scan(x, a), b)


def kernels(steps: int, a: float, b: float, like: Tensor) -> tuple[Tensor, Tensor]:
    """``l`` and ``k``, shape ``(steps,)``."""
    time = torch.arange(steps, dtype=like.dtype)
    return a**time, (1 - b) * b**time


def kernel(steps: int, a: float, b: float, like: Tensor) -> Tensor:
    """``l * k``, shape ``(steps,)``: ``(1 - b) (a**(t+1) - b**(t+1)) / (a - b)``."""
    time = torch.arange(1, steps + 1, dtype=torch.float64)
    both = a ** (time - 1) * time if a == b else (a**time - b**time) / (a - b)
    taps: Tensor = ((1 - b) * both).to(like.dtype)
    return taps


def by_fft(x: Tensor, a: float, b: float, *, length: int = 0) -> Tensor:
    """The product of three spectra.

    Args:
        length: Of the transform; 0: the next power of two from 3 steps - 2 on, which is what two chained kernels want. Of 2 steps, enough for
            one kernel, the end of the result comes round and is added to its beginning.
    """
    steps = len(x)
    length = length or 1 << (3 * steps - 3).bit_length()
    first, second = (torch.fft.rfft(taps, n=length) for taps in kernels(steps, a, b, x))
    lines = x.reshape(steps, -1).T.contiguous()
    voltages: Tensor = torch.fft.irfft(torch.fft.rfft(lines, n=length) * (first * second), n=length)
    return voltages[:, :steps].T.reshape(x.shape)


def by_convolution(x: Tensor, a: float, b: float) -> Tensor:
    """One causal convolution with ``l * k``."""
    steps = len(x)
    lines = x.reshape(steps, -1).T.unsqueeze(1)
    taps = kernel(steps, a, b, x).flip(0).reshape(1, 1, -1)
    return (
        torch.nn.functional.conv1d(lines, taps, padding=steps - 1)[..., :steps].squeeze(1).T.reshape(x.shape)
    )
