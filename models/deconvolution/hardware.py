"""The forward model and its gradient in the hardware's arithmetic, operation by operation as the core's kernels compute them.

Transforms and complex numbers are :mod:`~lanewise.models.fft_columns` and :mod:`~lanewise.models.deconvolution.formulas`, bit by bit, in FP32 or FP16;
sine and cosine Flex-SFU's, of an FP16 phase; the products with the modes are integers. Of these the steps are fixed beforehand, for
coefficients of up to four standard deviations and the slopes of some bursts of training.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from lanewise.formats import FORMATS
from lanewise.models.deconvolution import formulas
from lanewise.models.deconvolution.config import DeconvolutionConfig
from lanewise.models.deconvolution.forward import ForwardModel
from lanewise.models.deconvolution.modes import pupil
from lanewise.models.deconvolution.scales import Scales
from lanewise.models.fft_columns import PARTS, Columns, transform
from lanewise.models.nn.activation import activation
from lanewise.models.nn.config import ApproximateConfig
from lanewise.models.nn.lookup import patterns
from lanewise.models.recipe import KINDS, Place, Recipe, evaluate

Array = npt.NDArray[Any]

DEVIATIONS = 4.0
"""Largest coefficient that is not clipped, in standard deviations of the first mode."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Arithmetic:
    """The formats of a burst on the core.

    Raises:
        ValueError: There is no such format.
    """

    transform_bits: int = 32
    """Of transforms and complex numbers: 32 or 16."""
    operand_bits: int = 8
    """Of the products with the modes: 8 or 4; 0: FP16 phases of exact products."""
    segments: int = 32
    """Flex-SFU's, for sine, cosine and GELU."""
    weight_bits: int = 4
    """Of the networks' weights and activations: 8 or 4; 0: as they are."""

    def __post_init__(self) -> None:
        if self.transform_bits not in (16, 32):
            raise ValueError(f"transform_bits must be 16 or 32, not {self.transform_bits}")
        for name in ("operand_bits", "weight_bits"):
            if getattr(self, name) not in (0, 4, 8):
                raise ValueError(f"{name} must be 0, 4 or 8, not {getattr(self, name)}")

    @property
    def words(self) -> str:
        """For tables."""
        operands = f"INT{self.operand_bits} modes" if self.operand_bits else "FP16 modes"
        weights = f"INT{self.weight_bits} networks" if self.weight_bits else "FP32 networks"
        return f"FP{self.transform_bits} transforms, {operands}, {self.segments} segments, {weights}"


