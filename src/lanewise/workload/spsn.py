"""The workload ``spsn``: claims, cycles and fidelity of stochastic spiking neurons (Yarga and Wood 2023, arXiv 2306.12666)."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from lanewise.config import MachineConfig
from lanewise.models.claim import Claim
from lanewise.workload.result import Fidelity, WorkloadResult
from lanewise.workload.spsn_cases import core_claims, core_findings, curves, simulated_cases

TITLE = "Stochastic parallelisable spiking neurons"
CPU_LENGTHS = (100, 300, 1_000, 3_000, 10_000)
CPU_NEURONS = (8, 128)
"""Of the layers that are timed on this processor: few, and the paper's."""
SEEDS = 2
"""Of the small network; one of the paper's."""
PAPER_EPOCHS, PAPER_RATE, PAPER_SAMPLES = 6, 1e-2, 1000
"""Shorter than the paper's training, and its rate larger for it."""
POINTS = 0.03
"""Of accuracy that the hardware's bits may cost; two standard errors of the test samples, whose spikes are drawn anew."""


def run(config: MachineConfig, *, seed: int, small: bool, progress: Callable[[str], None]) -> WorkloadResult:
    """Claims, cases, fidelity, and what the pictures show.

    Training runs on one thread; ``small`` trains the small network once, for a quarter of the time.
    """
    from lanewise.models.spsn.claims import forms_claim, length_claim, ratio_claim
    from lanewise.models.spsn.timing import layer_seconds

    seeds = [seed + k for k in range(1 if small else SEEDS)]
    progress("spsn: forms of the filter, time on this processor")
    claims = [forms_claim(seeds), length_claim(seed)]
    ratios = {
        neurons: [lif / spsn for lif, spsn in layer_seconds(CPU_LENGTHS, neurons=neurons)]
        for neurons in CPU_NEURONS
    }
    trained, fidelity, data = _training(seeds, small, progress)
    progress("spsn: cycles")
    cases = simulated_cases(config)
    drawn = curves(config)
    claims += [*trained, ratio_claim(CPU_LENGTHS, ratios), *core_claims(cases, drawn)]
    return WorkloadResult(
        name="spsn", title=TITLE, seed=seed, small=small, config_hash=config.hash, claims=tuple(claims), cases=tuple(cases),
        fidelity=tuple(fidelity), findings=(*core_findings(config, drawn), *_decay_findings()),
        data={
            **data, "cycles": drawn,
            "cpu": {"lengths": list(CPU_LENGTHS), "ratios": {str(neurons): row for neurons, row in ratios.items()}},
        },
    )  # fmt: skip


