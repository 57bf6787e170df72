"""Area by block: yosys maps the generated Verilog to a standard-cell library. See docs/area.md."""

from lanewise.synth.block import Block
from lanewise.synth.component import Synthesis, Synthesiser
from lanewise.synth.fp16 import Fp16Comparison, compare_fp16, equal_area_fp16
from lanewise.synth.int8 import Int8Comparison, compare_int8, equal_area_int8
from lanewise.synth.lanes import FORMAT_SETS, LaneArea, lane_area, sweep_lanes
from lanewise.synth.liberty import Liberty, load_liberty
from lanewise.synth.machine import SynthResult, synthesise
from lanewise.synth.segments import SegmentArea, sweep_segments
from lanewise.synth.yosys import SynthesisError

__all__ = [
    "FORMAT_SETS",
    "Block",
    "Fp16Comparison",
    "Int8Comparison",
    "LaneArea",
    "Liberty",
    "SegmentArea",
    "SynthResult",
    "Synthesis",
    "SynthesisError",
    "Synthesiser",
    "compare_fp16",
    "compare_int8",
    "equal_area_fp16",
    "equal_area_int8",
    "lane_area",
    "load_liberty",
    "sweep_lanes",
    "sweep_segments",
    "synthesise",
]
