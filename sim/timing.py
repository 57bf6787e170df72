"""The timing table: unit, beats and latency of every instruction, from the machine's config alone.

Clocks are counted from the clock in which an instruction starts. It holds its unit for ``beats`` clocks; beat j
of its result can be used by an instruction that starts ``latency + j`` clocks later (chaining), or, where
``chained`` is false, only when all of it is there.
"""

from dataclasses import dataclass
from functools import cache
from math import ceil

from lanewise.config import ROW_SAMPLER_LATENCY_CLK, MachineConfig, OperandPathConfig
from lanewise.sim.program import Instruction

STREAMS = ("load", "store", "matrix", "vector", "operand")
"""In-order instruction streams; at most one start a clock in each."""

UNITS = (
    "dma_load",
    "dma_store",
    "matrix",
    "operand_path",
    "vector_fma",
    "vector_alu",
    "vector_divide",
    "vector_memory",
    "flex_sfu",
    "flex_sfu_load",
    "row_sampler",
)
"""What an instruction can occupy. DMA has AXI4's independent read and write channels; a double-buffered Flex-SFU loads one
table while it uses the other."""

_STREAM_OF_UNIT = {
    "dma_load": "load",
    "dma_store": "store",
    "matrix": "matrix",
    "operand_path": "operand",
    "row_sampler": "operand",
}

