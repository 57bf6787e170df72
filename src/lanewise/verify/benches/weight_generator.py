"""Weight generator on a scratchpad: what every byte is afterwards, commands offered at once and with gaps, resets in mid-run; clocks."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import cocotb
import numpy as np

from lanewise.config import MachineConfig, WeightGeneratorConfig
from lanewise.models.weight_generator import generated_bytes
from lanewise.rtl.weight_generator import WeightGenerator, generate_layout, generator_client
from lanewise.sim.weight_generator import weight_generator_finished_clk, weight_generator_starts_clk
from lanewise.verify.bench import Bench, Case
from lanewise.verify.memory_machines import memory_machine
from lanewise.verify.scratchpad_bench import BesideScratchpad, Bytes, contents, fill
from lanewise.verify.testbench import Testbench

_COMMANDS = 150


def _component(config: MachineConfig) -> BesideScratchpad:
    return BesideScratchpad(WeightGenerator(config), config, (generator_client(config),))


def _cases(_: MachineConfig, full: bool) -> list[Case]:
    sizes = [(4, 4, 17), (32, 8, 16), *(((8, 32, 31), (16, 4, 16), (64, 16, 64)) if full else ())]
    return [
        Case(label=f"{width}bytes{size}k", config=_generating(memory_machine(1, dma, size), width))
        for width, dma, size in sizes
    ]


def _generating(machine: MachineConfig, bytes_per_clk: int) -> MachineConfig:
    unit = WeightGeneratorConfig(enabled=True, bytes_per_clk=bytes_per_clk)
    return dataclasses.replace(machine, weight_generator=unit)


BENCH = Bench(component=_component, cases=_cases)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Command:
    """A command of the generator."""

    scratch: int
    size: int
    seed: int

    def word(self, config: MachineConfig) -> int:
        """The payload."""
        return int(generate_layout(config).const(dataclasses.asdict(self)).as_bits())

    def write(self, image: Bytes) -> None:
        """Do what it says."""
        places = (self.scratch + np.arange(self.size)) % image.size
        image[places] = generated_bytes(self.seed, self.size)


def _drawn(tb: Testbench) -> Command:
    rng, width, total = tb.rng, tb.config.weight_generator.bytes_per_clk, tb.config.scratchpad.bytes
    lengths = (1, width - 1, width, width + 1, int(rng.integers(1, 4 * width)), int(rng.integers(1, 1500)))
    seeds = (1, 2**31, 2**32 - 1, int(rng.integers(1, 2**32)), int(rng.integers(1, 2**32)))
    size, seed = lengths[rng.integers(len(lengths))], seeds[rng.integers(len(seeds))]
    return Command(scratch=int(rng.integers(total)), size=size, seed=seed)


async def _filled(tb: Testbench) -> Bytes:
    image = tb.rng.integers(0, 256, tb.config.scratchpad.bytes, np.uint8)
    await fill(tb, tb.config, image)
    return image


async def _run(
    tb: Testbench, commands: Sequence[Command], offered: Sequence[int]
) -> tuple[list[int], list[int]]:
    """Clocks, from the first offer's on, in which commands are accepted and finished."""
    valid, payload, ready = (tb.port(f"i__{name}") for name in ("valid", "payload", "ready"))
    started: list[int] = []
    finished: list[int] = []
    clock = 0
    last = offered[-1] + sum(c.size for c in commands) + 20

    def offer() -> None:
        there = len(started) < len(commands) and offered[len(started)] <= clock
        valid.set(int(there))
        if there:
            payload.set(commands[len(started)].word(tb.config))

    offer()
    while len(finished) < len(commands):
        await tb.wait(1)
        if valid.get() and ready.get():
            started.append(clock)
        if tb.port("finished").get():
            finished.append(clock)
        clock += 1
        offer()
        assert clock < last, (
            f"{len(finished)} of {len(commands)} commands finished in {clock} clocks; seed {tb.seed}"
        )
    valid.set(0)
    return started, finished


@cocotb.test()
@cocotb.parametrize(p_idle=[0.0, 0.5])
async def bits_and_clocks(dut: Any, p_idle: float) -> None:
    """Every byte of the scratchpad after commands of all lengths and alignments, and the simulator's clocks; offered at once, and with random gaps."""
    tb = await Testbench.start(dut, MachineConfig)
    image = await _filled(tb)
    commands = [_drawn(tb) for _ in range(_COMMANDS)]
    offered = np.cumsum(tb.rng.integers(1, 60, _COMMANDS) * (tb.rng.random(_COMMANDS) < p_idle)).tolist()
    started, finished = await _run(tb, commands, offered)
    config = tb.config.weight_generator
    sizes = [command.size for command in commands]
    starts = weight_generator_starts_clk(offered, sizes, config)
    tb.check_clocks(started, starts, "started")
    ends = [weight_generator_finished_clk(s, size, config) for s, size in zip(starts, sizes, strict=True)]
    tb.check_clocks(finished, ends, "finished")
    for command in commands:
        command.write(image)
    await tb.wait(2)
    tb.check_values(await contents(tb, tb.config), image, "scratchpad")


@cocotb.test()
async def landing(dut: Any) -> None:
    """A byte is there in the clock after ``finished``, and not before."""
    tb = await Testbench.start(dut, MachineConfig)
    image = await _filled(tb)
    enable, address, data = (tb.port(f"dma_read__{name}") for name in ("enable", "address", "data"))
    found, expected = [], []
    for _ in range(40):
        command = dataclasses.replace(_drawn(tb), size=1)
        address.set(command.scratch)
        enable.set(1)
        expected.append(int(image[command.scratch]))
        await _run(tb, [command], [0])
        command.write(image)
        expected.append(int(image[command.scratch]))
        for _ in range(2):  # read in the clock of ``finished``, and in the next one
            await tb.wait(1)
            found.append(data.get() & 255)
        enable.set(0)
    tb.check_values(found, expected, "the byte in the clock of `finished` and in the next one")


@cocotb.test()
async def resets(dut: Any) -> None:
    """A reset in the middle of a command ends it: nothing more is written, nothing finishes, and the next one is as after any other."""
    tb = await Testbench.start(dut, MachineConfig)
    for _ in range(10):
        image = await _filled(tb)
        long = dataclasses.replace(_drawn(tb), size=40 * tb.config.weight_generator.bytes_per_clk, scratch=0)
        tb.port("i__payload").set(long.word(tb.config))
        tb.port("i__valid").set(1)
        await tb.wait(1)
        tb.port("i__valid").set(0)
        await tb.wait(int(tb.rng.integers(1, 30)))
        await tb.reset()
        await tb.wait(4)
        before = await contents(tb, tb.config)
        for _ in range(60):
            await tb.wait(1)
            assert not tb.port("finished").get(), f"finished after a reset; seed {tb.seed}"
        tb.check_values(await contents(tb, tb.config), before, "scratchpad after a reset")
        image[:] = before
        command = _drawn(tb)
        await _run(tb, [command], [0])
        command.write(image)
        await tb.wait(2)
        tb.check_values(await contents(tb, tb.config), image, "scratchpad after the next command")
