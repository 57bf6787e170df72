"""Area of one lane of Flex-SFU, and of what all lanes share, by segments, formats, degree and tables."""

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lanewise.config import SEGMENT_COUNTS, FlexSfuConfig, MachineConfig
from lanewise.formats import FORMATS
from lanewise.rtl.address_decoder import AddressDecoder
from lanewise.rtl.coefficient_table import CoefficientTable
from lanewise.rtl.flex_sfu import horner_steps
from lanewise.rtl.multiply_add import LANE_BITS
from lanewise.synth.component import Synthesiser
from lanewise.synth.liberty import load_liberty

FORMAT_SETS: dict[str, tuple[str, ...]] = {
    "fp16": ("fp16",),
    "fp16, bf16": ("fp16", "bf16"),
    "int8": ("int8",),
    "fp8": ("fp8e4m3", "fp8e5m2"),
    "8 and 16 bits": tuple(name for name, form in FORMATS.items() if form.bits <= 16),
    "all": tuple(FORMATS),
}
"""Choices of formats whose cost is shown."""


@dataclass(frozen=True, kw_only=True)
class LaneArea:
    """Areas for one 32-bit lane of a Flex-SFU: 4 x 8, 2 x 16 or 1 x 32 bits a clock."""

    formats: str
    segments: int
    degree: int
    double_buffered: bool
    decoder_lane_um2: float
    """Comparisons of one lane."""
    table_lane_um2: float
    """Reads of one lane."""
    multiply_add_um2: float
    """Multiply-adds of one lane: ``degree`` of them in a row, and what waits beside the first for the second."""
    shared_um2: float
    """Table memory and control, which serve all lanes."""
    abc_delay_ps: float
    """Longest combinational path inside one block, as the mapper estimates it without wires."""

    @property
    def lane_um2(self) -> float:
        """What each further lane costs, multiply-adds included."""
        return round(self.decoder_lane_um2 + self.table_lane_um2 + self.multiply_add_um2, 3)

    def unit_um2(self, lanes: int) -> float:
        """A unit of so many lanes, but for a few gates between its parts."""
        return round(self.shared_um2 + lanes * self.lane_um2, 3)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return dataclasses.asdict(self) | {"lane_um2": self.lane_um2}


def lane_area(config: FlexSfuConfig, name: str, run: Synthesiser) -> LaneArea:
    """Areas of one lane of a unit; its parts are synthesised one by one, so that equal ones are found again."""
    one = dataclasses.replace(config, lanes=1, enabled=True)
    decoder = run(AddressDecoder(one), "address_decoder")
    table = run(CoefficientTable(one), "coefficient_table")
    steps = horner_steps(one)
    bare = run(steps[-1], "multiply_add")
    multiply_add_um2 = one.degree * bare.block("lane").area_um2
    control_um2 = one.degree * (bare.area_um2 - bare.block("lane").area_um2)
    if (beside := steps[0].beside) is not None:  # registers, of which each lane has two words
        waiting_um2 = run(steps[0], "multiply_add").area_um2 - bare.area_um2
        own = 2 * LANE_BITS / beside.size
        multiply_add_um2 += own * waiting_um2
        control_um2 += (1 - own) * waiting_um2
    lanes = decoder.block("lane").area_um2, table.block("lane").area_um2
    blocks = (*decoder.blocks, *table.blocks, *bare.blocks)
    return LaneArea(
        formats=name, segments=one.segments, degree=one.degree, double_buffered=one.double_buffered,
        decoder_lane_um2=lanes[0], table_lane_um2=lanes[1],
        multiply_add_um2=round(multiply_add_um2, 3),
        shared_um2=round(decoder.area_um2 + table.area_um2 - sum(lanes) + control_um2, 3),
        abc_delay_ps=max(block.abc_delay_ps or 0.0 for block in blocks),
    )  # fmt: skip


def sweep_lanes(
    config: MachineConfig,
    *,
    liberty: Path | None = None,
    node_nm: float | None = None,
    cache: Path,
    segments: Iterable[int] = SEGMENT_COUNTS,
    progress: Callable[[str], None] = lambda _: None,
) -> tuple[LaneArea, ...]:
    """Areas of one lane: FP16 alone and all formats, both degrees, every size; every set of formats and the second
    table at the machine's size.

    Raises:
        UserError, SynthesisError: As :func:`lanewise.synth.synthesise`.
    """
    library = load_liberty(liberty, node_nm)
    run = Synthesiser(liberty=library, clock_ns=config.clock_ns, cache=cache, progress=progress)
    size = config.flex_sfu.segments
    units = [
        (name, FlexSfuConfig(segments=count, degree=degree, formats=FORMAT_SETS[name]))
        for name in ("fp16", "all")
        for degree in (1, 2)
        for count in segments
    ]
    units += [(name, FlexSfuConfig(segments=size, formats=names)) for name, names in FORMAT_SETS.items()]
    units += [
        (name, FlexSfuConfig(segments=size, formats=FORMAT_SETS[name], double_buffered=True))
        for name in ("fp16", "all")
    ]
    return tuple(lane_area(unit, name, run) for name, unit in dict.fromkeys(units))
