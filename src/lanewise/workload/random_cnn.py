"""The workload ``random-cnn``: what frozen random filters cost in accuracy, and what making them on chip saves."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lanewise.config import MachineConfig
from lanewise.mapping.simulate import Simulation
from lanewise.mapping.workloads.random_cnn import (
    Variant,
    Weights,
    each_as_is_faster,
    filter_bytes_loaded,
    layers,
    with_bus,
)
from lanewise.models.claim import Claim
from lanewise.workload.random_cnn_fidelity import (
    Generated,
    filters_fidelity,
    generated_accuracies,
    generated_claim,
    networks_fidelity,
)
from lanewise.workload.registry import find
from lanewise.workload.result import Case, WorkloadResult

if TYPE_CHECKING:
    from lanewise.models.random_cnn.study import Study

NAME = "random-cnn"
EXTERNAL_PJ_PER_BYTE = 162.5
"""Of external memory: 1.3 nJ for 64 bits, the lower of two figures for DRAM in Horowitz, ISSCC 2014 (45 nm); from literature, not measured."""
NARROW = 4
"""Bytes a clock of a narrow external memory: 2 GB/s at 500 MHz."""

Progress = Callable[[str], None]


def run(config: MachineConfig, *, seed: int, small: bool, progress: Progress) -> WorkloadResult:
    """Claims, cases and fidelity; see :func:`lanewise.workload.run.run`.

    Raises:
        UserError: A network does not fit the machine, or the images' package is not installed.
    """
    from lanewise.models.random_cnn.config import DEFAULT, SMALL
    from lanewise.models.random_cnn.study import folding_claim, run_study

    study_config = SMALL if small else DEFAULT
    priced = _Priced(config, progress)
    cases = tuple(_cases(priced, small))
    traffic = _traffic_claim(priced)
    crossing = _crossing(priced, small)
    study = run_study(study_config, seed=seed, progress=progress)
    generated = generated_accuracies(study_config, seed, progress, small)
    fidelity = (*filters_fidelity(study, generated), *networks_fidelity(study_config, seed, config, small))
    return WorkloadResult(
        name=NAME, title=find(NAME).title, seed=seed, small=small, config_hash=config.hash,
        claims=(folding_claim(seed), *study.claims(), generated_claim(study, generated), traffic), cases=cases, fidelity=fidelity,
        findings=tuple(_findings(priced, crossing)), data=_data(study, generated, crossing, priced),
    )  # fmt: skip


class _Priced:
    """Simulations by variant and width of external memory, each once."""

    def __init__(self, config: MachineConfig, progress: Progress) -> None:
        self.config, self._progress = config, progress
        self._known: dict[tuple[Variant, int], Simulation] = {}

    def __call__(self, variant: Variant, bus: int = 0) -> Simulation:
        """``bus``: bytes a clock of external memory; 0: as configured."""
        bus = bus or self.config.dma.bytes_per_clk
        if (variant, bus) not in self._known:
            self._progress(f"{variant.name}, {variant.shape}, {bus} bytes a clock")
            self._known[variant, bus] = variant.simulate(with_bus(self.config, bus))
        return self._known[variant, bus]

    def case(self, variant: Variant, bus: int = 0) -> Case:
        """As a row of the page."""
        differs = ["weight_generator.enabled = true"] if variant.weights is Weights.GENERATED else []
        if bus and bus != self.config.dma.bytes_per_clk:
            differs.append(f"dma.bytes_per_clk = {bus}")
        simulation = self(variant, bus)
        return Case.of(
            simulation, name=variant.name, shape=variant.shape, machine=", ".join(differs) or "default"
        )


def _forms(network: str, expansion: int, **fields: Any) -> list[Variant]:
    """A network with filters made on chip, loaded, and folded."""
    order = (Weights.GENERATED, Weights.LOADED, Weights.FOLDED)
    return [Variant(network=network, weights=weights, expansion=expansion, **fields) for weights in order]


def _cases(priced: _Priced, small: bool) -> Iterator[Case]:
    for bus in (0, NARROW):
        for variant in _forms("resnet18d", 1):
            yield priced.case(variant, bus)
    yield priced.case(_forms("resnet18d", 1, activation="silu")[0])
    yield priced.case(_forms("resnet18d", 1, activation="silu")[2])
    for expansion in () if small else (8, 64):
        for variant in _forms("resnet18d", expansion)[:2]:
            yield priced.case(variant)
    for variant in _forms("resnet20", 16 if small else 128):
        yield priced.case(variant)
    for kernel in (3, 7):
        for variant in _forms("small", 16, kernel=kernel):
            yield priced.case(variant)


def _traffic_claim(priced: _Priced) -> Claim:
    """That nothing of the random filters is loaded where they are made on chip."""
    made, loaded, _ = (priced(variant) for variant in _forms("resnet18d", 1))
    bytes_made, bytes_loaded = filter_bytes_loaded(made), filter_bytes_loaded(loaded)
    saved = _loaded_bytes(loaded) - _loaded_bytes(made)
    return Claim(
        name="no_weight_traffic",
        claim="Made on chip, no byte of ResNet-18d LCx1's random filters is loaded, and the network loads fewer bytes.",
        paper="no figure (that random filters can be made again on chip is ours)",
        measured=f"filters: {bytes_made:,} bytes loaded instead of {bytes_loaded:,}; the network {saved:,} fewer, for some layers load pictures more often",
        holds=bytes_made == 0 < min(bytes_loaded, saved),
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class _Point:
    """Where the two ways of a network stand."""

    expansion: int
    bus: int
    batch: int
    folded: int
    made: int
    mixed: int
    """Each layer as it is faster."""
    layers: int
    """That are not folded then."""
    folded_bytes: int
    made_bytes: int
    mixed_bytes: int


def _crossing(priced: _Priced, small: bool) -> list[_Point]:
    """Folded against made on chip over expansion, width of external memory and batch."""
    grid = [(1, bus, 1) for bus in (NARROW, priced.config.dma.bytes_per_clk)]
    if not small:
        grid = (
            [(1, bus, 1) for bus in (4, 8, 16, 32)]
            + [(e, NARROW, 1) for e in (2, 4, 8)]
            + [(1, NARROW, b) for b in (4, 16)]
        )
    points = []
    for expansion, bus, batch in grid:
        made, _, folded = _forms("resnet18d", expansion, batch=batch)
        folded = Variant(network="resnet18d", weights=Weights.FOLDED, batch=batch)
        a, b = priced(folded, bus), priced(made, bus)
        cycles, loaded, count = each_as_is_faster(a, b)
        points.append(
            _Point(
                expansion=expansion, bus=bus, batch=batch, folded=a.machine.cycles, made=b.machine.cycles, mixed=cycles, layers=count,
                folded_bytes=_loaded_bytes(a), made_bytes=_loaded_bytes(b), mixed_bytes=loaded,
            )
        )  # fmt: skip
    return points


def _loaded_bytes(simulation: Simulation) -> int:
    return sum(cost.loaded_bytes for cost in simulation.machine.costs)


def _findings(priced: _Priced, crossing: list[_Point]) -> Iterator[str]:
    first = next(p for p in crossing if p.expansion == 1 and p.bus == NARROW and p.batch == 1)
    made, loaded, _ = (priced(variant, NARROW) for variant in _forms("resnet18d", 1))
    saved = _loaded_bytes(loaded) - _loaded_bytes(made)
    yield (
        f"ResNet-18d LCx1, {NARROW} bytes a clock of external memory: filters made on chip instead of loaded save {saved:,} bytes, "
        f"{1 - made.machine.cycles / loaded.machine.cycles:.1%} of the cycles and {saved * EXTERNAL_PJ_PER_BYTE * 1e-6:,.0f} uJ of external memory "
        f"({EXTERNAL_PJ_PER_BYTE:g} pJ a byte, Horowitz, ISSCC 2014, 45 nm; the generator's own power is not in it)."
    )
    ways = "fewer" if first.made < first.folded else "more"
    yield (
        f"Against the folded network, {NARROW} bytes a clock, batch 1: two convolutions with filters made on chip take {first.made:,} clocks against "
        f"{first.folded:,}, {ways}; each layer as it is faster, {first.layers} of them as two, {first.mixed:,} clocks and {first.mixed_bytes:,} bytes loaded."
    )
    wins = [p for p in crossing if p.made < p.folded]
    yield (
        "The whole network is faster with filters made on chip than folded at: "
        + (
            ", ".join(f"E = {p.expansion}, {p.bus} bytes a clock, batch {p.batch}" for p in wins)
            or "none of the points tried"
        )
        + f"; of {len(crossing)} points. Folding takes k^2 c_in c_out weights, recombining E c_out^2: from E = k^2 c_in / c_out on, folding loads "
        "less as well, and it always multiplies less."
    )
    yield (
        "On a bus of 32 bytes a clock the array of 32 x 32 INT4 is never starved by weights: a tile of 32 filters is loaded in half the clocks in "
        "which one tile of results is multiplied, so that making filters on chip saves bytes and energy there, and few cycles."
    )
    yield "ReLU needs no Flex-SFU: the paper's networks have a speedup of 1 but for rounding; with SiLU see its case."


def _data(study: "Study", generated: Generated, crossing: list[_Point], priced: _Priced) -> dict[str, Any]:
    config = study.config
    gaps: list[dict[str, Any]] = []
    for kernel in config.kernels:
        for expansion in config.expansions:
            key = kernel, expansion
            gaps.append(
                {
                    "kernel": kernel,
                    "expansion": expansion,
                    "learned": list(study.learned[key]),
                    "frozen": list(study.frozen[key]),
                }
            )
    made, _, folded = _forms("resnet18d", 1)
    by_layer = [
        {
            "name": layer.name, "folded_cycles": layer.folded.cycles, "made_cycles": layer.pair_cycles,
            "folded_bytes": layer.folded.loaded_bytes, "made_bytes": layer.pair_loaded_bytes,
        }
        for layer in layers(priced(folded, NARROW), priced(made, NARROW))
    ]  # fmt: skip
    return {
        "accuracies": gaps,
        "generated": [
            {"filters": filters, "kernel": kernel, "expansion": expansion, "accuracies": values}
            for (filters, kernel, expansion), values in generated.items()
        ],
        "crossing": [
            {
                "expansion": p.expansion, "bus": p.bus, "batch": p.batch, "folded": p.folded, "made": p.made, "mixed": p.mixed, "layers": p.layers,
                "folded_bytes": p.folded_bytes, "made_bytes": p.made_bytes,
            }
            for p in crossing
        ],
        "layers": by_layer, "narrow": NARROW,
    }  # fmt: skip
