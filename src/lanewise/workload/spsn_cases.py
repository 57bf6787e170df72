"""Cycles of spiking networks on the core, what they say of the paper's speedup, and what bounds it."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

from lanewise.config import MachineConfig, VectorConfig
from lanewise.mapping.simulate import network_cost, simulate_lowered, work_cost
from lanewise.mapping.workloads.spsn.network import NetworkShape, layer_work, lowered, step_by_step
from lanewise.mapping.workloads.spsn.stochastic import QUANTISER
from lanewise.models.claim import Claim
from lanewise.models.spsn.config import PAPER, SMALL
from lanewise.workload.result import Case

PAPER_SIZES, SMALL_SIZES = PAPER.sizes, SMALL.sizes
LENGTHS = (100, 300, 1_000, 3_000, 10_000)
WIDTHS = (4, 16, 32, 128)
"""Neurons of a layer."""
LANES = (8, 16, 32)
WANTED = 100
"""Times that SPSN at T = 10,000 should be faster than LIF step by step."""
SPSN, LIF, FIRED, OPERATORS = "SPSN", "LIF", "SPSN, spikes by the operand path", "LIF, operator by operator"
_SPSN = NetworkShape(
    model="spsn",
    sizes=PAPER_SIZES,
    steps=LENGTHS[-1],
    current_decay=PAPER.current_decay,
    voltage_decay=PAPER.voltage_decay,
)
"""The headline."""


def simulated_cases(config: MachineConfig) -> list[Case]:
    """Whole networks: the paper's sizes at T = 10,000 first, then a batch of 64, then small ones."""
    cases = []
    for sizes, steps, batch in (
        (PAPER_SIZES, 10_000, 1), (PAPER_SIZES, 100, 64), (SMALL_SIZES, 10_000, 1), (SMALL_SIZES, SMALL.steps, 32),
    ):  # fmt: skip
        shape = replace(_SPSN, sizes=sizes, steps=steps, batch=batch)
        cases.append(_case(shape, config, SPSN))
        cases.append(_fired(shape, config, cases[-1]))
        lif = replace(shape, model="lif")
        cases += [_case(lif, config, LIF), _operators(lif, config)]
    eight = replace(_SPSN, weight_bits=8)
    cases.append(_case(eight, config, f"{SPSN}, INT8 weights"))
    xorshift = replace(_SPSN, generator="xorshift")
    cases.append(_case(xorshift, config, f"{SPSN}, xorshift"))
    return cases


def _case(shape: NetworkShape, config: MachineConfig, name: str) -> Case:
    found = simulate_lowered(lowered(shape, config), config, model=name)
    return Case.of(found, name=name, shape=shape.text)


def _fired(shape: NetworkShape, config: MachineConfig, other: Case) -> Case:
    """Spikes by the operand path; its baseline is that of ``other``, for without Flex-SFU there are no probabilities to round."""
    if not config.flex_sfu.serves("fp16"):
        return replace(other, name=FIRED)
    cost = network_cost(lowered(replace(shape, generator=QUANTISER), config), config)
    loaded, stored = (
        sum(getattr(one, f"{name}_bytes") for one in cost.costs) for name in ("loaded", "stored")
    )
    return replace(
        other, name=FIRED, cycles=cost.cycles, loaded_bytes=loaded, stored_bytes=stored, energy_pj=None, baseline_energy_pj=None
    )  # fmt: skip


def _operators(shape: NetworkShape, config: MachineConfig) -> Case:
    """A step, times the steps."""
    found = simulate_lowered(step_by_step(shape, config), config, model=OPERATORS)
    one = Case.of(found, name=OPERATORS, shape=shape.text)
    times = shape.steps
    return replace(
        one, cycles=one.cycles * times, baseline_cycles=one.baseline_cycles * times, macs=one.macs * times,
        loaded_bytes=one.loaded_bytes * times, stored_bytes=one.stored_bytes * times,
        energy_pj=None if one.energy_pj is None else one.energy_pj * times,
        baseline_energy_pj=None if one.baseline_energy_pj is None else one.baseline_energy_pj * times,
    )  # fmt: skip


def curves(config: MachineConfig) -> dict[str, Any]:
    """Cycles against T of the paper's network, and cycles a step of a layer against its width and the lanes."""
    networks: dict[str, list[int]] = {SPSN: [], FIRED: [], LIF: [], OPERATORS: []}
    for steps in LENGTHS:
        shape = replace(_SPSN, steps=steps)
        case, lif = _case(shape, config, SPSN), replace(shape, model="lif")
        networks[SPSN].append(case.cycles)
        networks[FIRED].append(_fired(shape, config, case).cycles)
        networks[LIF].append(_case(lif, config, LIF).cycles)
        networks[OPERATORS].append(_operators(lif, config).cycles)
    layers = []
    for lanes in LANES:
        machine = _with_lanes(config, lanes)
        for neurons in WIDTHS:
            clocks = {}
            for model in ("lif", "spsn"):
                shape = replace(_SPSN, model=model, sizes=(1, neurons, 1), steps=LENGTHS[-1])
                clocks[model] = work_cost(layer_work(shape, neurons, machine), machine).cycles
            layers.append({"lanes": lanes, "neurons": neurons, **clocks})
    return {"lengths": list(LENGTHS), "networks": networks, "layers": layers}


