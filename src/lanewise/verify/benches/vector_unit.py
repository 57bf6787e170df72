"""The vector unit against the golden machine and the timing engine."""

from collections.abc import Sequence
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge

from lanewise.config import DmaConfig, FlexSfuConfig, MachineConfig, ScratchpadConfig, VectorConfig
from lanewise.rtl.vector_unit import LANDINGS
from lanewise.verify.bench import Bench, Case
from lanewise.verify.testbench import Testbench
from lanewise.verify.vector_harness import VectorHarness
from lanewise.verify.vector_programs import (
    REGION_BYTES,
    REGIONS,
    Issue,
    ProgramWriter,
    end_program,
    expected_memory,
    initial_memory,
    payloads,
    random_program,
    simulated_clocks,
)


def machine(lanes: int, vlen_bits: int) -> MachineConfig:
    """A small machine for a bench."""
    return MachineConfig(
        vector=VectorConfig(lanes=lanes, vlen_bits=vlen_bits), flex_sfu=FlexSfuConfig(lanes=lanes, segments=8),
        scratchpad=ScratchpadConfig(size_kib=32, banks=16), dma=DmaConfig(bytes_per_clk=max(32, 4 * lanes)),
    )  # fmt: skip


def _cases(config: MachineConfig, full: bool) -> Sequence[Case]:
    del config
    shapes = [(2, 128), (1, 128), (4, 512)] if full else [(2, 128)]
    programs = 200 if full else 40
    return [
        Case(label=f"{lanes}x{vlen}", config=machine(lanes, vlen), parameters={"programs": programs})
        for lanes, vlen in shapes
    ]


BENCH = Bench(component=VectorHarness, cases=_cases)


@cocotb.test()
async def random_programs(dut: Any) -> None:
    """Programs of random instructions: what they leave in registers and memory, and every instruction's start and end."""
    tb = await Testbench.start(dut, MachineConfig)
    for _ in range(tb.parameters["programs"]):
        issues = random_program(tb.config, tb.rng, 60)
        memory = initial_memory(tb.config, tb.rng)
        await fill(tb, memory)
        starts, landings = await run(tb, issues)
        found = await dump(tb, len(memory))
        expected = expected_memory(tb.config, issues, memory)
        if found != expected:
            raise AssertionError(f"{await explain(tb, issues, memory)}; seed {tb.seed}")
        tb.check_values(np.frombuffer(found, np.uint8), np.frombuffer(expected, np.uint8), "memory")
        check_clocks(tb, issues, starts, landings)


def check_clocks(tb: Testbench, issues: Sequence[Issue], starts: Sequence[int], landings: Sequence[Sequence[int]]) -> None:
    """Hold each instruction's start, and the end of what lands, to the timing engine."""
    expected_starts, expected_landings = simulated_clocks(tb.config, issues)
    first = starts[0]
    relative = [clock - first for clock in starts]
    if relative != expected_starts:
        at = next(k for k, (a, b) in enumerate(zip(relative, expected_starts, strict=True)) if a != b)
        text = "\n".join(
            f"{k} {relative[k]} {expected_starts[k]}: {i.operation.mnemonic} {i.decoded} vl {i.vl} {i.vtype} region {i.region}"
            for k, i in enumerate(issues[: at + 1])
        )
        tb.dut._log.error("%s", text)
    tb.check_clocks(relative, expected_starts, "starts")
    for name, clocks, wanted in zip(LANDINGS, landings, expected_landings, strict=True):
        tb.check_clocks([clock - first for clock in clocks], wanted, f"ends of {name}")
    tb.count_clocks(max(starts) - first)


async def fill(tb: Testbench, memory: bytes) -> None:
    """Write the scratchpad from address 0 on."""
    width = tb.config.dma.bytes_per_clk
    for address in range(0, len(memory), width):
        part = memory[address : address + width]
        tb.port("fill__enable").set((1 << len(part)) - 1)
        tb.port("fill__address").set(address)
        tb.port("fill__data").set(int.from_bytes(part, "little"))
        await tb.wait(1)
    tb.port("fill__enable").set(0)
    await tb.wait(2)


