"""Unrolled multi-frame deconvolution: claims, cases, fidelity and what the pictures are drawn from."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lanewise.config import MachineConfig
from lanewise.models.claim import Claim
from lanewise.workload.registry import find
from lanewise.workload.result import Case, Fidelity, WorkloadResult

if TYPE_CHECKING:
    from lanewise.models.deconvolution.bursts import Bursts
    from lanewise.models.deconvolution.hardware import Arithmetic
    from lanewise.models.deconvolution.network import UnrolledNetwork

GAIN_DB = 2.0
"""What the restored image must be better than the mean frame."""
GRADIENT = 1e-4
"""Largest relative difference of analytic and automatic gradient."""
PARAMETERS = 81_620
"""Of a step's network at the paper's shape."""
HELD_OUT = 10_000
"""Seeds from here on are held-out bursts."""
CALIBRATION = 20_000

Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Effort:
    """How much a run does."""

    networks: int
    """Trained, each with a seed of its own."""
    iterations: int
    sets: int
    """Of held-out bursts, each with a seed of its own, for each network."""
    bursts: int
    """Of a set."""


FULL = Effort(networks=2, iterations=400, sets=2, bursts=16)
SHORT = Effort(networks=1, iterations=150, sets=2, bursts=8)


@dataclass(frozen=True, kw_only=True, eq=False)
class Trial:
    """A network on a set of held-out bursts."""

    network: "UnrolledNetwork"
    data: "Bursts"
    losses: dict[str, list[float]]
    """Mean loss before the first step and after each, of ``unrolled`` and ``plain``."""
    mean_db: float
    """Mean PSNR of the mean frames, and of what"""
    restored_db: float
    """the network and"""
    plain_db: float
    """the gradient steps restore."""

    @property
    def gain_db(self) -> float:
        """Of the network over the mean frame."""
        return self.restored_db - self.mean_db


def run(config: MachineConfig, *, seed: int, small: bool, progress: Progress) -> WorkloadResult:
    """Train, restore held-out bursts in PyTorch and in the hardware's arithmetic, and simulate.

    Raises:
        UserError: The machine cannot hold a kernel.
    """
    from lanewise.models.one_thread import one_thread

    effort = SHORT if small else FULL
    with one_thread():
        trials = trials_of(seed, effort, progress)
        claims = [gradient_claim(seed), parameter_claim(), *training_claims(trials)]
        fidelity, findings, hardware = _fidelity(trials, config, seed, effort, progress)
        claims.append(hardware)
        progress("deconvolution: simulating")
        cases, shares = cases_of(config)
        findings += _shares_said(cases, shares)
        data = _pictures(trials[0], seed, config) | {"shares": shares}
    return WorkloadResult(
        name="deconvolution", title=find("deconvolution").title, seed=seed, small=small, config_hash=config.hash, claims=tuple(claims),
        cases=tuple(cases), fidelity=tuple(fidelity), findings=tuple(findings), data=data,
    )  # fmt: skip


def trials_of(seed: int, effort: Effort, progress: Progress) -> list[Trial]:
    """Networks trained and tried on held-out bursts, in 32 x 32 pixels."""
    from lanewise.models.deconvolution.bursts import bursts
    from lanewise.models.deconvolution.config import SMALL
    from lanewise.models.deconvolution.training import TrainingConfig, train

    trials = []
    for number in range(effort.networks):
        its_seed = seed * effort.networks + number
        network = train(SMALL, TrainingConfig(iterations=effort.iterations), its_seed, progress)
        for place in range(effort.sets):
            data = bursts(SMALL, effort.bursts, HELD_OUT + its_seed * effort.sets + place)
            trials.append(trial(network, data))
    return trials


def trial(network: "UnrolledNetwork", data: "Bursts") -> Trial:
    """The network beside as many plain steps, whose size is the best for these very bursts."""
    from lanewise.models.deconvolution.descent import best_size, descend
    from lanewise.models.deconvolution.psnr import psnr_db

    model, steps, spectra = network.model, network.config.steps, data.spectra
    size = best_size(model, spectra, steps, float(network.gradient_scale))
    plain, unrolled = descend(model, spectra, size, steps), network(spectra)

    def decibels(images: Any) -> float:
        return float(psnr_db(images, data.truth).mean())

    losses = {name: [float(e.loss.mean()) for e in made] for name, made in (("unrolled", unrolled), ("plain", plain))}  # fmt: skip
    return Trial(
        network=network, data=data, losses=losses, mean_db=decibels(data.frames.mean(1)), restored_db=decibels(unrolled[-1].object),
        plain_db=decibels(plain[-1].object),
    )  # fmt: skip


def gradient_claim(seed: int) -> Claim:
    """Analytic against automatic gradient, FP32, at both shapes."""
    import torch

    from lanewise.models.deconvolution.bursts import bursts
    from lanewise.models.deconvolution.config import PAPER, SMALL
    from lanewise.models.deconvolution.forward import ForwardModel

    worst = 0.0
    for config in (SMALL, PAPER):
        data, model = bursts(config, 1, seed), ForwardModel(config)
        torch.manual_seed(seed)
        coefficients = (0.5 * torch.randn(1, config.frames, config.modes)).requires_grad_()
        (automatic,) = torch.autograd.grad(model.loss(coefficients, data.frames).sum(), coefficients)
        analytic = model.estimate(coefficients.detach(), data.spectra).gradient
        worst = max(worst, float((analytic - automatic).norm() / automatic.norm()))
    return Claim(
        name="gradient", claim=f"The analytic gradient is autograd's to {GRADIENT:g}, in FP32, at 64 x 64 x 12 and 32 x 32 x 8",
        paper="an analytic gradient; no figure", measured=f"relative difference {worst:.1e}", holds=worst <= GRADIENT,
    )  # fmt: skip


def parameter_claim() -> Claim:
    """The network's size."""
    from lanewise.models.deconvolution.config import PAPER
    from lanewise.models.deconvolution.network import StepNetwork

    count = sum(p.numel() for p in StepNetwork(PAPER.modes).parameters())
    return Claim(
        name="parameters", claim="A step's network has 88-88-88-88-44 channels and 81,620 parameters", paper="81,620 a step",
        measured=f"{count:,}", holds=count == PARAMETERS,
    )  # fmt: skip


