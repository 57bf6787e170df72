"""Chaining byte by byte: whatever follows whatever, nothing is read before it has landed or overwritten before it is read.

The bytes' clocks are written down here from the instructions' rates alone; the starts are the engine's. Registers are read by the word of
the lanes: a word at the latest when its first element is wanted, and for the last time when its last one is. In a result the bytes of
an element land together.
"""

import dataclasses
import itertools
from collections.abc import Iterator

import pytest

from lanewise.config import FlexSfuConfig, MachineConfig, VectorConfig
from lanewise.isa.operations import OPERATIONS, Rate, Unit, Width
from lanewise.sim.engine import run
from lanewise.sim.program import Instruction, Program
from lanewise.sim.timing import sew_bits, timing

LANES = 2
CONFIG = dataclasses.replace(
    MachineConfig(), vector=VectorConfig(lanes=LANES, vlen_bits=128), flex_sfu=FlexSfuConfig(lanes=1)
)
WORD, REGISTER = 4 * LANES, 16
"""Bytes."""
PRODUCERS = [
    ("vfadd.vv", 16), ("vadd.vv", 8), ("vfwmul.vv", 32), ("vfncvt.f.f.w", 32), ("vnsrl.wi", 16), ("vmflt.vv", 16), ("vmseq.vv", 8),
    ("vmand.mm", 8), ("vlse16.v", 16), ("vle8.v", 8), ("vle32.v", 32), ("vfredusum.vs", 32), ("vrgather.vv", 16), ("vcompress.vm", 32),
    ("vzext.vf2", 16), ("vzext.vf4", 32), ("sfu.execute", 16), ("vmv.s.x", 16), ("vid.v", 8),
]  # fmt: skip
CONSUMERS = [
    ("vfadd.vv", 16), ("vadd.vv", 8), ("vfwmul.vv", 32), ("vfncvt.f.f.w", 32), ("vnsrl.wi", 16), ("vmflt.vv", 32), ("vmand.mm", 8),
    ("vmerge.vvm", 8), ("vmerge.vvm", 32), ("vse8.v", 8), ("vsse16.v", 16), ("vse32.v", 32), ("vfredusum.vs", 32), ("vfwredusum.vs", 16),
    ("vrgather.vv", 16), ("vslidedown.vx", 16), ("vcompress.vm", 16), ("vzext.vf4", 32), ("sfu.execute", 16), ("vredsum.vs", 8),
]  # fmt: skip


def per_clk(opcode: str, bits: int) -> int:
    operation = OPERATIONS[opcode]
    if operation.unit is Unit.FLEX_SFU:
        return 32 // bits  # one lane
    return {
        Rate.WIDEST: 32 * LANES // bits,
        Rate.LANES: LANES,
        Rate.ONE: 1,
        Rate.MASK: 32 * LANES,
        Rate.SINGLE: 1 << 20,
    }[operation.rate]


def element_bits(opcode: str, bits: int, width: Width) -> int:
    return width.bits(sew_bits(Instruction(opcode=opcode, sew_bits=bits), OPERATIONS[opcode]), bits)