class HardwareModel:
    """Gradients and objects of bursts; arrays have the first axis transformed, then frame, burst, the other axis.

    Args:
        config: Shapes.
        arithmetic: Formats.
        scales: Factors of what is stored.
    """

    def __init__(
        self, config: DeconvolutionConfig, arithmetic: Arithmetic, scales: Scales | None = None
    ) -> None:
        self.config, self.arithmetic, self.scales = config, arithmetic, scales or Scales()
        self.model = ForwardModel(config)
        self.bits = arithmetic.transform_bits
        self.kind = KINDS[self.bits]
        optics = pupil(config)
        self.aperture = optics.aperture.astype(self.kind)
        self.modes = optics.modes.reshape(config.modes, -1)
        self.deviations = np.sqrt(optics.variances * config.strength ** (5 / 3))
        self.mask = (
            self.model.mask.numpy().T[:, None, : config.pixels // 2 + 1].astype(self.kind)
        )  # v, burst, u
        self.tables = {name: flex_sfu_values(name, arithmetic.segments) for name in ("sin", "cos")}

    def phase(self, coefficients: Array) -> Array:
        """FP16 phase, shape ``(frames, bursts, box * box)``, of coefficients ``(bursts, frames, modes)``."""
        a = coefficients.transpose(1, 0, 2)
        bits = self.arithmetic.operand_bits
        if not bits:
            return (a @ self.modes).astype(np.float16)
        shares = np.sqrt(self.deviations)  # half of a mode's size is the coefficients', half the modes'
        left, a_step = _integers(a / shares, DEVIATIONS * shares[0], bits)
        right, b_step = _integers(
            self.modes * shares[:, None], np.abs(self.modes * shares[:, None]).max(), bits
        )
        made: Array = (left @ right * (a_step * b_step)).astype(np.float16)
        return made

    def waves(self, coefficients: Array) -> tuple[dict[str, Array], dict[str, Array], dict[str, Array]]:
        """Field ``y f b x``, wave ``X f b Y`` and transfer functions ``v f b u`` as they are stored."""
        config, box = self.config, self.config.box
        phase = self.phase(coefficients)
        shape = (config.frames, phase.shape[1], box, box)
        looked_up = {name: table[phase.view(np.uint16)].reshape(shape) for name, table in self.tables.items()}
        looked_up["aperture"] = np.broadcast_to(self.aperture, shape)
        field = self._run(formulas.field(self.bits), looked_up)
        field = {part: field[f"in {part}"].transpose(2, 0, 1, 3) for part in PARTS}
        columns = Columns(length=config.pixels, bits=self.bits, filled=box)
        wave = self._along(columns, _turned(self._along(columns, field)))
        scale = self.scales.intensity(self.model)
        psf = self._run(formulas.intensity(self.bits, scale), {f"out {p}": wave[p] for p in PARTS})["psf"]
        return field, wave, self.spectra_of(psf)

    def spectra_of(self, planes: Array) -> dict[str, Array]:
        """Twice the transforms of real planes ``X f b Y``, shape ``v f b u``."""
        half = self.config.frames // 2
        split = Columns(length=self.config.pixels, bits=self.bits, split=True)
        made = self._along(split, {"real": planes[:, :half], "imaginary": planes[:, half:]})
        return self._along(Columns(length=self.config.pixels, bits=self.bits), _turned(made))

    def spectra(self, frames: torch.Tensor) -> dict[str, Array]:
        """Of frames ``(bursts, frames, y, x)``, as they are stored."""
        scaled = (frames.numpy() * self.scales.frames).astype(self.kind)
        return self.spectra_of(scaled.transpose(3, 1, 0, 2))

    def images(self, spectra: Mapping[str, Array]) -> Array:
        """Transforms of Hermitian halves ``v f b u``, real planes ``X f b Y``."""
        plain = Columns(length=self.config.pixels, bits=self.bits)
        made = _turned(self._along(plain, dict(spectra)))
        half = made["real"].shape[1] // 2
        joined = {f"{k} {p}": v[:, k * half : (k + 1) * half] for p, v in made.items() for k in (0, 1)}
        out = self._along(Columns(length=self.config.pixels, bits=self.bits, join=True), joined)
        return np.concatenate([out["real"], out["imaginary"]], 1)

    def slope(self, coefficients: Array, spectra: Mapping[str, Array], unit: float) -> Array:
        """The loss's slope by the phase times ``unit``, before it is rounded to FP16, shape ``(frames, bursts, box * box)``."""
        config = self.config
        field, wave, transfer = self.waves(coefficients)
        (recipe,) = formulas.object_of(config.frames, self.bits, self.scales.sigma(config), final=False)
        g = self._run(recipe, self._spectral(transfer, spectra), rows=config.frames)
        by_psf = self.images({p: g[f"G {p}"] for p in PARTS})
        inputs = {"slope": by_psf} | {f"out {p}": wave[p] for p in PARTS}
        weighted = self._run(formulas.weighted_wave(self.bits, self.scales.slope), inputs)
        columns = Columns(length=config.pixels, bits=self.bits, kept=config.box)
        back = self._along(columns, _turned(self._along(columns, {p: weighted[f"in {p}"] for p in PARTS})))
        factor = self.scales.phase_slope(self.model) * unit
        operands = {f"in {p}": field[p] for p in PARTS} | {f"out {p}": back[p] for p in PARTS}
        made = self._run(
            formulas.phase_slope(self.bits, factor, integer=self.arithmetic.operand_bits == 8), operands
        )
        flat = made["phase slope"].transpose(1, 2, 0, 3)
        return flat.reshape(*flat.shape[:2], -1)

    def gradient(self, coefficients: Array, spectra: Mapping[str, Array], peak: float) -> Array:
        """Of the loss by the coefficients, shape ``(bursts, frames, modes)``.

        Args:
            peak: The largest slope by the phase that is not clipped.
        """
        bits = self.arithmetic.operand_bits
        most = 127.0 if bits != 4 else 7.0
        slope = self.slope(coefficients, spectra, most / peak)
        if not bits:
            with np.errstate(invalid="ignore"):  # NaN, where FP16 has overflown
                made = slope.astype(np.float64) @ self.modes.T
        else:
            left = np.clip(np.rint(slope.astype(np.float64)), -most - 1, most)
            peaks = np.abs(self.modes).max(1, keepdims=True)
            right, steps = _integers(self.modes / peaks, 1.0, bits)
            made = left @ right.T * (steps * peaks[:, 0])
        scaled: Array = made.transpose(1, 0, 2) * (peak / most)
        return scaled

    def restored(self, coefficients: Array, spectra: Mapping[str, Array]) -> Array:
        """Images, deviations from the mean, shape ``(bursts, y, x)``."""
        config = self.config
        _, _, transfer = self.waves(coefficients)
        (recipe,) = formulas.object_of(config.frames, self.bits, self.scales.sigma(config), final=True)
        made = self._run(recipe, self._spectral(transfer, spectra))
        halves = {p: np.stack([made[f"O {p}"], np.zeros_like(made[f"O {p}"])], 1) for p in PARTS}
        image = self.images(halves)[:, 0].astype(np.float64)  # X b Y, both backwards
        image = np.roll(image[::-1, :, ::-1], 1, (0, 2)).transpose(1, 2, 0)
        return image * (self.scales.transfer / self.scales.spectra / config.pixels**2)

    def _spectral(self, transfer: Mapping[str, Array], spectra: Mapping[str, Array]) -> dict[str, Array]:
        named = {f"{short} {p}": v[p] for short, v in (("S", transfer), ("I", spectra)) for p in PARTS}
        return named | {"mask": np.broadcast_to(self.mask, transfer["real"][:, 0].shape)[:, None]}

    def _along(self, columns: Columns, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """The transform of the first axis; halves of a pair of planes side by side."""
        shape = next(iter(arrays.values())).shape[1:]
        memory = {f"in{name}" if name[0].isdigit() else f"in {name}": value.reshape(len(value), -1) for name, value in arrays.items()}  # fmt: skip
        made = {name: value.reshape(-1, *shape) for name, value in transform(columns, memory).items()}
        if not columns.split:
            return {part: made[f"out {part}"] for part in PARTS}
        return {part: np.concatenate([made[f"out{k} {part}"] for k in (0, 1)], 1) for part in PARTS}

    def _run(self, recipe: Recipe, inputs: Mapping[str, Array], rows: int = 0) -> dict[str, Array]:
        """Evaluate a recipe; with ``rows`` its rows are the second axis."""
        outputs: dict[str, list[Array]] = {}

        def load(place: Place) -> Array:
            value = inputs[place.buffer]
            spectral = place.buffer[:2] in ("S ", "I ") or place.buffer == "mask"
            return value[:, place.row] if spectral else value

        def store(place: Place, value: Array) -> None:
            outputs.setdefault(place.buffer, []).append(value)

        evaluate(recipe, load, store)
        return {name: np.stack(values, 1) if rows else values[0] for name, values in outputs.items()}


def flex_sfu_values(function: str, segments: int) -> Array:
    """FP16 results for every FP16 operand, by bit pattern."""
    made = activation(function, (), ApproximateConfig(segments=segments, functions=(function,)))
    assert made is not None
    return made.bits(patterns(FORMATS["fp16"])).view(np.float16)


def _turned(arrays: Mapping[str, Array]) -> dict[str, Array]:
    """The last axis first."""
    return {name: value.transpose(3, 1, 2, 0) for name, value in arrays.items()}


def _integers(values: Array, peak: float, bits: int) -> tuple[Array, float]:
    """Integers and their step; what is beyond ``peak`` is clipped."""
    most = 2 ** (bits - 1) - 1
    return np.clip(np.rint(values * (most / peak)), -most, most), peak / most
