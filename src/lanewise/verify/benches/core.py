"""The core against the golden machine, bit for bit, and against the timing engine, clock for clock: every instruction's start and end."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import cocotb
import numpy as np
from cocotbext.axi import AxiBus, AxiRam

from lanewise.config import (
    DmaConfig,
    FlexSfuConfig,
    MachineConfig,
    MatrixConfig,
    ScratchpadConfig,
    VectorConfig,
    WeightGeneratorConfig,
)
from lanewise.isa.operations import OPERATIONS, Latency, Unit
from lanewise.mapping.lower import Lowered
from lanewise.mapping.simulate import network_cost
from lanewise.rtl.core import Core
from lanewise.rtl.dma import AXI_PREFIX
from lanewise.sim.dma import dma_beats, memory_clk
from lanewise.verify.bench import Bench, Case
from lanewise.verify.core_entries import Command, Entry
from lanewise.verify.core_kernels import kernel_runs, simulated
from lanewise.verify.core_network import small_network_run
from lanewise.verify.core_outcomes import (
    Clocks,
    expected_external,
    initial_external,
    last_end,
    simulated_clocks,
)
from lanewise.verify.core_programs import END_ENTRIES, long_program, programs_of, random_program
from lanewise.verify.core_session import CoreSession
from lanewise.verify.core_writer import DUMPED, EXTERNAL_BYTES, REGION_BYTES, REGIONS
from lanewise.verify.external_memory import IdealMemory
from lanewise.verify.tag_counts import MODULUS, TagCounts
from lanewise.verify.testbench import Testbench

_LENGTH = 80
"""Instructions of a program."""
_TESTS = (
    "every_instruction",
    "random_programs",
    "hesitant_memory",
    "hesitant_host",
    "resets",
    "kernels",
    "network",
)
_ROUNDS = MODULUS + 500
"""Writes and reads of one buffer after which its counts have come round."""


def small_machine(
    lanes: int, vlen_bits: int, sfu: FlexSfuConfig, dma: DmaConfig, array: tuple[int, int, int] = (4, 4, 2), operand_bits: int = 4,
    generates: int = 0,
) -> MachineConfig:  # fmt: skip
    """A machine for a bench; ``array``: its rows, columns and lanes of the output path; ``generates``: bytes a clock of a weight generator, 0: none."""
    rows, columns, output_lanes = array
    return MachineConfig(
        vector=VectorConfig(lanes=lanes, vlen_bits=vlen_bits), flex_sfu=sfu,
        matrix=MatrixConfig(rows=rows, columns=columns, output_lanes=output_lanes, operand_bits=operand_bits),
        scratchpad=ScratchpadConfig(size_kib=64, banks=32), dma=dma,
        weight_generator=WeightGeneratorConfig(enabled=True, bytes_per_clk=generates) if generates else WeightGeneratorConfig(),
    )  # fmt: skip


def _cases(_: MachineConfig, full: bool) -> Sequence[Case]:
    everything = ("fp16", "bf16", "fp32", "int8")
    quick = [
        ("2x128", small_machine(
            2, 128, FlexSfuConfig(lanes=2, segments=8), DmaConfig(bytes_per_clk=16, latency_clk=21), generates=8,
        ), 60),
    ]  # fmt: skip
    wide = [
        ("1x128", small_machine(
            1, 128, FlexSfuConfig(lanes=1, segments=4, degree=2, formats=("fp16", "fp32")),
            DmaConfig(bytes_per_clk=4, latency_clk=9, descriptor_clk=1), array=(3, 5, 5),
        ), 450),
        ("4x512", small_machine(
            4, 512, FlexSfuConfig(lanes=4, segments=16, formats=everything, double_buffered=True),
            DmaConfig(bytes_per_clk=32, latency_clk=64), array=(7, 3, 2),
        ), 450),
        ("8x1024", small_machine(8, 1024, FlexSfuConfig(lanes=8, segments=32), DmaConfig(), array=(16, 12, 4), generates=32), 300),
        ("4x128", small_machine(4, 128, FlexSfuConfig(lanes=4, segments=8), DmaConfig(), array=(2, 3, 3)), 300),
        ("2x128-baseline", small_machine(2, 128, FlexSfuConfig(lanes=2, enabled=False), DmaConfig(bytes_per_clk=8)), 300),
        ("2x128-unsplit", small_machine(
            2, 128, FlexSfuConfig(lanes=2, segments=8), DmaConfig(bytes_per_clk=8), operand_bits=8,
        ), 60),
    ]  # fmt: skip
    cases = []
    for label, config, programs in quick + wide if full else quick:
        longest = full and label == "2x128"
        tests = [*_TESTS, "counts_come_round"] if longest else list(_TESTS)
        if not config.matrix.splits:
            tests.remove("network")  # there is none without the matrix stream
        parameters = {"programs": 900 if longest else programs}
        cases.append(Case(label=label, config=config, parameters=parameters, tests=tests))
    return cases


BENCH = Bench(component=Core, cases=_cases)


@cocotb.test()
async def every_instruction(dut: Any) -> None:
    """Each instruction at each SEW and LMUL that it exists for, masked and not, any vl, on special values."""
    tb = await Testbench.start(dut, MachineConfig)
    for operation in OPERATIONS.values():
        if operation.unit in (Unit.SET, Unit.FLEX_SFU) or operation.latency is Latency.TABLE:
            continue  # in the other tests
        for entries in programs_of(tb.config, tb.rng, operation, _LENGTH):
            await _check(tb, entries, _ideal)


@cocotb.test()
async def random_programs(dut: Any) -> None:
    """Instructions and DMA commands of all kinds, memory as fast as the config says."""
    tb = await Testbench.start(dut, MachineConfig)
    for _ in range(tb.parameters["programs"]):
        await _check(tb, random_program(tb.config, tb.rng, _LENGTH), _ideal)


@cocotb.test()
async def hesitant_memory(dut: Any) -> None:
    """The same with a memory whose channels pause at random; the engine is told what DMA took, and nothing else."""
    tb = await Testbench.start(dut, MachineConfig)
    memory = AxiRam(AxiBus.from_prefix(dut, AXI_PREFIX), dut.clk, dut.rst, size=EXTERNAL_BYTES)
    read, write = memory.read_if, memory.write_if
    channels = (read.ar_channel, read.r_channel, write.aw_channel, write.w_channel, write.b_channel)
    for k in range(tb.parameters["programs"] // 2):
        chance = (0.0, 0.3, 0.8)[k % 3]
        for channel in channels:
            channel.set_pause_generator(_pauses(tb, chance))
        await _check(
            tb, random_program(tb.config, tb.rng, _LENGTH), lambda _, contents: _Axi(memory, contents)
        )


@cocotb.test()
async def hesitant_host(dut: Any) -> None:
    """Gaps between the instructions of every stream: bits alone, for when they come is no matter of the engine."""
    tb = await Testbench.start(dut, MachineConfig)
    for k in range(tb.parameters["programs"] // 4):
        entries = random_program(tb.config, tb.rng, _LENGTH)
        external = initial_external(tb.config, tb.rng)
        found, _, _ = await _outcome(tb, entries, external, _ideal, p_gap=(0.1, 0.5)[k % 2])
        expected = expected_external(tb.config, entries, external)
        tb.check_values(np.frombuffer(found, np.uint8), np.frombuffer(expected, np.uint8), "external memory")


@cocotb.test()
async def resets(dut: Any) -> None:
    """A reset of one clock in the middle of a program leaves nothing behind: the next one is as after any other."""
    tb = await Testbench.start(dut, MachineConfig)
    for _ in range(tb.parameters["programs"] // 4):
        external = initial_external(tb.config, tb.rng)
        outer = _ideal(tb, external)
        await tb.reset()
        filled = REGIONS * REGION_BYTES // tb.config.dma.bytes_per_clk  # before that little runs
        limit = int(tb.rng.integers(100, filled + 900))
        await CoreSession(tb).run(random_program(tb.config, tb.rng, _LENGTH), outer.step, limit_clk=limit)
        for answer in ("rvalid", "bvalid"):  # memory is reset as well
            tb.port(f"{AXI_PREFIX}_{answer}").set(0)
        await _check(tb, random_program(tb.config, tb.rng, _LENGTH // 4), _ideal)


@cocotb.test()
async def kernels(dut: Any) -> None:
    """Kernels of the mapping at several sizes: memory as executing the Program leaves it, clocks as the engine prices it."""
    tb = await Testbench.start(dut, MachineConfig)
    for kernel in kernel_runs(tb.config, tb.rng):
        found, clocks, _ = await _outcome(tb, kernel.entries, kernel.before, _ideal)
        tb.check_values(np.frombuffer(found, np.uint8), np.frombuffer(kernel.after, np.uint8), kernel.name)
        _check_clocks(tb, kernel.entries, clocks, simulated(tb.config, kernel.program), f"{kernel.name}: ")


@cocotb.test()
async def network(dut: Any) -> None:
    """A whole small network from its quantised input to its results, task by task: memory, and every clock; in sum those of ``lanewise simulate``."""
    tb = await Testbench.start(dut, MachineConfig)
    run = small_network_run(tb.config, int(tb.rng.integers(1 << 31)))
    await tb.reset()
    outer, session, total = _ideal(tb, run.before), CoreSession(tb), 0
    for task in run.tasks:
        clocks, _ = await session.run(task.entries, outer.step)
        _check_clocks(tb, task.entries, clocks, simulated(tb.config, task.program), f"{task.name}: ")
        total += last_end(clocks)
    found = np.frombuffer(bytes(outer.contents), np.uint8)
    tb.check_values(found, np.frombuffer(run.after, np.uint8), "external memory")
    priced = network_cost(Lowered(tasks=run.lowered, unmapped=()), tb.config)
    tb.check_clocks([total], [priced.cycles], "clocks of the network")


@cocotb.test()
async def counts_come_round(dut: Any) -> None:
    """More reads and writes of one buffer than its counts can tell apart, by all streams."""
    tb = await Testbench.start(dut, MachineConfig)
    await _check(tb, long_program(tb.config, tb.rng, _ROUNDS), _ideal)


class _Axi:
    """A memory of cocotbext-axi."""

    def __init__(self, memory: AxiRam, contents: bytes) -> None:
        self._memory = memory
        memory.write(0, contents)

    def step(self) -> None:
        """It drives itself."""

    @property
    def contents(self) -> bytes:
        return bytes(self._memory.read(0, EXTERNAL_BYTES))


Memory = Callable[[Testbench, bytes], Any]


def _ideal(tb: Testbench, contents: bytes) -> IdealMemory:
    return IdealMemory(tb, bytearray(contents), memory_clk(tb.config.dma))


def _pauses(tb: Testbench, chance: float) -> Iterator[bool]:
    rng = np.random.default_rng(tb.rng.integers(1 << 32))
    while True:
        yield from (rng.random(4096) < chance).tolist()


async def _outcome(
    tb: Testbench, entries: Sequence[Entry], external: bytes, memory: Memory, p_gap: float = 0.0
) -> Any:  # fmt: skip
    """Runs a program: what external memory holds, when things happened, what DMA took."""
    await tb.reset()
    outer = memory(tb, external)
    clocks, dma_clk = await CoreSession(tb).run(entries, outer.step, p_gap)
    return bytes(outer.contents), clocks, dma_clk


async def _check(tb: Testbench, entries: Sequence[Entry], memory: Memory) -> None:
    """A program's bits and clocks."""
    external = initial_external(tb.config, tb.rng)
    found, clocks, dma_clk = await _outcome(tb, entries, external, memory)
    expected = expected_external(tb.config, entries, external)
    if found != expected:
        raise AssertionError(f"{await _explain(tb, entries, external, memory)}; seed {tb.seed}")
    tb.check_values(np.frombuffer(found, np.uint8), np.frombuffer(expected, np.uint8), "external memory")
    if memory is _ideal:
        dma = tb.config.dma
        predicted = [
            (beats := dma_beats(entry.transfer, dma), dma.latency_clk + beats - 1)
            for entry in entries
            if isinstance(entry, Command)
        ]
        tb.check_clocks(dma_clk, predicted, "DMA commands: clocks held, clocks to the end")
    _check_clocks(tb, entries, clocks, simulated_clocks(tb.config, entries, dma_clk))