def group(first: int, vl: int, bits: int) -> tuple[str, ...]:
    registers = max(1, -(-vl * bits // (8 * REGISTER)))
    return tuple(f"v{i}" for i in range(first, first + (1 << (registers - 1).bit_length())))


def landing(opcode: str, bits: int, vl: int, first: int, start: int) -> dict[int, int]:
    """By byte, the clock in which a reader of it alone could start."""
    operation = OPERATIONS[opcode]
    clocks = timing(Instruction(opcode=opcode, vl=vl, sew_bits=bits), CONFIG)
    width = element_bits(opcode, bits, operation.vd)
    base = REGISTER * first
    if operation.vd is Width.FIRST:
        return {base + byte: start + clocks.last_clk for byte in range(width // 8)}
    times = {}
    for element in range(vl):
        for byte in range(element * width // 8, max(element * width // 8 + 1, (element + 1) * width // 8)):
            times[base + byte] = start + clocks.lands_clk + element // per_clk(opcode, bits)
    return times


def reading(
    opcode: str, bits: int, vl: int, first: int, start: int, source: str
) -> dict[int, tuple[int, int]]:
    """By byte, the first and the last clock in which its word is read, as starts of a reader of that word alone."""
    operation = OPERATIONS[opcode]
    width = element_bits(opcode, bits, getattr(operation, source))
    base, times = REGISTER * first, {}
    clocks = timing(Instruction(opcode=opcode, vl=vl, sew_bits=bits), CONFIG)
    elements = 1 if getattr(operation, source) is Width.FIRST else vl
    for element in range(elements):
        clk = start + element // per_clk(opcode, bits)
        word = element * width // 8 // WORD
        for byte in range(base + word * WORD, base + word * WORD + WORD):
            early, late = times.get(byte, (clk, clk))
            times[byte] = (early, max(late, clk))
    if operation.whole and source == "vs2":
        return dict.fromkeys(times, (start, start + clocks.beats - 1))
    return times


def sources(opcode: str) -> Iterator[str]:
    operation = OPERATIONS[opcode]
    if operation.stores:
        yield "vd"
        return
    for name in ("vs2", "vs1"):
        if getattr(operation, name) is not None:
            yield name


def instruction(opcode: str, bits: int, vl: int, target: int, source: str = "", at: int = 0) -> Instruction:
    """With one operand of interest at ``at``; others in registers that nobody writes."""
    operation = OPERATIONS[opcode]
    reads: list[tuple[str, ...]] = []
    for name in sources(opcode):
        width = element_bits(opcode, bits, getattr(operation, name))
        single = getattr(operation, name) in (Width.MASK, Width.FIRST)
        first = at if name == source else 24
        reads.append((f"v{first}",) if single else group(first, vl, width))
    if operation.eew_bits and not operation.stores:
        names: tuple[str, ...] = ("@a",)
    else:
        names = tuple(name for registers in reads for name in registers)
    if operation.stores:
        writes: tuple[str, ...] = ("@b",)
    else:
        width = element_bits(opcode, bits, operation.vd)
        writes = group(target, 1 if operation.vd in (Width.FIRST, Width.MASK) else vl, width)
    operands = () if operation.eew_bits else tuple(registers[0] for registers in reads)
    return Instruction(opcode=opcode, vl=vl, sew_bits=bits, reads=names, writes=writes, operands=operands)


def starts(*code: Instruction) -> list[int]:
    seen: list[int] = []
    program = Program(body=code, buffers_bytes={"@a": 1, "@b": 1})
    run(program, CONFIG, summarise=False, watcher=lambda _, start, __: seen.append(start))
    return seen


LENGTHS = (1, 2, 5, 8, 16, 31, 32)


def fits(bits: int, vl: int) -> bool:
    return vl * bits <= 4 * 8 * REGISTER


@pytest.mark.parametrize(("opcode", "bits"), PRODUCERS)
def test_nothing_is_read_before_it_has_landed(opcode, bits):
    checked = waited = 0
    for vl in filter(lambda vl: fits(bits, vl), LENGTHS):
        first = instruction(opcode, bits, vl, 8)
        for (reader, reader_bits), reader_vl in itertools.product(CONSUMERS, LENGTHS):
            if not fits(reader_bits, reader_vl):
                continue
            for source, place in itertools.product(sources(reader), range(len(first.writes))):
                second = instruction(reader, reader_bits, reader_vl, 16, source, 8 + place)
                at, then = starts(first, second)
                landed = landing(opcode, bits, vl, 8, at)
                read = reading(reader, reader_bits, reader_vl, 8 + place, then, source)
                for byte in landed.keys() & read.keys():
                    assert read[byte][0] >= landed[byte], (first, second, byte)
                    checked += 1
                waited += then > at + 1
    assert checked
    assert waited


@pytest.mark.parametrize(("opcode", "bits"), PRODUCERS)
def test_nothing_is_overwritten_before_it_is_read_or_after_it_is_written(opcode, bits):
    checked = 0
    for vl in filter(lambda vl: fits(bits, vl), LENGTHS):
        for (other, other_bits), other_vl in itertools.product(CONSUMERS, LENGTHS):
            if not fits(other_bits, other_vl):
                continue
            for source in sources(other):
                reader = instruction(other, other_bits, other_vl, 16, source, 8)
                for first in range(8, 8 + len(reader.reads)):
                    at, then = starts(reader, instruction(opcode, bits, vl, first))
                    landed = landing(opcode, bits, vl, first, then)
                    read = reading(other, other_bits, other_vl, 8, at, source)
                    for byte in landed.keys() & read.keys():
                        assert landed[byte] > read[byte][1], (reader, opcode, vl, byte)
                        checked += 1
            if not OPERATIONS[other].stores:
                at, then = starts(
                    instruction(other, other_bits, other_vl, 8), instruction(opcode, bits, vl, 8)
                )
                before, after = (
                    landing(other, other_bits, other_vl, 8, at),
                    landing(opcode, bits, vl, 8, then),
                )
                assert all(after[byte] > before[byte] for byte in before.keys() & after.keys())
    assert checked
