"""The stream ``matrix``: random tiles from operands to results in the scratchpad, every byte of it compared; the simulator's clocks."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import ceil
from typing import Any

import cocotb
import numpy as np
import numpy.typing as npt

from lanewise.config import REQUANTISER_BITS, REQUANTISER_FORMATS, SCALE_BYTES, MachineConfig
from lanewise.models.lfsr import lane_states
from lanewise.models.mac_array import mac_array
from lanewise.models.matrix_commands import packed_rows
from lanewise.models.matrix_layout import column_constants
from lanewise.models.matrix_unit import matrix_tile, tile_random
from lanewise.rtl.matrix_stream import MATRIX_STROBES, MatrixStream, matrix_clients
from lanewise.rtl.operand_feed import K_BITS
from lanewise.sim import matrix_stream as sim
from lanewise.verify.bench import Bench
from lanewise.verify.benches.requantiser import (
    Columns,
    Scales,
    random_columns,
    random_scales,
    seed_words,
)
from lanewise.verify.matrix_operands import (
    Image,
    Placed,
    chunks_of,
    matrix_cases,
    most_operand_bytes,
    operand_fields,
    packed,
    random_operand,
)
from lanewise.verify.scratchpad_bench import BesideScratchpad, contents, fill
from lanewise.verify.testbench import Testbench

_BATCHES = 12
_IDLE_CLK = 5000


def _component(config: MachineConfig) -> BesideScratchpad:
    return BesideScratchpad(MatrixStream(config), config, matrix_clients(config))


BENCH = Bench(component=_component, cases=matrix_cases)


@dataclass(frozen=True, kw_only=True)
class Job:
    """A command: its payload, what decides its clocks, how long it is held back behind the one before it."""

    word: int
    command: sim.Command
    gap: int


@dataclass(kw_only=True)
class Seen:
    """Clocks of a run: each command's first offer and start, and every strobe."""

    offers: list[int] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    strobes: dict[str, list[int]] = field(default_factory=lambda: {name: [] for name in MATRIX_STROBES})


@cocotb.test()
@cocotb.parametrize(gap=[0, 3, 60])
async def tiles(dut: Any, gap: int) -> None:
    """Tiles of all sizes, widths and layouts, in one command or chunks, with constants and row scales or without; offered at once, or up to ``gap`` clocks
    behind each other."""
    tb = await Testbench.start(dut, MachineConfig)
    size = tb.config.matrix.block_steps
    for _ in range(_BATCHES):
        lengths = tb.rng.choice([1, 1, 2, size - 1, size, size, size + 1, 2 * size, 3 * size - 1], 40)
        await _run(tb, lengths.tolist(), gap, reload=0.4)


@cocotb.test()
async def short_tiles_wait_for_the_drain(dut: Any) -> None:
    """Tiles of single blocks, which take less than the drain, all with new constants or none."""
    tb = await Testbench.start(dut, MachineConfig)
    size = tb.config.matrix.block_steps
    for k in (1, 2, size - 1, size):
        for reload in (0.0, 1.0):
            await _run(tb, [k] * 30, 0, reload=reload, whole=True)


@cocotb.test()
async def whole_blocks_run_at_the_array_s_pace(dut: Any) -> None:
    """Tiles of whole blocks that take longer than the drain hold the stream for their steps and no more."""
    tb = await Testbench.start(dut, MachineConfig)
    matrix = tb.config.matrix
    drain = matrix.leave_clk() + 2 * matrix.row_beats  # the first tile brings constants
    blocks = ceil(drain / matrix.block_steps)
    for _ in range(3):
        seen, jobs = await _run(tb, [blocks * matrix.block_steps] * 4, 0, reload=0.0, whole=True)
        steps = [job.command.k * job.command.passes for job in jobs]
        tb.check_clocks(np.diff(seen.starts), steps[:-1], "periods")