async def dump(tb: Testbench, size: int) -> bytes:
    """Read the scratchpad from address 0 on."""
    width, found = tb.config.dma.bytes_per_clk, b""
    tb.port("dump__enable").set(1)
    for address in range(0, size, width):
        tb.port("dump__address").set(address)
        await tb.wait(2)
        found += tb.port("dump__data").get().to_bytes(width, "little")
    tb.port("dump__enable").set(0)
    return found[:size]


async def run(tb: Testbench, issues: Sequence[Issue]) -> tuple[list[int], list[list[int]]]:
    """Feed the instructions one a clock; clocks in which they started, and in which results landed, by unit."""
    ready, valid, payload = (tb.port(f"i__{name}") for name in ("ready", "valid", "payload"))
    started, landed = tb.port("started"), tb.port("landed")
    words = list(payloads(issues))
    await tb.reset()
    starts: list[int] = []
    landings: list[list[int]] = [[] for _ in range(5)]
    edge = RisingEdge(tb.dut.clk)
    fed, idle = 0, 0
    valid.set(1)
    payload.set(words[0])
    while len(starts) < len(words) or idle < 200:
        await edge
        tb.clk += 1
        idle += 1
        if started.get():
            starts.append(tb.clk)
            idle = 0
        if bits := landed.get():
            for unit in range(5):
                if bits >> unit & 1:
                    landings[unit].append(tb.clk)
        if fed < len(words) and ready.get():
            fed += 1
            if fed < len(words):
                payload.set(words[fed])
            else:
                valid.set(0)
        if len(starts) < len(words):
            assert idle < 5000, f"instruction {len(starts)} never starts: {issues[len(starts)]}; seed {tb.seed}"
    assert not tb.port("illegal").get(), f"an instruction is unknown to the decoder; seed {tb.seed}"
    return starts, landings


async def explain(tb: Testbench, issues: Sequence[Issue], memory: bytes) -> str:
    """The instruction of a failing program after which registers or memory first differ, and how."""
    low, high = 5, len(issues)
    while low < high:
        middle = (low + high) // 2
        found, expected = await outcome(tb, prefix(tb.config, issues, middle), memory)
        low, high = (low, middle) if found != expected else (middle + 1, high)
    part = prefix(tb.config, issues, low)
    found, expected = await outcome(tb, part, memory)
    places = [k for k, (a, b) in enumerate(zip(found, expected, strict=True)) if a != b]
    text = "\n".join(str(issue) for issue in issues[max(0, low - 12) : low])
    first = ", ".join(where(tb.config, place) for place in places[:6])
    values = f"{bytes(found[k] for k in places[:6]).hex()} instead of {bytes(expected[k] for k in places[:6]).hex()}"
    return f"after instruction {low - 1}: {first}: {values}\n{text}"


def prefix(config: MachineConfig, issues: Sequence[Issue], count: int) -> list[Issue]:
    """The first instructions, then the end of a program."""
    writer = ProgramWriter(config=config, rng=np.random.default_rng(0), issues=list(issues[:count]))
    end_program(writer)
    return writer.issues


async def outcome(tb: Testbench, issues: Sequence[Issue], memory: bytes) -> tuple[bytes, bytes]:
    """What a program leaves, and should."""
    await fill(tb, memory)
    await run(tb, issues)
    return await dump(tb, len(memory)), expected_memory(tb.config, issues, memory)


def where(config: MachineConfig, address: int) -> str:
    """A byte of memory after a program, by name."""
    place = address - REGIONS * REGION_BYTES
    size = config.vector.vlen_bits // 8
    return f"memory {address}" if place < 0 else f"v{place // size} byte {place % size}"