_FMA = (
    "vfadd vfsub vfrsub vfmul vfmadd vfmacc vfnmsub vfnmsac vfmsub vfmsac vfnmadd vfnmacc vfcvt.f.x vfcvt.x.f vfncvt.f.f "
    "vfncvt.x.f vfncvt.f.x vfwcvt.f.f vfwcvt.f.x vfwmul vfwadd vfwmacc vwmul vwmacc"
)
_ALU = (
    "vadd vsub vrsub vand vor vxor vsll vsrl vsra vnsrl vmin vmax vmv vmerge vfmin vfmax vfmerge vfmv vfsgnj vfsgnjn vfsgnjx "
    "vmflt vmfle vmfeq vmfgt vmfge vmfne vmseq vmslt vmsle vrgather vcompress vid vzext vsext"
)
_UNIT_OF_OPCODE = (
    dict.fromkeys(_FMA.split(), "vector_fma")
    | dict.fromkeys(_ALU.split(), "vector_alu")
    | dict.fromkeys(["vfrec7", "vfrsqrt7"], "vector_alu")
    | dict.fromkeys(["vfdiv", "vfrdiv", "vfsqrt"], "vector_divide")
    | dict.fromkeys(["vfredusum", "vfwredusum", "vfredmax", "vfredmin", "vwredsum"], "vector_fma")
    | dict.fromkeys(["vle", "vse", "vlse", "vsse", "vluxei", "vsuxei"], "vector_memory")
    | dict.fromkeys(["sfu.load", "sfu.execute"], "flex_sfu")
    | dict.fromkeys(["mm.tile", "mm.accumulate"], "matrix")
    | dict.fromkeys(["op.settings", "op.quantise"], "operand_path")
    | {"op.sample": "row_sampler"}
    | {"dma.load": "dma_load", "dma.store": "dma_store"}
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """Static timing of one instruction on one machine."""

    unit: str
    stream: str
    beats: int
    """Clocks that the unit is held."""
    latency_clk: int
    """From the start to the first beat of the result."""
    chained: bool
    """Whether a consumer may start at the first beat."""
    drain_clk: int = 0
    """Clocks that the drain of the MAC array is held after the last beat; 0 for everything else."""


@cache
def opcode_base(opcode: str) -> str:
    """The mnemonic without its operand form: ``vfmadd.vf`` -> ``vfmadd``.

    >>> opcode_base("vfncvt.f.f.w"), opcode_base("vle16.v"), opcode_base("sfu.execute")
    ('vfncvt.f.f', 'vle', 'sfu.execute')
    """
    base = opcode
    while base not in _UNIT_OF_OPCODE:
        shorter = base.rpartition(".")[0] or base.rstrip("0123456789")
        if shorter in ("", base):
            raise ValueError(f"opcode must be one that the timing table has, not {opcode!r}")
        base = shorter
    return base


def timing(instruction: Instruction, config: MachineConfig) -> Timing:
    """Unit, beats and latency of ``instruction``.

    Raises:
        ValueError: The table has no such opcode, or the machine has no such unit.
    """
    base = opcode_base(instruction.opcode)
    unit = _UNIT_OF_OPCODE[base]
    stream = _STREAM_OF_UNIT.get(unit, "vector")
    if stream in ("load", "store"):
        descriptors = max(1, instruction.runs) if instruction.indexed else 1
        beats = descriptors * config.dma.descriptor_clk + instruction.runs * ceil(
            instruction.run_bytes / config.dma.bytes_per_clk
        )
        return Timing(
            unit=unit, stream=stream, beats=beats, latency_clk=config.dma.latency_clk, chained=False
        )
    if unit == "matrix":
        drain = config.matrix.leave_clk(reload=instruction.reload) if base == "mm.tile" else 0
        return Timing(
            unit=unit,
            stream=stream,
            beats=instruction.steps,
            latency_clk=config.matrix.result_latency_clk,
            chained=False,
            drain_clk=drain,
        )
    if stream == "operand":
        beats, latency = _operand_clk(base, instruction, config.operand_path)
        return Timing(unit=unit, stream=stream, beats=beats, latency_clk=latency, chained=False)
    vector = config.vector
    beats = max(1, ceil(instruction.vl * instruction.sew_bits / vector.bits_per_clk))
    latency, chained = vector.alu_latency_clk, True
    if unit == "vector_fma":
        latency = vector.fma_latency_clk
        if "red" in base:
            latency, chained = vector.reduction_latency_clk, False
    elif unit == "vector_divide":
        beats *= vector.divide_beats
        latency = vector.divide_beats
    elif unit == "vector_memory":
        latency = vector.memory_latency_clk
        if base in ("vlse", "vsse", "vluxei", "vsuxei"):  # one element a clock in each lane's bank
            beats = ceil(instruction.vl / vector.lanes)
    elif instruction.opcode in (
        "vrgather.vv",
        "vcompress.vm",
    ):  # one element a clock and lane, from anywhere in the group: no chaining
        beats, chained = ceil(instruction.vl / vector.lanes), False
    elif unit == "flex_sfu":
        if not config.flex_sfu.enabled:
            raise ValueError(f"{instruction.opcode} needs a machine with flex_sfu.enabled = true")
        sfu, chained = config.flex_sfu, base == "sfu.execute"
        if chained:
            latency, beats = (
                sfu.latency_clk,
                ceil(instruction.vl / sfu.elements_per_clk(instruction.sew_bits)),
            )
        else:  # waits until what is in flight has left the tree, as the RTL does; charged on an idle unit, too
            latency, beats = sfu.levels + 1, instruction.vl
            unit = "flex_sfu_load" if sfu.double_buffered else unit
    elif base in ("vfrec7", "vfrsqrt7"):
        latency = vector.estimate_latency_clk
    return Timing(unit=unit, stream=stream, beats=beats, latency_clk=latency, chained=chained)


def _operand_clk(base: str, instruction: Instruction, config: OperandPathConfig) -> tuple[int, int]:
    """Beats and latency in the operand path or the row sampler."""
    if (
        base == "op.settings"
    ):  # taken the clock after the tensor before has left; its own beats from the next clock on
        return 1, 2
    if base == "op.sample":  # a row a clock; what is handed over is in its buffer the clock after
        return instruction.vl, ROW_SAMPLER_LATENCY_CLK + 1
    if instruction.block not in config.blocks:
        raise ValueError(f"block must be one of {config.blocks}, not {instruction.block!r}")
    return ceil(instruction.vl / config.lanes), config.latency_clk(instruction.block)
