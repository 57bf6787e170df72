"""Spiking layers on the core's bits: FP16 states, Flex-SFU's sigmoid, random integers; the golden model of the kernels.

A state advances by one fused multiply-add a filter, rounded once (:func:`lanewise.models.vector.fused_multiply_add`). The factor
``1 - b`` is in the weights, so ``current = a current + x`` and ``voltage = b voltage + current``.

The SPSN's voltage is kept divided by :data:`GAIN`, by its weights as well, and Flex-SFU's table holds ``sigmoid(16 v) 2**-13``: the bits of
that FP16 number are the integer ``2048 p``, which is compared with a random integer. No conversion is needed.
"""

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from lanewise.models.fit import fit
from lanewise.models.flex_sfu import SfuTable, flex_sfu
from lanewise.models.numbers import decode
from lanewise.models.spsn.random_numbers import BITS, Words, numbers
from lanewise.models.vector import fused_multiply_add

Half = npt.NDArray[np.float16]
Spikes = npt.NDArray[np.bool_]

GAIN = 16.0
"""What the SPSN's voltage is divided by: slopes are so much larger then, and exact enough among FP16's small numbers."""
SCALE = 2.0 ** (BITS - 24)
"""Of the table's values: their bits are integers of 2**-24."""


def currents(x: Half, decay: float) -> Half:
    """First filter, shape ``(steps, ...)`` as ``x``."""
    return _filter(x, decay)


def voltages(x: Half, current_decay: float, voltage_decay: float) -> Half:
    """Both filters, without a reset."""
    return _filter(_filter(x, current_decay), voltage_decay)


def _filter(x: Half, decay: float) -> Half:
    factor, state = np.float16(decay), np.zeros(x.shape[1:], np.float16)
    out = np.empty_like(x)
    for t in range(len(x)):
        state = out[t] = fused_multiply_add(np.full_like(state, factor), state, x[t])
    return out


def lif_spikes(x: Half, current_decay: float, voltage_decay: float) -> Spikes:
    """Leaky integrate-and-fire neurons: a voltage that is not at most 1 fires and starts again from 0.

    Args:
        x: Inputs times 1 - b, float16, shape ``(steps, ...)``.
        current_decay: a.
        voltage_decay: b.

    Returns:
        Shape of ``x``.
    """
    current, factor = currents(x, current_decay), np.float16(voltage_decay)
    voltage = np.zeros(x.shape[1:], np.float16)
    fired = np.zeros(x.shape, np.bool_)
    kept = np.ones(x.shape[1:], np.bool_)
    for t in range(len(x)):
        voltage = np.where(
            kept, fused_multiply_add(np.full_like(voltage, factor), voltage, current[t]), current[t]
        )
        kept = voltage <= 1
        fired[t] = ~kept
    return fired


@lru_cache(maxsize=32)
def firing_table(segments: int = 32, degree: int = 1) -> SfuTable:
    """``sigmoid(GAIN v) SCALE`` as Flex-SFU's table in FP16: the sigmoid's, arguments and values scaled by powers of two."""
    table = fit("sigmoid", segments=segments, degree=degree).table()
    breakpoints = decode(table.breakpoints, table.form) / GAIN
    powers = GAIN ** np.arange(table.degree + 1) * SCALE
    coefficients = decode(table.coefficients, table.form) * powers
    return SfuTable(
        breakpoints=breakpoints.astype(np.float16).view(np.uint16),
        coefficients=coefficients.astype(np.float16).view(np.uint16),
    )


def thresholds(voltage: Half, table: SfuTable) -> npt.NDArray[np.int16]:
    """What a random integer must be below for a spike: 2048 times the probability."""
    return flex_sfu(voltage.view(np.uint16), table).view(np.int16)


def draws(
    generator: str,
    seeds: Words,
    steps: int,
    neurons: int,
    *,
    block: int,
    samples: int,
    joint: bool,
    fold: int = 1,
) -> npt.NDArray[np.uint16]:
    """The random integers of a group of lines, in the order in which the kernel draws them.

    A block of steps at a time, ``fold`` lines side by side after ``fold`` lines, one vector for both halves of the neurons (``joint``), or one for each.

    Args:
        seeds: States at the beginning, shape ``(words,)``.

    Returns:
        Shape ``(steps, samples fold, neurons)``.
    """
    half, blocks = neurons // 2, -(-steps // block)
    stream = numbers(generator, seeds)
    out = np.empty((blocks, block, samples, fold, 2, half), np.uint16)
    for k in range(blocks):
        for sample in range(samples):
            if joint:
                out[k, :, sample] = next(stream).reshape(2, block, fold, half).transpose(1, 2, 0, 3)
            else:
                for part in (0, 1):
                    out[k, :, sample, :, part] = next(stream).reshape(block, fold, half)
    return out.reshape(blocks * block, samples * fold, neurons)[:steps]


def spsn_spikes(
    x: Half, current_decay: float, voltage_decay: float, random: npt.NDArray[np.uint16], table: SfuTable
) -> Spikes:
    """Stochastic neurons without a reset: Bernoulli(sigmoid(GAIN v)).

    Args:
        x: Inputs times (1 - b) / GAIN, float16, shape ``(steps, ...)``.
        random: Integers below 2048, shape of ``x``.
        table: Of :func:`firing_table`.
    """
    threshold = thresholds(voltages(x, current_decay, voltage_decay), table)
    return random.view(np.int16) < threshold


def packed(spikes: Spikes) -> npt.NDArray[np.uint8]:
    """Spikes as the matrix unit's INT4 operands: neuron n in the low bits of byte n, neuron n + half in its high bits.

    Args:
        spikes: Shape ``(..., neurons)``.

    Returns:
        Shape ``(..., neurons / 2)``.
    """
    half = spikes.shape[-1] // 2
    low, high = spikes[..., :half].astype(np.uint8), spikes[..., half:].astype(np.uint8)
    return low | high << np.uint8(4)


def readout(x: Half, current_decay: float, voltage_decay: float) -> npt.NDArray[np.float32]:
    """Sum over time of the voltages of the layer that does not fire: states in FP16, the sum in FP32, step by step.

    Args:
        x: Inputs times 1 - b, float16, shape ``(steps, ...)``.

    Returns:
        Shape ``(...)``.
    """
    total = np.zeros(x.shape[1:], np.float32)
    for voltage in voltages(x, current_decay, voltage_decay):
        total = total + voltage.astype(np.float32)
    return total