def training_claims(trials: list[Trial]) -> list[Claim]:
    """What training must have brought, on every set of held-out bursts."""
    ratios = [t.losses["plain"][-1] / t.losses["unrolled"][-1] for t in trials]
    gains = [t.gain_db for t in trials]
    plain = [t.plain_db - t.mean_db for t in trials]
    steps = trials[0].network.config.steps
    return [
        Claim(
            name="unrolled", claim=f"{steps} unrolled steps leave less loss than {steps} gradient steps of the best fixed size, on every set",
            paper="faster than gradient descent; no figure for this data",
            measured=f"loss smaller by {_span(ratios, '.2f')} times on {len(trials)} sets", holds=min(ratios) > 1,
        ),
        Claim(
            name="restored", claim=f"The restored image is {GAIN_DB:g} dB nearer to the truth than the mean frame, on every set", paper="no figure in dB",
            measured=f"{_span(gains, '.2f')} dB on {len(trials)} sets (plain gradient steps: {_span(plain, '.2f')} dB)", holds=min(gains) >= GAIN_DB,
        ),
    ]  # fmt: skip


def _fidelity(
    trials: list[Trial], machine: MachineConfig, seed: int, effort: Effort, progress: Progress
) -> tuple[list[Fidelity], list[str], Claim]:
    """The first network's sets with the hardware's bits, in several arithmetics; the claims again in the machine's own."""
    from lanewise.models.deconvolution.bursts import bursts
    from lanewise.models.deconvolution.hardware import Arithmetic
    from lanewise.models.deconvolution.hardware_network import HardwareNetwork
    from lanewise.models.deconvolution.psnr import psnr_db

    segments = machine.flex_sfu.segments
    own = Arithmetic(segments=segments)
    chosen = [t for t in trials if t.network is trials[0].network]
    network = trials[0].network
    calibration = bursts(network.config, effort.bursts, CALIBRATION + seed)
    settings = [
        own, Arithmetic(segments=segments, transform_bits=16), Arithmetic(segments=segments, weight_bits=4), Arithmetic(segments=segments, operand_bits=4),
        Arithmetic(segments=8),
    ]  # fmt: skip
    rows, findings, kept, broken = [], [], [], []
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
                note=f"loss of the gradient steps over this one: {_span(ratios, '.2f')}",
            )
        )  # fmt: skip
        holds = min(gains) >= GAIN_DB and min(ratios) > 1
        (kept if holds else broken).append(arithmetic.words)
        if arithmetic == own:
            claim = Claim(
                name="hardware", claim=f"Both hold with the hardware's bits: {GAIN_DB:g} dB over the mean frame, less loss than the gradient steps in FP32",
                paper="not in the paper", measured=f"{own.words}: {_span(gains, '.2f')} dB, loss smaller by {_span(ratios, '.2f')} times", holds=holds,
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
        error = error if error == error else 1.0
        rows.append(
            Fidelity(name="relative error of the gradient", setting=setting, reference=0.0, hardware=min(error, 1e9), unit="", note=note)
        )  # fmt: skip
    return rows


def cases_of(config: MachineConfig) -> tuple[list[Case], dict[str, dict[str, int]]]:
    """Whole bursts and their parts on the machine; and the clocks of the whole by kind of operator."""
    from lanewise.mapping.workloads import deconvolution as mapped
    from lanewise.models.deconvolution.config import PAPER, SMALL

    cases, shares = [], {}
    for bits in (32, 16):
        setting = mapped.Setting(transform_bits=bits)
        for shape in (PAPER, SMALL):
            simulation = mapped.burst(shape, setting, config)
            name = f"{shape.pixels} x {shape.pixels}, {shape.frames} frames, {shape.modes} modes, {shape.steps} steps"
            cases.append(Case.of(simulation, name=f"burst, FP{bits} transforms", shape=name))
            shares[f"{shape.pixels} x {shape.pixels}, FP{bits}"] = simulation.machine.cycles_by_kind()
    paper = f"{PAPER.frames} frames, {PAPER.modes} modes"
    cases.append(Case.of(mapped.network(PAPER, config), name="a step's network, INT4", shape=paper))
    parts = [part for part in mapped.wave_parts(PAPER, mapped.Setting()) if part.kind == "sine and cosine"]
    cases.append(Case.of(mapped.single(parts, config), name="sine and cosine of the phase", shape=f"{PAPER.frames} x {PAPER.box}^2"))
    grid = f"{PAPER.frames} x {PAPER.pixels}^2, both directions"
    for bits in (32, 16):
        parts = mapped.plain_transform(PAPER.pixels, PAPER.frames, bits)
        cases.append(Case.of(mapped.single(parts, config), name=f"complex transform by columns, FP{bits}", shape=grid))
    parts = mapped.row_transform(PAPER.pixels, PAPER.frames)
    cases.append(Case.of(mapped.single(parts, config), name="complex transform by rows, FP32, turning not counted", shape=grid))
    return cases, shares


def _shares_said(cases: list[Case], shares: dict[str, dict[str, int]]) -> list[str]:
    headline, kinds = cases[0], next(iter(shares.values()))
    total = sum(kinds.values())
    largest, clocks = next(iter(kinds.items()))
    looked_up = kinds.get("sine and cosine", 0) + kinds.get("network", 0)
    return [
        f"Flex-SFU speeds the burst up {headline.speedup:.3f} times: {largest}s take {clocks / total:.0%} of the clocks, all that has a sine, a cosine or a "
        f"GELU {looked_up / total:.0%}. The transforms are bound by FP32 multiply-adds; in FP16 the burst takes {cases[2].cycles / headline.cycles:.0%} of the clocks."
    ]  # fmt: skip


def _pictures(t: Trial, seed: int, machine: MachineConfig) -> dict[str, Any]:
    """One burst in pictures, losses by step, point spread functions."""
    import torch

    from lanewise.models.deconvolution.bursts import Bursts, bursts
    from lanewise.models.deconvolution.hardware import Arithmetic
    from lanewise.models.deconvolution.hardware_network import HardwareNetwork
    from lanewise.models.deconvolution.psnr import psnr_db

    network, config = t.network, t.network.config
    calibration = bursts(config, 4, CALIBRATION + seed)
    one = Bursts(frames=t.data.frames[:1], truth=t.data.truth[:1], psf=t.data.psf[:1])
    made = HardwareNetwork(network, Arithmetic(segments=machine.flex_sfu.segments), calibration).restore(one)
    software = network(one.spectra)[-1].object
    images = {"one frame": one.frames[:, 0], "mean frame": one.frames.mean(1), "restored, PyTorch": software, "restored, hardware": made.images, "truth": one.truth}  # fmt: skip
    spread = network.model.psf(network.model.phase(made.coefficients[-1]))
    middle = config.pixels // 2
    shown = {
        f"{name}, frame {j + 1}": torch.roll(psf[0, j], (middle, middle), (0, 1))
        for j in range(3)
        for name, psf in (("true", one.psf), ("found", spread))
    }
    return {
        "images": {name: _list(image[0] + 1) for name, image in images.items()},
        "psnr_db": {name: float(psnr_db(image, one.truth)[0]) for name, image in images.items() if name != "truth"},
        "losses": t.losses,
        "psf": {name: _list(psf) for name, psf in shown.items()},
        "gain_db": t.gain_db,
    }


def _first(network: "UnrolledNetwork", spectra: Any) -> tuple[Any, Any]:
    zero = spectra.real.new_zeros(*spectra.shape[:2], network.config.modes)
    return zero, network.model.estimate(zero, spectra).gradient


def _list(image: Any) -> list[list[float]]:
    return [[round(float(v), 5) for v in row] for row in image]


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _span(values: list[float], form: str) -> str:
    low, high = format(min(values), form), format(max(values), form)
    return low if low == high else f"{low} to {high}"
