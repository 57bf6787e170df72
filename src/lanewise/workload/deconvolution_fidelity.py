"""The deconvolution workload with the hardware's bits: its claims again, and the gradient's error by arithmetic."""

from typing import TYPE_CHECKING, Any

from lanewise.config import MachineConfig
from lanewise.models.claim import Claim
from lanewise.workload.deconvolution_trial import Effort, Progress, Trial
from lanewise.workload.result import Fidelity

if TYPE_CHECKING:
    from lanewise.models.deconvolution.bursts import Bursts
    from lanewise.models.deconvolution.network import UnrolledNetwork

GAIN_DB = 2.0
"""What the restored image must be better than the mean frame."""
CALIBRATION = 20_000
"""Seeds from here on fix the steps of integers."""


def fidelity_of(
    trials: list[Trial], machine: MachineConfig, seed: int, effort: Effort, progress: Progress
) -> tuple[list[Fidelity], list[str], Claim]:
    """The first network's sets with the hardware's bits, in several arithmetics; the claims again in the machine's own."""
    from lanewise.models.deconvolution.bursts import bursts
    from lanewise.models.deconvolution.hardware import Arithmetic
    from lanewise.models.deconvolution.hardware_network import HardwareNetwork
    from lanewise.models.deconvolution.psnr import psnr_db

    segments = machine.flex_sfu.segments
    own = Arithmetic(segments=segments)  # what the cases are priced with
    chosen = [t for t in trials if t.network is trials[0].network]
    network = trials[0].network
    calibration = bursts(network.config, effort.bursts, CALIBRATION + seed)
    settings = [
        own, Arithmetic(segments=segments, transform_bits=16), Arithmetic(segments=segments, weight_bits=8), Arithmetic(segments=segments, operand_bits=4),
        Arithmetic(segments=8),
    ]  # fmt: skip
    rows: list[Fidelity] = []
    findings: list[str] = []
    kept: list[str] = []
    broken: list[str] = []
    claim: Claim | None = None
    for arithmetic in dict.fromkeys(settings):
        progress(f"deconvolution: {arithmetic.words}")
        hardware = HardwareNetwork(network, arithmetic, calibration)
        gains, ratios = [], []
        for t in chosen:
            made = hardware.restore(t.data)
            gains.append(float(psnr_db(made.images, t.data.truth).mean()) - t.mean_db)
            loss = float(network.model.estimate(made.coefficients[-1], t.data.spectra).loss.mean())
            ratios.append(t.losses["plain"][-1] / loss)
        rows.append(
            Fidelity(
                name="gain over the mean frame", setting=arithmetic.words, reference=_mean([t.gain_db for t in chosen]), hardware=_mean(gains), unit="dB",
                note=f"loss of the gradient steps over this one: {span(ratios, '.2f')}",
            )
        )  # fmt: skip
        holds = min(gains) >= GAIN_DB and min(ratios) > 1
        (kept if holds else broken).append(arithmetic.words)
        if arithmetic == own:
            claim = Claim(
                name="hardware", claim=f"Both hold with the hardware's bits: {GAIN_DB:g} dB over the mean frame, less loss than the gradient steps in FP32",
                paper="not in the paper", measured=f"{own.words}: {span(gains, '.2f')} dB, loss smaller by {span(ratios, '.2f')} times", holds=holds,
            )  # fmt: skip
    rows += gradient_fidelity(calibration, network, segments)
    if broken:
        findings.append(f"Breaks a claim: {'; '.join(broken)}. Keeps all: {'; '.join(kept)}.")
    assert claim is not None
    return rows, findings, claim


def gradient_fidelity(data: "Bursts", network: "UnrolledNetwork", segments: int) -> list[Fidelity]:
    """The gradient's relative error by arithmetic, at coefficients like those after the first step."""
    from lanewise.models.deconvolution.hardware import Arithmetic, HardwareModel
    from lanewise.models.deconvolution.scales import Scales

    some, model = data.frames[:2], network.model
    coefficients = 0.5 * network.update(0, *_first(network, data.spectra[:2]))
    exact = model.estimate(coefficients, data.spectra[:2]).gradient
    peak = float(model.phase_slope(coefficients, data.spectra[:2]).abs().max())
    unscaled = Scales(psf=1.0, frames=1.0, slope=1.0)
    settings: list[tuple[Arithmetic, Scales, str]] = [
        (Arithmetic(segments=segments, operand_bits=0), Scales(), ""),
        (Arithmetic(segments=segments, operand_bits=0, transform_bits=16), Scales(), "stored numbers scaled"),
        (Arithmetic(segments=segments, operand_bits=0, transform_bits=16), unscaled, "nothing scaled"),
        (Arithmetic(segments=segments), Scales(), ""),
        (Arithmetic(segments=segments, operand_bits=4), Scales(), ""),
    ]
    rows = []
    for arithmetic, scales, note in settings:
        hardware = HardwareModel(network.config, arithmetic, scales)
        made = hardware.gradient(coefficients.double().numpy(), hardware.spectra(some), peak)
        error = float(((exact.double().numpy() - made) ** 2).sum() / (exact.double() ** 2).sum()) ** 0.5
        setting = ", ".join(filter(None, (arithmetic.words.rpartition(",")[0], note)))
        lost = not error < 1e9
        rows.append(
            Fidelity(
                name="relative error of the gradient", setting=setting, reference=0.0, hardware=1.0 if lost else error, unit="",
                note="overflows: not a number, counted as all of it" if lost else "",
            )
        )  # fmt: skip
    return rows


def _first(network: "UnrolledNetwork", spectra: Any) -> tuple[Any, Any]:
    zero = spectra.real.new_zeros(*spectra.shape[:2], network.config.modes)
    return zero, network.model.estimate(zero, spectra).gradient


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def span(values: list[float], form: str) -> str:
    """The least and the largest, or the one that they are."""
    low, high = format(min(values), form), format(max(values), form)
    return low if low == high else f"{low} to {high}"