def _check_clocks(
    tb: Testbench, entries: Sequence[Entry], clocks: Clocks, wanted: Clocks, what: str = ""
) -> None:
    """Every start and every end."""
    for name, starts in wanted.starts.items():
        _compare(tb, entries, clocks.starts[name], starts, f"{what}starts of {name}", name)
    for name, ends in wanted.ends.items():
        tb.check_clocks(clocks.ends[name], ends, f"{what}ends of {name}")
    tb.count_clocks(last_end(clocks))
    tb.count_programs(1, len(entries))


def _compare(
    tb: Testbench, entries: Sequence[Entry], found: Sequence[int], wanted: Sequence[int], what: str,
    stream: str,
) -> None:  # fmt: skip
    """Starts of a stream's instructions."""
    if list(found) != list(wanted):
        own = [entry for entry in entries if entry.stream == stream]
        at = next(k for k, (a, b) in enumerate(zip(found, wanted, strict=True)) if a != b)
        text = "\n".join(f"{found[k]} ({wanted[k]}): {own[k]}" for k in range(max(0, at - 12), at + 1))
        raise AssertionError(f"{what}: clocks of the RTL (of the simulator):\n{text}\nseed {tb.seed}")
    tb.check_clocks(found, wanted, what)


async def _explain(tb: Testbench, entries: Sequence[Entry], external: bytes, memory: Memory) -> str:
    """The entry of a failing program after which registers or memory first differ, and how."""
    low, high = 10, len(entries) - END_ENTRIES
    while low < high:
        middle = (low + high) // 2
        part = _prefix(entries, middle)
        found = (await _outcome(tb, part, external, memory))[0]
        same = found == expected_external(tb.config, part, external)
        low, high = (middle + 1, high) if same else (low, middle)
    part = _prefix(entries, low)
    found = (await _outcome(tb, part, external, memory))[0]
    expected = expected_external(tb.config, part, external)
    places = [k for k, (a, b) in enumerate(zip(found, expected, strict=True)) if a != b]
    text = "\n".join(str(entry) for entry in entries[max(0, low - 12) : low])
    first = ", ".join(_where(tb.config, place) for place in places[:6])
    values = f"{bytes(found[k] for k in places[:6]).hex()} instead of {bytes(expected[k] for k in places[:6]).hex()}"
    return f"after entry {low - 1}: {first}: {values}\n{text}"


def _prefix(entries: Sequence[Entry], count: int) -> list[Entry]:
    """The first entries, then the end of the program."""
    counts = TagCounts()
    return [entry.recounted(counts) for entry in (*entries[:count], *entries[-END_ENTRIES:])]


def _where(config: MachineConfig, address: int) -> str:
    """A byte of external memory after a program, by name."""
    size = config.vector.vlen_bits // 8
    place = address - DUMPED
    if place < 0:
        return f"external {address:#x}"
    if place < 32 * size:
        return f"v{place // size} byte {place % size}"
    region, byte = divmod(place - 32 * size, REGION_BYTES)
    return f"buffer {region} byte {byte}"
