"""Flex-SFU's area against its segments."""

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from lanewise.config import SEGMENT_COUNTS, MachineConfig
from lanewise.rtl.flex_sfu import FlexSfu
from lanewise.synth.component import Synthesiser
from lanewise.synth.liberty import load_liberty


@dataclass(frozen=True, kw_only=True)
class SegmentArea:
    """Areas of a Flex-SFU with this many segments."""

    segments: int
    lanes: int
    area_um2: float
    decoder_um2: float
    table_um2: float
    multiply_add_um2: float
    """The multiply-adds, which do not depend on the segments."""

    @property
    def without_multiply_adds_um2(self) -> float:
        """Area without multiply-adds."""
        return round(self.area_um2 - self.multiply_add_um2, 3)


def sweep_segments(
    config: MachineConfig,
    *,
    liberty: Path | None = None,
    node_nm: float | None = None,
    cache: Path,
    segments: Iterable[int] = SEGMENT_COUNTS,
    progress: Callable[[str], None] = lambda _: None,
) -> tuple[SegmentArea, ...]:
    """Areas of the machine's Flex-SFU for each number of segments.

    Raises:
        UserError, SynthesisError: As :func:`lanewise.synth.synthesise`.
        ValueError: A number of segments is not one of ``SEGMENT_COUNTS``.
    """
    library = load_liberty(liberty, node_nm)
    run = Synthesiser(liberty=library, clock_ns=config.clock_ns, cache=cache, progress=progress)
    areas = []
    for count in segments:
        unit = run(FlexSfu(dataclasses.replace(config.flex_sfu, enabled=True, segments=count)), "flex_sfu")
        areas.append(
            SegmentArea(
                segments=count,
                lanes=config.flex_sfu.lanes,
                area_um2=unit.area_um2,
                decoder_um2=unit.block("decoder").area_um2,
                table_um2=unit.block("table").area_um2,
                multiply_add_um2=unit.block("multiply_add").area_um2,
            )
        )
    return tuple(areas)