@cocotb.test()
async def triage(dut: Any) -> None:
    tb = await Testbench.start(dut, MachineConfig)
    from collections import Counter
    from fractions import Fraction

    from lanewise.isa.operations import OPERATIONS
    from lanewise.isa.vtype import Vtype
    from lanewise.verify.vector_programs import ProgramWriter, end_program
    bad, good = Counter(), Counter()
    for name, operation in OPERATIONS.items():
        if operation.unit == "vector_set" or name.startswith("sfu"):
            continue
        for _ in range(tb.parameters.get("per", 3)):
            writer = ProgramWriter(config=tb.config, rng=tb.rng)
            writer.vset(Vtype(8, Fraction(8)), tb.config.vector.vlen_bits)
            for register in [0, 8, 16, 24]:
                place = writer._place(OPERATIONS["vle8.v"])
                writer.add(OPERATIONS["vle8.v"], register, 0, 0, 1, place[1], 0, place[0])
            before = len(writer.issues)
            for _ in range(60):
                writer.draw_vset()
                n = len(writer.issues)
                writer.draw(operation)
                if len(writer.issues) > n:
                    break
            else:
                continue
            writer.issues = [*writer.issues[:before], *writer.issues[-2:]]
            end_program(writer)
            issues = writer.issues
            memory = initial_memory(tb.config, tb.rng)
            await fill(tb, memory)
            await run(tb, issues)
            found = await dump(tb, len(memory))
            expected = expected_memory(tb.config, issues, memory)
            if found != expected:
                if bad[name] == 0:
                    at = [k for k, (a, b) in enumerate(zip(found, expected, strict=True)) if a != b]
                    i = issues[-6]
                    base = 4096
                    tb.dut._log.error("%s vd%d vs2 %d vs1 %d vm %d vl %d %s rs1 %x rs2 %x: bytes %s found %s expected %s", name, i.decoded.vd, i.decoded.vs2, i.decoded.vs1, i.decoded.vm, i.vl, i.vtype, i.rs1, i.rs2, [f"v{(k-base)//16}+{(k-base)%16}" if k >= base else k for k in at[:8]], bytes(found[k] for k in at[:8]).hex(), bytes(expected[k] for k in at[:8]).hex())
                bad[name] += 1
            else:
                good[name] += 1
    tb.dut._log.error("bad %s", dict(bad))
    tb.dut._log.error("good %d names", len(good))
    tb.check_values(0, 0)


@cocotb.test()
async def simple(dut: Any) -> None:
    tb = await Testbench.start(dut, MachineConfig)
    from fractions import Fraction

    from lanewise.isa.operations import OPERATIONS
    from lanewise.isa.vtype import Vtype
    from lanewise.verify.vector_programs import ProgramWriter, end_program
    w = ProgramWriter(config=tb.config, rng=tb.rng)
    w.vset(Vtype(8, Fraction(8)), tb.config.vector.vlen_bits)
    for r in [0, 8, 16, 24]:
        w.add(OPERATIONS["vle8.v"], r, 0, 0, 1, 16 * r, 0, 0)
    end_program(w)
    memory = bytes(k % 251 for k in range(len(initial_memory(tb.config, tb.rng))))
    await fill(tb, memory)
    assert (await dump(tb, len(memory))) == memory
    s, l = await run(tb, w.issues)
    tb.dut._log.error("%s %s", [x - s[0] for x in s], [[x - s[0] for x in y] for y in l])
    found = await dump(tb, len(memory))
    expected = expected_memory(tb.config, w.issues, memory)
    at = [k for k, (a, b) in enumerate(zip(found, expected, strict=True)) if a != b]
    tb.dut._log.error("%d %s", len(at), at[:20])
    for k in range(0, 512, 32):
        tb.dut._log.error("%s\n %s", found[4096 + k:4096 + k + 32].hex(), expected[4096 + k: 4096 + k + 32].hex())
    tb.check_values(0, 0)
