"""Matrix unit: tiles of every pair of widths to every format, all INT4 products, stalls, clocks."""

from collections.abc import Sequence
from typing import Any

import cocotb
import numpy as np
import numpy.typing as npt

from lanewise.config import REQUANTISER_FORMATS, MachineConfig, MatrixConfig
from lanewise.models.lfsr import lane_states
from lanewise.models.mac_array import mac_array, steps
from lanewise.models.matrix_unit import matrix_tile, tile_random
from lanewise.rtl.matrix_unit import MatrixUnit
from lanewise.sim.mac_array import tile_steps
from lanewise.sim.matrix_unit import (
    matrix_unit_results_clk,
    matrix_unit_starts_clk,
    matrix_unit_tile_clk,
)
from lanewise.verify.bench import Bench, Case
from lanewise.verify.benches.mac_array import step_words
from lanewise.verify.benches.requantiser import (
    Columns,
    Scales,
    column_words,
    random_columns,
    random_scales,
    result_rows,
    scale_words,
    seed_words,
)
from lanewise.verify.testbench import Testbench
from lanewise.verify.tiles import Tile, random_arrays, random_tile, random_tiles

_SHAPES = ((4, 4, 2), (3, 5, 3), (8, 8, 8))
_SHAPES_FULL = (*_SHAPES, (16, 16, 16), (5, 64, 8), (32, 32, 8), (64, 64, 16))
_OUTPUTS, _OUTPUTS_FULL = 40_000, 200_000
_DRAWN, _OUTPUTS_DRAWN = 8, 1_300_000
"""Arrays of the seed's shapes, and results of each: 10.4 million."""
_TESTS = ("bits_and_clocks", "bits_with_stalls", "period_of_equal_tiles", "every_int4_product", "long_sums")


def _cases(machine: MachineConfig, full: bool) -> list[Case]:
    shapes = [
        MatrixConfig(rows=r, columns=c, output_lanes=lanes)
        for r, c, lanes in (_SHAPES_FULL if full else _SHAPES)
    ]
    own = [machine.matrix] if machine.matrix.splits else []
    outputs = _OUTPUTS_FULL if full else _OUTPUTS
    return [_case(config, outputs) for config in dict.fromkeys([*shapes, *own])]


def _drawn(seed: int) -> list[Case]:
    arrays = random_arrays(np.random.default_rng([seed, 1]), _DRAWN)
    return [_case(config, _OUTPUTS_DRAWN, "drawn-") for config in arrays]


def _case(config: MatrixConfig, outputs: int, prefix: str = "") -> Case:
    label = f"{prefix}{config.rows}x{config.columns}by{config.requantiser_lanes}"
    return Case(label=label, config=config, tests=_TESTS, parameters={"outputs": outputs})


BENCH = Bench(component=MatrixUnit, cases=_cases, drawn=_drawn)