def _training(
    seeds: list[int], small: bool, progress: Callable[[str], None]
) -> tuple[list[Claim], list[Fidelity], dict[str, Any]]:
    """Claims about accuracy and rates, fidelity, and the pictures' data."""
    from lanewise.models.spsn.claims import accuracy_claim, regulariser_claim
    from lanewise.models.spsn.config import KINDS, PAPER, SMALL
    from lanewise.models.spsn.training import train

    size = replace(SMALL, epochs=SMALL.epochs // 4) if small else SMALL
    networks = {}
    for kind in KINDS:
        progress(f"spsn: training {kind}, {size.name}")
        networks[kind] = [train(size, kind, one) for one in seeds]
    accuracies = {kind: [one.accuracy for one in trained] for kind, trained in networks.items()}
    claims = [accuracy_claim("accuracy", f"{size.name}, T = {size.steps}", accuracies)]
    plain, lower, both = {}, {}, {}
    for kind in ("sb", "gs"):
        progress(f"spsn: training {kind} with the regulariser")
        other = train(size, kind, seeds[0], regularise=True)
        first = networks[kind][0]
        plain[kind], lower[kind] = sum(first.rates) / len(first.rates), sum(other.rates) / len(other.rates)
        both[kind] = first.accuracy, other.accuracy
    claims.append(regulariser_claim(plain, lower, both))
    bars = [{"network": size.name, "accuracy": accuracies}]
    if not small:
        paper = replace(PAPER, epochs=PAPER_EPOCHS, rate=PAPER_RATE, train=PAPER_SAMPLES, test=500)
        large = {}
        for kind in KINDS:
            progress(f"spsn: training {kind}, {paper.name}")
            large[kind] = [train(paper, kind, seeds[0]).accuracy]
        claims.append(accuracy_claim("accuracy-paper", f"{paper.name}, T = {paper.steps}", large))
        bars.append({"network": paper.name, "accuracy": large})
    first_networks = {kind: trained[0] for kind, trained in networks.items()}
    progress("spsn: the hardware's bits")
    kept, fidelity = _hardware(size, first_networks, seeds[0])
    data = {
        "accuracies": bars, "rates": {kind: list(one.rates) for kind, one in first_networks.items()},
        "regularised": {kind: [plain[kind], lower[kind]] for kind in plain}, "raster": _raster(size, first_networks, seeds[0]),
    }  # fmt: skip
    return [*claims, kept], fidelity, data


def _hardware(size: Any, networks: dict[str, Any], seed: int) -> tuple[Claim, list[Fidelity]]:
    import numpy as np

    from lanewise.models.spsn.hardware import (
        HardwareSettings,
        accuracy,
        decay_error,
        probability_error,
    )
    from lanewise.models.spsn.training import held_out

    samples, fidelity, losses = held_out(size, seed), [], {}
    for kind, trained in networks.items():
        for bits in (4, 8):
            settings = HardwareSettings(weight_bits=bits, seed=seed)
            found, rates = accuracy(trained.network, samples, settings)
            losses[kind, bits] = trained.accuracy - found
            fidelity.append(
                Fidelity(
                    name=f"accuracy of {kind.upper()}", setting=settings.text, reference=100 * trained.accuracy, hardware=100 * found,
                    unit="%", note=f"firing rate {sum(trained.rates) / len(rates):.3f} in PyTorch, {sum(rates) / len(rates):.3f} here",
                )
            )  # fmt: skip
    fidelity += [
        Fidelity(
            name="largest error of the firing probability", setting=f"Flex-SFU, {segments} segments, FP16 as integers of 11 bits",
            reference=0.0, hardware=probability_error(segments), unit="",
        )
        for segments in (8, 16, 32, 64)
    ]  # fmt: skip
    fidelity += [
        Fidelity(
            name=f"gain of a filter of {time_constant:,} steps", setting="decay exp(-1/tau) as an FP16 number", reference=1.0,
            hardware=1.0 + decay_error(time_constant, np.float16), unit="", note=f"FP32: {decay_error(time_constant, np.float32):.0e} off",
        )
        for time_constant in (10, 100, 1000)
    ]  # fmt: skip
    worst = {bits: max(losses[kind, bits] for kind in networks) for bits in (4, 8)}
    claim = Claim(
        name="hardware", claim="With the hardware's bits (INT8 weights, FP16 states, Flex-SFU) accuracy is within 3 points of PyTorch's.",
        paper="no figure", measured=f"largest loss {100 * worst[8]:.1f} points with INT8 weights, {100 * worst[4]:.1f} with INT4",
        holds=worst[8] <= POINTS,
    )  # fmt: skip
    return claim, fidelity


def _decay_findings() -> list[str]:
    import numpy as np

    from lanewise.models.spsn.hardware import decay_error

    errors = {tau: 100 * decay_error(tau, np.float16) for tau in (10, 100, 1000)}
    listed = ", ".join(f"{error:.1f} % for {tau:,} steps" for tau, error in errors.items())
    return [
        f"FP16 has no decay between 1 - 2**-11 and 1: a filter's gain 1 / (1 - a) is off by {listed}. Time constants of some tens of steps, as here, are safe; "
        "long filters want FP32 states (ScanWork with bits = 32), at half the elements a clock."
    ]


def _raster(size: Any, networks: dict[str, Any], seed: int) -> dict[str, Any]:
    """Places of one sample's spikes: inputs, and the first hidden layer of each kind."""
    import torch

    from lanewise.models.spsn.training import held_out

    samples = held_out(replace(size, test=1), seed)
    data: dict[str, Any] = {
        "steps": size.steps, "channels": size.channels, "neurons": size.hidden[0], "label": int(samples.labels[0]),
        "inputs": samples.spikes[0].nonzero().tolist(),
    }  # fmt: skip
    with torch.no_grad():
        for kind, trained in networks.items():
            _, hidden = trained.network(samples.spikes)
            data[kind] = hidden[0][:, 0].nonzero().tolist()
    return data
