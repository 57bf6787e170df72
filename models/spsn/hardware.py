"""A trained spiking network with the hardware's bits: integer weights, FP16 states, Flex-SFU's probabilities, the kernels' random integers."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from lanewise.models.lfsr import lane_states
from lanewise.models.spsn.bits import GAIN, draws, firing_table, lif_spikes, readout, spsn_spikes, thresholds
from lanewise.models.spsn.data import SpikingDigits
from lanewise.models.spsn.network import SpikingNetwork
from lanewise.models.spsn.random_numbers import BITS

MULTIPLIER_BITS = 16
"""Of the scale that the matrix unit's output path multiplies a column's sums by."""
SAMPLES = 250
"""Samples that are computed at a time."""


@dataclass(frozen=True, kw_only=True)
class HardwareSettings:
    """The arithmetic.

    Raises:
        ValueError: The weights are of no width that the matrix unit has.
    """

    weight_bits: int = 4
    """4 or 8."""
    segments: int = 32
    """Of Flex-SFU's table, and"""
    degree: int = 1
    generator: str = "congruential"
    seed: int = field(default=0)

    def __post_init__(self) -> None:
        if self.weight_bits not in (4, 8):
            raise ValueError(f"weight_bits must be 4 or 8, not {self.weight_bits}")

    @property
    def text(self) -> str:
        """In words."""
        return f"INT{self.weight_bits} weights, FP16 states, {self.segments} segments of degree {self.degree}"


def quantised(
    weight: npt.NDArray[np.floating], bits: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Integer weights and each output's scale, ``weight ~ integers * scale``: the scale that leaves the least square error, of 1 to 0.4 of the largest.

    Args:
        weight: Shape ``(outputs, inputs)``.

    Returns:
        Shapes ``(outputs, inputs)`` and ``(outputs, 1)``.
    """
    top = (1 << (bits - 1)) - 1
    most = np.abs(weight).max(1, keepdims=True).astype(np.float64)
    best = scale = most / top
    least = np.full_like(most, np.inf)
    for share in np.linspace(0.4, 1, 25):
        scale = most * share / top
        integers = np.clip(np.rint(weight / scale), -top - 1, top)
        error = ((integers * scale - weight) ** 2).sum(1, keepdims=True)
        best, least = np.where(error < least, scale, best), np.minimum(error, least)
    return np.clip(np.rint(weight / best), -top - 1, top).astype(np.int64), best


def accuracy(
    network: SpikingNetwork, samples: SpikingDigits, settings: HardwareSettings
) -> tuple[float, tuple[float, ...]]:
    """Share of samples that the network tells right, and the firing rate of each hidden layer."""
    right, rates, total = 0, np.zeros(len(network.config.hidden)), len(samples.labels)
    for first in range(0, total, SAMPLES):
        part = slice(first, first + SAMPLES)
        sums, spikes = run(network, samples.spikes[part].numpy(), settings, seed=settings.seed + first)
        right += int((sums.argmax(1) == samples.labels[part].numpy()).sum())
        rates += [layer.mean() * len(sums) for layer in spikes]
    return right / total, tuple((rates / total).tolist())


def run(
    network: SpikingNetwork, spikes: npt.NDArray[np.bool_], settings: HardwareSettings, *, seed: int
) -> tuple[npt.NDArray[np.float32], list[npt.NDArray[np.bool_]]]:
    """Sums of the outputs over time, shape ``(batch, classes)``, and the hidden layers' spikes, shape ``(steps, batch, neurons)``.

    Args:
        spikes: Shape ``(batch, steps, channels)``.
        seed: Of the random integers.
    """
    config, x, hidden = network.config, spikes.transpose(1, 0, 2), []
    a, b = config.current_decay, config.voltage_decay
    table = firing_table(settings.segments, settings.degree)
    gain = {"lif": 1.0, "sb": 1 / GAIN, "gs": 2 / GAIN}[network.kind]
    weights = [weight.detach().numpy() for weight in network.weights]
    for layer, weight in enumerate(weights[:-1]):
        inputs = _product(x, weight, (1 - b) * gain, settings.weight_bits)
        if network.kind == "lif":
            x = lif_spikes(inputs, a, b)
        else:
            seeds = lane_states(seed * len(weights) + layer, len(weight) // 2)
            random = draws(
                settings.generator,
                seeds,
                config.steps,
                len(weight),
                block=1,
                samples=inputs.shape[1],
                joint=True,
            )
            x = spsn_spikes(inputs, a, b, random, table)
        hidden.append(x)
    return readout(_product(x, weights[-1], 1 - b, settings.weight_bits), a, b), hidden


def _product(
    x: npt.NDArray[np.bool_], weight: npt.NDArray[np.floating], factor: float, bits: int
) -> npt.NDArray[np.float16]:
    """Exact sums, times a scale of 16 bits, rounded once."""
    integers, scale = quantised(weight, bits)
    fraction, exponent = np.frexp(scale * factor)
    scale = np.ldexp(np.rint(np.ldexp(fraction, MULTIPLIER_BITS)), exponent - MULTIPLIER_BITS)
    sums = x.astype(np.float32) @ integers.T.astype(np.float32)  # whole numbers below 2**24
    results: npt.NDArray[np.float16] = (sums.astype(np.float64) * scale.T).astype(np.float16)
    return results


def probability_error(segments: int, degree: int = 1) -> float:
    """Largest distance of the hardware's firing probability from the sigmoid, over all FP16 voltages from -8 to 8."""
    voltage = (np.linspace(-8, 8, 65_537) / GAIN).astype(np.float16)
    chance = np.clip(thresholds(voltage, firing_table(segments, degree)), 0, 1 << BITS) / (1 << BITS)
    real = 1 / (1 + np.exp(-GAIN * voltage.astype(np.float64)))
    return float(np.abs(chance - real).max())


def decay_error(time_constant: float, kind: type[np.floating]) -> float:
    """Relative error of a filter's steady state, ``1 / (1 - exp(-1 / tau))``, for the decay as a number of ``kind``."""
    real = np.exp(-1 / time_constant)
    return float(abs((1 - real) / (1 - float(kind(real))) - 1))