@cocotb.test()
async def bits_and_clocks(dut: Any) -> None:
    """Runs of tiles, each with constants and seeds of its own: results, starts of tiles, edge of every beat."""
    tb = await Testbench.start(dut, MatrixConfig)
    config = tb.config
    left = -(-tb.parameters["outputs"] // config.macs_per_clk)
    while left > 0:
        tiles = _random_tiles(tb, min(left + 2, 40))
        reloads = _some(tb, len(tiles))
        k_steps, i, o = await _run(tb, tiles, 0.0, reloads=reloads)
        firsts = [i[k] - i[0] for k in np.cumsum([0, *k_steps[:-1]])]
        tb.check_clocks(firsts, matrix_unit_starts_clk(k_steps, config, reloads), "starts of tiles")
        tb.check_clocks(
            [clk - i[0] for clk in o], matrix_unit_results_clk(k_steps, config, reloads), "results"
        )
        left -= len(tiles)


@cocotb.test()
@cocotb.parametrize(p_in=[0.0, 0.5], p_out=[0.0, 0.6])
async def bits_with_stalls(dut: Any, p_in: float, p_out: float) -> None:
    """The same values whatever stalls: steps, scales, results."""
    tb = await Testbench.start(dut, MatrixConfig)
    outputs = max(8000, tb.parameters["outputs"] // 30)
    tiles = _random_tiles(tb, max(12, outputs // tb.config.macs_per_clk))
    await _run(tb, tiles, {"i": p_in, "o": p_out, "scale": 0.5, "load": p_in}, reloads=_some(tb, len(tiles)))


@cocotb.test()
async def period_of_equal_tiles(dut: Any) -> None:
    """In steady state a tile takes its steps, or the clocks in which it leaves: no bubbles between tiles."""
    tb = await Testbench.start(dut, MatrixConfig)
    config = tb.config
    for reload in (False, True):
        leaves = config.leave_clk(reload=reload)
        for k in (1, leaves - 1, leaves, leaves + 3):
            count = max(1, k)
            tiles = [random_tile(tb.rng, config, count, (4, 4)) for _ in range(6)]
            _, i, _ = await _run(tb, tiles, 0.0, reloads=range(6) if reload else [0])
            periods = [i[4 * count] - i[3 * count], i[5 * count] - i[4 * count]]
            tb.check_clocks(periods, [matrix_unit_tile_clk(count, config, reload=reload)] * 2, "period")


@cocotb.test()
async def every_int4_product(dut: Any) -> None:
    """All 256 in tiles of one step, unscaled, as INT8, which holds them."""
    tb = await Testbench.start(dut, MatrixConfig)
    config = tb.config
    values, tiles = np.arange(-8, 8), []
    for r in range(0, 16, config.rows):
        for c in range(0, 16, config.columns):
            a = values.take(np.arange(r, r + config.rows), mode="wrap")[:, None]
            tiles.append((a, values.take(np.arange(c, c + config.columns), mode="wrap")[None], (4, 4)))
    count = config.rows * len(tiles)
    unit = np.ones(config.columns, np.int64)
    columns = Columns(bias=0 * unit, multiplier=unit)
    plain, zeros = np.ones(count, np.int64), np.zeros(count, np.int64)
    scales = Scales(multiplier=plain, shift=zeros, form=plain, stochastic=zeros)
    await _run(tb, tiles, 0.0, columns, scales)


@cocotb.test()
async def long_sums(dut: Any) -> None:
    """Tiles over many k tiles: extremes of every pair of widths, and random ones."""
    tb = await Testbench.start(dut, MatrixConfig)
    config, tiles = tb.config, []
    for bits in ((8, 8), (8, 4), (4, 8), (4, 4)):
        tiles.append(random_tile(tb.rng, config, 700, bits))
        for a_low in (True, False):
            for w_low in (True, False):
                a, w = (
                    -(1 << (b - 1)) if low else (1 << (b - 1)) - 1 for b, low in zip(bits, (a_low, w_low))
                )
                tiles.append((np.full((config.rows, 300), a), np.full((300, config.columns), w), bits))
    await _run(tb, tiles, 0.0)


async def _run(
    tb: Testbench, tiles: Sequence[Tile], p_stall: Any, columns: Columns | None = None, scales: Scales | None = None,
    *, reloads: Sequence[int] = (0,),
) -> tuple[list[int], list[int], list[int]]:  # fmt: skip
    """Load seeds, send the tiles, compare results; steps of the tiles, edges of all steps and beats.

    Args:
        reloads: Numbers of the tiles that bring new constants of the columns; the first is 0.
    """
    config = tb.config
    sums = [mac_array(a, w, *bits).astype(np.int64) for a, w, bits in tiles]
    states = lane_states(int(tb.rng.integers(1 << 32)), config.requantiser_lanes)
    await tb.exchange({"seed": seed_words(states)}, {})
    random, _ = tile_random(states, len(tiles), config)
    loads: list[int] = []
    each: list[Scales] = []
    expected: list[npt.NDArray[np.int64]] = []
    own = columns
    for n, tile in enumerate(tiles):
        if n in reloads:
            own = columns or random_columns(tb.rng, config)
            loads += column_words(own, config)
        assert own is not None
        rows = slice(n * config.rows, (n + 1) * config.rows)
        each.append(scales.part(rows) if scales else random_scales(tb.rng, own, sums[n]))
        expected.append(_golden(tile, own, each[n], random[n]))
    every = Scales.joined(each)
    words = [word for a, w, bits in tiles for word in step_words(steps(a, w, *bits), config)]
    got = await tb.exchange(
        {"i": words, "scale": scale_words(every, {n * config.rows for n in reloads}), "load": loads},
        {"o": len(tiles) * config.rows * config.row_beats}, p_stall=p_stall,
    )  # fmt: skip
    tb.check_values(result_rows(got["o"].words, every, config), np.concatenate(expected), "results")
    flags = [word >> (16 * config.requantiser_lanes) for word in got["o"].words]
    beats = config.rows * config.row_beats
    tb.check_values(flags, ([0] * (beats - 1) + [1]) * len(tiles), "last flags")
    k_steps = [tile_steps(a.shape[1], bits[0], bits[1], config) for a, _, bits in tiles]
    return k_steps, got["i"].clocks, got["o"].clocks


def _some(tb: Testbench, tiles: int) -> list[int]:
    """Numbers of tiles that bring new constants: the first, and a third of the others."""
    return [0, *(n for n in range(1, tiles) if tb.rng.random() < 1 / 3)]


def _golden(
    tile: Tile, columns: Columns, scales: Scales, random: npt.NDArray[np.uint16]
) -> npt.NDArray[np.int64]:
    """Results of a tile whose rows become what their scales say."""
    a, w, bits = tile
    result = np.zeros((len(a), w.shape[1]), np.int64)
    for code, stochastic in set(zip(scales.form.tolist(), scales.stochastic.tolist(), strict=True)):
        rows = (scales.form == code) & (scales.stochastic == stochastic)
        result[rows] = matrix_tile(
            a[rows], w, a_bits=bits[0], w_bits=bits[1], bias=columns.bias, column_multiplier=columns.multiplier,
            row_multiplier=scales.multiplier[rows], shift=scales.shift[rows], form=REQUANTISER_FORMATS[code],
            random=random[rows] if stochastic else None,
        )  # fmt: skip
    return result


def _random_tiles(tb: Testbench, count: int) -> list[Tile]:
    return random_tiles(tb.rng, tb.config, count, tb.config.rows * tb.config.row_beats)
