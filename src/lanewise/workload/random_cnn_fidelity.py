"""What the hardware's arithmetic does to the accuracy of random filters."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeAlias

from lanewise.config import MachineConfig
from lanewise.models.claim import Claim
from lanewise.workload.result import Fidelity

if TYPE_CHECKING:
    from lanewise.models.random_cnn.config import StudyConfig
    from lanewise.models.random_cnn.study import Study

POINTS = 1.0
"""Points of accuracy that count as none, beside two standard errors."""
OPEN = 16
"""The largest expansion at which the kinds of filters are compared: beyond it the gap is closed."""
Progress: TypeAlias = Callable[[str], None]
Generated: TypeAlias = dict[tuple[str, int, int], list[float]]
"""Accuracies by filters, kernel and expansion, of each seed."""


def generated_accuracies(config: "StudyConfig", seed: int, progress: Progress, small: bool) -> Generated:
    """Networks on the generator's filters, and on the same with -8 as it is."""
    from lanewise.models.random_cnn.recombined import Filters
    from lanewise.models.random_cnn.study import accuracies_of

    found: Generated = {}
    open_gaps = [e for e in config.expansions if e <= OPEN] or [min(config.expansions)]
    for filters, expansions in (
        (Filters.GENERATED, open_gaps[-1:] if small else open_gaps),
        (Filters.RAW, open_gaps[-1:]),
    ):
        for kernel in (3, 7):
            for expansion in expansions:
                progress(f"{filters} filters, k = {kernel}, E = {expansion}")
                found[str(filters), kernel, expansion] = accuracies_of(
                    config, kernel, expansion, filters, seed
                )
    return found


def generated_claim(study: "Study", generated: Generated) -> Claim:
    """That INT4 filters of the register are as good as FP32 ones."""
    import numpy as np

    from lanewise.models.random_cnn.study import difference

    rows = [(key[1:], values) for key, values in generated.items() if key[0] == "generated"]
    each = [np.subtract(values, study.frozen[key]) for key, values in rows]
    mean, error = difference(np.mean(each, axis=0))
    return Claim(
        name="generated_filters",
        claim=f"Networks on the generator's INT4 filters are within {POINTS:g} point and two standard errors of those on FP32 Kaiming-uniform ones, "
        "in the mean over kernels and expansions.",
        paper="no figure (FP32 filters)", measured=f"{mean:+.2f} +- {error:.2f} points", holds=bool(abs(mean) <= POINTS + 2 * error),
    )  # fmt: skip


def filters_fidelity(study: "Study", generated: Generated) -> Iterator[Fidelity]:
    import numpy as np

    from lanewise.models.random_cnn.study import difference

    settings = {
        "generated": "INT4 of the weight generator, -8 made 0",
        "raw": "the same register's INT4, -8 kept",
    }
    for (filters, kernel, expansion), values in generated.items():
        reference = study.frozen[kernel, expansion]
        _, error = difference(np.subtract(values, reference))
        yield Fidelity(
            name=f"accuracy on frozen filters, k = {kernel}, E = {expansion}", setting=settings[filters], reference=float(np.mean(reference)),
            hardware=float(np.mean(values)), unit="%",
            note=f"trained on them; reference FP32 Kaiming-uniform; the difference +- {error:.1f} over {len(values)} seeds",
        )  # fmt: skip


def networks_fidelity(
    config: "StudyConfig", seed: int, machine: MachineConfig, small: bool
) -> Iterator[Fidelity]:
    """Whole networks of one kind: INT4 folded and not, Flex-SFU's SiLU."""
    from torch import nn

    from lanewise.models.nn import approximate
    from lanewise.models.random_cnn.fidelity import in_int4
    from lanewise.models.random_cnn.recombined import Filters
    from lanewise.models.random_cnn.training import accuracy, train

    kernel, expansion, seeds = 3, 16, range(seed, seed + config.seeds)
    networks = [
        train(config, kernel=kernel, expansion=expansion, filters=Filters.GENERATED, seed=each)
        for each in seeds
    ]
    exact = sum(map(accuracy, networks)) / len(networks)
    for bits in (4, 8):
        for folded in (True, False):
            found = sum(accuracy(in_int4(n, folded=folded, activation_bits=bits)) for n in networks) / len(
                networks
            )
            yield Fidelity(
                name=f"accuracy of a whole network, {'folded' if folded else 'as two convolutions'}",
                setting=f"INT4 weights, INT{bits} activations, rounded after training", reference=exact, hardware=found, unit="%",
                note=f"k = {kernel}, E = {expansion}, generated filters, {len(networks)} seeds"
                + ("" if folded else "; the filters are INT4 as they are, the 1x1 weights and what lies between are rounded"),
            )  # fmt: skip
    smooth = [
        train(
            config,
            kernel=kernel,
            expansion=expansion,
            filters=Filters.GENERATED,
            seed=each,
            activation=nn.SiLU,
        )
        for each in list(seeds)[: 1 if small else config.seeds]
    ]
    exact = sum(map(accuracy, smooth)) / len(smooth)
    for segments in (8, 32):
        degree = machine.flex_sfu.degree
        found = sum(
            accuracy(approximate(n, segments=segments, degree=degree, format="fp16")) for n in smooth
        ) / len(smooth)
        yield Fidelity(
            name="accuracy with SiLU instead of ReLU", setting=f"Flex-SFU, FP16, {segments} segments, degree {degree}", reference=exact,
            hardware=found, unit="%", note=f"k = {kernel}, E = {expansion}, generated filters, {len(smooth)} seeds",
        )  # fmt: skip
