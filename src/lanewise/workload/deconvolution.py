"""Unrolled multi-frame deconvolution: claims, cases, fidelity and what the pictures are drawn from."""

from typing import Any

from lanewise.config import MachineConfig
from lanewise.models.claim import Claim
from lanewise.workload.deconvolution_fidelity import CALIBRATION, GAIN_DB, fidelity_of, span
from lanewise.workload.deconvolution_trial import FULL, SHORT, Progress, Trial, trials_of
from lanewise.workload.registry import find
from lanewise.workload.result import Case, WorkloadResult

GRADIENT = 1e-4
"""Largest relative difference of analytic and automatic gradient."""
PARAMETERS = 81_620
"""Of a step's network at the paper's shape."""


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
        fidelity, findings, hardware = fidelity_of(trials, config, seed, effort, progress)
        claims.append(hardware)
        progress("deconvolution: simulating")
        cases, shares = cases_of(config)
        findings += _shares_said(cases, shares)
        data = _pictures(trials[0], seed, config) | {"shares": shares}
    return WorkloadResult(
        name="deconvolution", title=find("deconvolution").title, seed=seed, small=small, config_hash=config.hash, claims=tuple(claims),
        cases=tuple(cases), fidelity=tuple(fidelity), findings=tuple(findings), data=data,
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
            measured=f"loss smaller by {span(ratios, '.2f')} times on {len(trials)} sets", holds=min(ratios) > 1,
        ),
        Claim(
            name="restored", claim=f"The restored image is {GAIN_DB:g} dB nearer to the truth than the mean frame, on every set", paper="no figure in dB",
            measured=f"{span(gains, '.2f')} dB on {len(trials)} sets (plain gradient steps: {span(plain, '.2f')} dB)", holds=min(gains) >= GAIN_DB,
        ),
    ]  # fmt: skip


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
    cases.append(
        Case.of(
            mapped.single(parts, config),
            name="sine and cosine of the phase",
            shape=f"{PAPER.frames} x {PAPER.box}^2",
        )
    )
    grid = f"{PAPER.frames} x {PAPER.pixels}^2, both directions"
    for bits in (32, 16):
        parts = mapped.plain_transform(PAPER.pixels, PAPER.frames, bits)
        cases.append(
            Case.of(mapped.single(parts, config), name=f"complex transform by columns, FP{bits}", shape=grid)
        )
    parts = mapped.row_transform(PAPER.pixels, PAPER.frames)
    cases.append(
        Case.of(
            mapped.single(parts, config),
            name="complex transform by rows, FP32, turning not counted",
            shape=grid,
        )
    )
    return cases, shares


def _shares_said(cases: list[Case], shares: dict[str, dict[str, int]]) -> list[str]:
    headline, kinds = cases[0], next(iter(shares.values()))
    total = sum(kinds.values())
    largest, clocks = next(iter(kinds.items()))
    looked_up = kinds.get("sine and cosine", 0) + kinds.get("network", 0)
    half = cases[2].cycles / headline.cycles
    return [
        f"Flex-SFU speeds the burst up {headline.speedup:.3f} times: {largest}s take {clocks / total:.0%} of the clocks, all that has a sine, a cosine or "
        f"a GELU {looked_up / total:.0%}. FP32 multiply-adds bound the transforms; in FP16 the burst takes {half:.0%} of the clocks."
    ]


def _pictures(t: Trial, seed: int, machine: MachineConfig) -> dict[str, Any]:
    """One burst in pictures, losses by step, point spread functions."""
    import torch

    from lanewise.models.deconvolution.bursts import Bursts, bursts
    from lanewise.models.deconvolution.hardware import Arithmetic
    from lanewise.models.deconvolution.hardware_network import HardwareNetwork
    from lanewise.models.deconvolution.psnr import psnr_db

    network, config = t.network, t.network.config
    calibration = bursts(config, 4, CALIBRATION + seed)
    gains = psnr_db(network(t.data.spectra)[-1].object, t.data.truth) - psnr_db(
        t.data.frames.mean(1), t.data.truth
    )
    place = int(gains.argsort()[len(gains) // 2])  # the burst in the middle
    one = Bursts(**{name: getattr(t.data, name)[place : place + 1] for name in ("frames", "truth", "psf")})
    made = HardwareNetwork(network, Arithmetic(segments=machine.flex_sfu.segments), calibration).restore(one)
    software = network(one.spectra)[-1].object
    images = {
        "one frame": one.frames[:, 0], "mean frame": one.frames.mean(1), "restored, PyTorch": software, "restored, hardware": made.images,
        "truth": one.truth,
    }  # fmt: skip
    spread = network.model.psf(network.model.phase(made.coefficients[-1]))
    middle = config.pixels // 2
    shown: dict[str, Any] = {
        f"{name}, frame {j + 1}": torch.roll(psf[0, j], (middle, middle), (0, 1))
        for j in range(3)
        for name, psf in (("true", one.psf), ("found", spread))
    }
    return {
        "images": {name: _list(image[0] + 1) for name, image in images.items()},
        "psnr_db": {
            name: float(psnr_db(image, one.truth)[0]) for name, image in images.items() if name != "truth"
        },
        "losses": t.losses,
        "psf": {name: _list(psf) for name, psf in shown.items()},
        "gain_db": t.gain_db,
    }


def _list(image: Any) -> list[list[float]]:
    return [[round(float(v), 5) for v in row] for row in image]