async def _run(
    tb: Testbench, lengths: Sequence[int], gap: int, *, reload: float, whole: bool = False
) -> tuple[Seen, list[Job]]:
    """Tiles of these lengths, as many as the scratchpad holds; compare the scratchpad, and all clocks."""
    rng, config = tb.rng, tb.config
    image = Image(bytes=rng.integers(0, 256, config.scratchpad.bytes, np.uint8))
    image.end = int(rng.integers(len(image.bytes)))
    after: list[tuple[int, npt.NDArray[np.uint8]]] = []
    states = lane_states(int(rng.integers(1 << 32)), config.matrix.requantiser_lanes)
    random, _ = tile_random(states, len(lengths), config.matrix)
    jobs: list[Job] = []
    columns = random_columns(rng, config.matrix)
    for number, k in enumerate(lengths):
        if image.used + _most_bytes(config, k) > len(image.bytes):
            break
        new = number == 0 or rng.random() < reload
        columns = random_columns(rng, config.matrix) if new else columns
        jobs += _tile(tb, image, after, k, columns, random[number], new, gap, whole)
    await fill(tb, config, image.bytes)
    await tb.exchange({"seed": seed_words(states)}, {})
    seen = await _drive(tb, jobs)
    _check_contents(tb, await contents(tb, config), image, after)
    _check_clocks(tb, jobs, seen)
    return seen, jobs


def _most_bytes(config: MachineConfig, k: int) -> int:
    """A tile's bytes, at most: operands, results, constants, scales."""
    rows, columns = config.matrix.rows, config.matrix.columns
    lanes = config.matrix.row_beats * config.matrix.requantiser_lanes
    operands = most_operand_bytes(rows, k) + most_operand_bytes(columns, k)
    return operands + rows * (2 * columns + 6 + SCALE_BYTES) + 6 * lanes


def _tile(
    tb: Testbench, image: Image, after: list[tuple[int, npt.NDArray[np.uint8]]], k: int, columns: Columns,
    random: npt.NDArray[np.uint16], new: bool, gap: int, whole: bool,
) -> list[Job]:  # fmt: skip
    """Put a tile's operands, constants and scales into the image, and its results into ``after``; its commands."""
    rng, config, matrix = tb.rng, tb.config, tb.config.matrix
    address_bits = (config.scratchpad.bytes - 1).bit_length()
    a, w = (random_operand(rng, image, lines, k) for lines in (matrix.rows, matrix.columns))
    scales, own = _scales(tb, a, w, columns)
    form, stochastic = int(scales.form[0]), int(scales.stochastic[0])
    results = _results(a, w, columns, scales, random)
    bits = REQUANTISER_BITS[REQUANTISER_FORMATS[form]]
    stride = ceil(len(w.values) * bits / 8) + int(rng.choice([0, 0, 1, 5]))
    address = image.take(len(results) * stride)
    rows = packed_rows(results, REQUANTISER_FORMATS[form])
    after += [(address + row * stride, values) for row, values in enumerate(rows)]
    constants = _put_constants(image, columns, config) if new else int(rng.integers(len(image.bytes)))
    places = image.take(SCALE_BYTES * len(results)) if own else int(rng.integers(len(image.bytes)))
    if own:
        noise = rng.integers(0, 1 << 10, len(results)) << 22
        words = scales.multiplier[: len(results)] | scales.shift[: len(results)] << 16 | noise
        image.put(places, words.astype("<u4").view(np.uint8))
    passes, jobs = matrix.passes(a.bits, w.bits), []
    for start, count, first, final, last in chunks_of(rng, k, passes, whole=whole):
        shift = start == 0 and first % 2 == 1
        fields = [
            *operand_fields(rng, a, w, start, config), (count, K_BITS), (first, 2), (final, 2), (int(shift), 1), (int(last), 1),
            (int(rng.integers(1 << 16)) if own else int(scales.multiplier[0]), 16),
            (int(rng.integers(1 << 6)) if own else int(scales.shift[0]), 6), (form, 2), (stochastic, 1), (int(new), 1),
            (int(own), 1), (places, address_bits), (constants, address_bits), (address, address_bits), (stride, address_bits),
        ]  # fmt: skip
        command = sim.Command(k=count, passes=final - first + 1, last=last, reload=new and last)
        jobs.append(Job(word=packed(fields), command=command, gap=int(rng.integers(gap + 1))))
    return jobs


