"""The paper's claims, checked on this processor (Yarga and Wood 2023, arXiv 2306.12666)."""

from collections.abc import Mapping, Sequence

import torch

from lanewise.models.claim import Claim
from lanewise.models.spsn.filters import by_convolution, by_fft, by_scan, by_steps

FORMS_TOLERANCE = 1e-5
POINTS = 0.02
"""Of accuracy."""


def form_errors(seed: int, *, steps: int = 1000, a: float = 0.8, b: float = 0.9) -> dict[str, float]:
    """Largest difference of each form from the others' step by step, relative to the largest voltage; and of an FFT that is too short.

    ``short`` is the transform of length 2 ``steps`` with slow filters (a = 0.999, b = 0.9995), whose end comes round.
    """
    x = torch.randn(steps, 4, 8, generator=torch.Generator().manual_seed(seed))
    real = by_steps(x, a, b)

    def error(found: torch.Tensor, wanted: torch.Tensor) -> float:
        return float((found - wanted).abs().max() / wanted.abs().max())

    forms = {"fft": by_fft, "scan": by_scan, "convolution": by_convolution}
    errors = {name: error(form(x, a, b), real) for name, form in forms.items()}
    slow = 0.999, 0.9995
    exact = by_steps(x.double(), *slow)
    errors["short"] = error(by_fft(x.double(), *slow, length=2 * steps), exact)
    errors["long"] = error(by_fft(x.double(), *slow, length=3 * steps - 2), exact)
    return errors


def forms_claim(seeds: Sequence[int]) -> Claim:
    """FFT, scan and convolution are the same numbers."""
    errors = [form_errors(seed) for seed in seeds]
    worst = {name: max(one[name] for one in errors) for name in errors[0]}
    largest = max(worst[name] for name in ("fft", "scan", "convolution"))
    return Claim(
        name="forms", claim="FFT, parallel scan, convolution and single steps agree to 1e-5, in FP32 at T = 1,000.",
        paper="the same filter; no figure", measured=", ".join(f"{name} {worst[name]:.1e}" for name in ("fft", "scan", "convolution")),
        holds=largest <= FORMS_TOLERANCE,
    )  # fmt: skip


def length_claim(seed: int) -> Claim:
    """A transform of 2 T is too short for two chained kernels."""
    errors = form_errors(seed)
    return Claim(
        name="fft-length", claim="Two chained kernels need an FFT of 3 T - 2: it agrees to 1e-5, one of 2 T does not.", paper="no figure",
        measured=f"3 T - 2: {errors['long']:.1e}; 2 T: {errors['short']:.1e} (a = 0.999, b = 0.9995, FP64)",
        holds=errors["long"] <= FORMS_TOLERANCE < errors["short"],
    )  # fmt: skip


def accuracy_claim(name: str, where: str, accuracies: Mapping[str, Sequence[float]]) -> Claim:
    """SB and GS are within two points of LIF, or better.

    Args:
        accuracies: Of each kind by seed.
    """
    means = {kind: sum(values) / len(values) for kind, values in accuracies.items()}
    return Claim(
        name=name, claim=f"SB and GS are within 2 points of LIF or better ({where}, {len(accuracies['lif'])} seeds).",
        paper="SHD: LIF 83.03 %, SB 86.08 %, GS 86.08 %",
        measured=", ".join(f"{kind.upper()} {100 * mean:.1f} %" for kind, mean in means.items()),
        holds=min(means["sb"], means["gs"]) >= means["lif"] - POINTS,
    )  # fmt: skip


def regulariser_claim(
    plain: Mapping[str, float], regularised: Mapping[str, float], accuracy: Mapping[str, tuple[float, float]]
) -> Claim:
    """The regulariser lowers the firing rate.

    Args:
        plain: Mean firing rate of the layers, by kind.
        regularised: Likewise.
        accuracy: Without and with it, by kind.
    """
    return Claim(
        name="regulariser", claim="The regulariser lowers the firing rate of SB and of GS.",
        paper="accuracy with it 89.70 % (SB), 89.39 % (GS); no figure of rates",
        measured="; ".join(
            f"{kind.upper()} {plain[kind]:.3f} to {regularised[kind]:.3f} spikes a step, "
            f"accuracy {100 * accuracy[kind][0]:.1f} to {100 * accuracy[kind][1]:.1f} %"
            for kind in plain
        ),
        holds=all(regularised[kind] < plain[kind] for kind in plain),
    )  # fmt: skip


def ratio_claim(lengths: Sequence[int], ratios: Mapping[int, Sequence[float]]) -> Claim:
    """LIF takes the longer over SPSN, the longer the sequence, where a step's neurons alone do not keep the processor busy.

    Args:
        ratios: By neurons of the layer, the fewest first.
    """
    few = min(ratios)
    listed = "; ".join(
        f"{neurons} neurons: " + ", ".join(f"{ratio:.1f}x" for ratio in row)
        for neurons, row in ratios.items()
    )
    return Claim(
        name="time-ratio", claim=f"On this processor LIF's time over SPSN's grows with T, 100 to 10,000, for a layer of {few} neurons.",
        paper="10x on SHD, up to 4,000x at 10,000 steps (GPU)",
        measured=f"T = {', '.join(f'{steps:,}' for steps in lengths)}: {listed}", holds=ratios[few][-1] > 2 * ratios[few][0],
    )  # fmt: skip