def _with_lanes(config: MachineConfig, lanes: int) -> MachineConfig:
    """As many lanes, DMA and the bus as wide."""
    vlen = max(config.vector.vlen_bits, 32 * lanes)
    return replace(
        config, vector=VectorConfig(lanes=lanes, vlen_bits=vlen), flex_sfu=replace(config.flex_sfu, lanes=lanes),
        dma=replace(config.dma, bytes_per_clk=4 * lanes),
    )  # fmt: skip


def core_claims(cases: list[Case], drawn: dict[str, Any]) -> list[Claim]:
    """The speedup at T = 10,000, against the best kernel and against operators one by one."""
    networks = drawn["networks"]
    ratios = [lif / spsn for lif, spsn in zip(networks[LIF], networks[SPSN], strict=True)]
    loose = [lif / spsn for lif, spsn in zip(networks[OPERATORS], networks[SPSN], strict=True)]
    by_name = {case.name: case for case in cases[:4]}
    best = by_name[SPSN].cycles  # the kernel that is executed, not the priced one
    ratio = by_name[LIF].cycles / best
    return [
        Claim(
            name="cycle-ratio", claim=f"On the core, SPSN at T = 10,000 takes {WANTED}x fewer cycles than LIF step by step.",
            paper="up to 4,000x at 10,000 steps (GPU)",
            measured=f"{ratio:.2f}x against our best LIF kernel, {by_name[OPERATORS].cycles / best:.0f}x against LIF operator by operator "
            f"({by_name[LIF].cycles:,}, {by_name[OPERATORS].cycles:,}, {best:,} cycles)",
            holds=ratio >= WANTED,
        ),
        Claim(
            name="cycle-ratio-grows", claim="On the core, cycles of LIF run operator by operator over SPSN's grow with T, 100 to 10,000.",
            paper="10x on SHD, up to 4,000x at 10,000 steps (GPU)",
            measured=f"{loose[0]:.0f}x to {loose[-1]:.0f}x; our best LIF kernel {ratios[0]:.2f}x to {ratios[-1]:.2f}x, so it does not",
            holds=loose[-1] > loose[0],
        ),
    ]  # fmt: skip


def core_findings(config: MachineConfig, drawn: dict[str, Any]) -> list[str]:
    """What bounds the speedup, with numbers."""
    vector = config.vector
    elements, loop = vector.bits_per_clk // 16, vector.alu_latency_clk + vector.fma_latency_clk
    neurons, steps = PAPER_SIZES[1], LENGTHS[-1]
    shape = replace(_SPSN, sizes=(1, neurons, 1), steps=steps)
    kinds = {
        "lif": replace(shape, model="lif"), "spsn": shape, "xorshift": replace(shape, generator="xorshift"),
        **({QUANTISER: replace(shape, generator=QUANTISER)} if config.flex_sfu.serves("fp16") else {}),
    }  # fmt: skip
    clocks = {
        name: work_cost(layer_work(one, neurons, config), config).cycles / steps
        for name, one in kinds.items()
    }
    filters = 2 * neurons / elements
    product = sum(before * own for before, own in pairwise(PAPER_SIZES)) / config.matrix.macs_per_clk
    best = max(drawn["layers"], key=lambda one: one["lif"] / one["spsn"])
    fired = f", {clocks[QUANTISER]:.1f} with spikes by the operand path" if QUANTISER in clocks else ""
    return [
        f"What bounds the ratio: a LIF step can follow the one before after {loop} clocks (multiply-add {vector.fma_latency_clk}, comparison "
        f"{vector.alu_latency_clk}) whatever the width; both need two multiply-adds an element, {elements} of them a clock. So for one sample SPSN is at most "
        f"max({loop}, N / {elements // 2}) / (N / {elements // 2}) times as fast for N neurons: {max(loop, filters) / filters:.1f}x for {neurons}, "
        f"{loop * elements / 2:.0f}x for one neuron. A step's neurons fill the lanes already; a GPU has thousands of them, and starts kernels for every step.",
        f"A layer of {neurons} neurons takes {clocks['lif']:.1f} clocks a step as LIF (its multiply-adds alone {filters:.0f}) and {clocks['spsn']:.1f} as "
        f"SPSN{fired}: two multiply-adds, and one for the random bits. A xorshift of six instructions takes {clocks['xorshift']:.1f}: random bits "
        "cost more than the neurons then.",
        f"The products are the same for both: {product:.0f} clocks a step at the least ({config.matrix.macs_per_clk:,} MACs a clock), "
        "more than the neurons of all layers.",
        f"Largest measured ratio of a layer at T = {steps:,}, batch 1: {best['lif'] / best['spsn']:.1f}x, {best['neurons']} neurons on {best['lanes']} lanes, "
        "whose time is cut into segments that run side by side; narrower layers wait for DMA, whose runs are half a step's neurons.",
    ]