def _scales(tb: Testbench, a: Placed, w: Placed, columns: Columns) -> tuple[Scales, bool]:
    """A scale for each row, all in one format; or the same for all."""
    matrix = tb.config.matrix
    sums = np.zeros((matrix.rows, matrix.columns), np.int64)
    sums[: len(a.values), : len(w.values)] = mac_array(a.values, w.values.T, a.bits, w.bits)
    drawn = random_scales(tb.rng, columns, sums)
    same = np.zeros(matrix.rows, np.int64)
    drawn = replace(drawn, form=drawn.form[same], stochastic=drawn.stochastic[same])
    own = bool(tb.rng.random() < 0.4)
    return (drawn if own else drawn.part(same)), own  # type: ignore[arg-type]


def _results(
    a: Placed, w: Placed, columns: Columns, scales: Scales, random: npt.NDArray[np.uint16]
) -> npt.NDArray[Any]:
    m, n = len(a.values), len(w.values)
    return matrix_tile(
        a.values, w.values.T, a_bits=a.bits, w_bits=w.bits, bias=columns.bias[:n], column_multiplier=columns.multiplier[:n],
        row_multiplier=scales.multiplier[:m], shift=scales.shift[:m], form=REQUANTISER_FORMATS[scales.form[0]],
        random=random[:m, :n] if scales.stochastic[0] else None,
    )  # fmt: skip


def _put_constants(image: Image, columns: Columns, config: MachineConfig) -> int:
    """Words of biases and multipliers, as the output path takes them."""
    constants = column_constants(columns.bias, columns.multiplier, config.matrix).reshape(-1)
    address = image.take(constants.size)
    image.put(address, constants)
    return address


async def _drive(tb: Testbench, jobs: Sequence[Job]) -> Seen:
    """Offer every command its gap after the start of the one before; until all results are written."""
    seen, written = Seen(), sum(job.command.last for job in jobs)
    valid, ready, payload = (tb.port(f"i__{name}") for name in ("valid", "ready", "payload"))
    strobes = {name: tb.port(name) for name in MATRIX_STROBES}
    waits, offered, idle = jobs[0].gap, False, 0
    while len(seen.strobes["results_written"]) < written:
        if not offered and waits == 0 and len(seen.starts) < len(jobs):
            valid.set(1)
            payload.set(jobs[len(seen.starts)].word)
            seen.offers.append(tb.clk + 1)
            offered = True
        waits = max(0, waits - 1)
        await tb.wait(1)
        idle += 1
        if offered and ready.get():
            seen.starts.append(tb.clk)
            valid.set(0)
            offered, idle = False, 0
            waits = jobs[len(seen.starts)].gap if len(seen.starts) < len(jobs) else 0
        for name, port in strobes.items():
            if port.get():
                seen.strobes[name].append(tb.clk)
                idle = 0
        assert idle < _IDLE_CLK, f"nothing happened for {idle} clocks; seed {tb.seed}"
    await tb.wait(3)
    return seen


def _check_contents(
    tb: Testbench, found: npt.NDArray[np.uint8], image: Image, after: list[tuple[int, npt.NDArray[np.uint8]]]
) -> None:
    """The results, which are counted; and all other bytes, which must be what they were."""
    mine = np.zeros(len(image.bytes), np.bool_)
    for address, row in after:
        image.put(address, row)
        mine[(address + np.arange(len(row))) % len(mine)] = True
    tb.check_values(found[mine], image.bytes[mine], "results")
    others = np.flatnonzero((found != image.bytes) & ~mine)
    assert not len(others), (
        f"{len(others)} bytes changed that are no results, the first at {others[0]}; seed {tb.seed}"
    )


def _check_clocks(tb: Testbench, jobs: Sequence[Job], seen: Seen) -> None:
    recurrence = sim.MatrixStream(tb.config.matrix)
    times = [recurrence.start(job.command, offer) for job, offer in zip(jobs, seen.offers, strict=True)]
    tb.check_clocks(seen.starts, [each.start for each in times], "starts")
    tb.check_clocks(seen.strobes["operands_read"], [each.operands_read for each in times], "operands read")
    tiles = [each for each, job in zip(times, jobs, strict=True) if job.command.last]
    reloads = [each.constants_read for each, job in zip(times, jobs, strict=True) if job.command.reload]
    tb.check_clocks(seen.strobes["constants_read"], reloads, "constants read")
    tb.check_clocks(seen.strobes["scales_read"], [each.scales_read for each in tiles], "scales read")
    tb.check_clocks(
        seen.strobes["results_written"], [each.results_written for each in tiles], "results written"
    )
