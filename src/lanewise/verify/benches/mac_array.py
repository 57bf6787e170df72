"""MAC array: bits against integer matrix multiplication, clocks against the simulator."""

from collections.abc import Sequence
from typing import Any

import cocotb
import numpy as np
import torch

from lanewise.config import MachineConfig, MatrixConfig
from lanewise.models.mac_array import mac_array
from lanewise.rtl.mac_array import MacArray
from lanewise.sim.mac_array import mac_array_clk, mac_array_starts_clk
from lanewise.verify.bench import Bench, Case
from lanewise.verify.testbench import Testbench, pack, unpack

_SHAPES = ((1, 1, 4), (4, 4, 4), (3, 5, 8))
_USUAL = (
    "bits_and_clocks_without_stalls",
    "period_of_equal_tiles",
    "bits_with_stalls",
    "bits_with_slow_input",
)
_SHAPES_FULL = (*_SHAPES, (8, 8, 4), (5, 3, 4), (1, 7, 4), (16, 2, 8))


def _cases(machine: MachineConfig, full: bool) -> list[Case]:
    shapes = [
        MatrixConfig(rows=r, columns=c, operand_bits=b) for r, c, b in (_SHAPES_FULL if full else _SHAPES)
    ]
    cases = [
        Case(label=_label(config), config=config, tests=_USUAL)
        for config in dict.fromkeys([*shapes, machine.matrix])
    ]
    wrapping = MatrixConfig(rows=2, columns=2, operand_bits=8)
    return [*cases, Case(label=_label(wrapping), config=wrapping, tests=("sums_wrap",))]


def _label(config: MatrixConfig) -> str:
    return f"{config.rows}x{config.columns}x{config.operand_bits}"


BENCH = Bench(component=MacArray, cases=_cases)

Tile = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]


@cocotb.test()
async def bits_and_clocks_without_stalls(dut: Any) -> None:
    """Extremes and random tiles back to back: values, start of every tile, edge of every row."""
    tb = await Testbench.start(dut, MatrixConfig)
    tiles = [*_extremes(tb.config), *_random_tiles(tb)]
    for order in (tiles, [tiles[k] for k in tb.rng.permutation(len(tiles))], tiles[:1]):
        k_steps = [a.shape[1] for a, _ in order]
        i, o = await _run(tb, order, p_stall=0.0)
        firsts = [i[k] - i[0] for k in np.cumsum([0, *k_steps[:-1]])]
        tb.check_clocks(firsts, mac_array_starts_clk(k_steps, tb.config), "starts of tiles")
        tb.check_clocks(o[-1] - i[0], mac_array_clk(k_steps, tb.config), "last row")
    tb.check_clocks(o[0] - i[-1], tb.config.latency_clk, "last step to row 0")


@cocotb.test()
@cocotb.parametrize(k=[1, 3, 40])
async def period_of_equal_tiles(dut: Any, k: int) -> None:
    """In steady state a tile takes ``MatrixConfig.tile_clk``."""
    tb = await Testbench.start(dut, MatrixConfig)
    i, _ = await _run(tb, [_random_tile(tb, k) for _ in range(8)], p_stall=0.0)
    tb.check_clocks([i[6 * k] - i[5 * k], i[7 * k] - i[6 * k]], [tb.config.tile_clk(k)] * 2, "period")


@cocotb.test()
@cocotb.parametrize(p_in=[0.0, 0.5], p_out=[0.3, 0.8])
async def bits_with_stalls(dut: Any, p_in: float, p_out: float) -> None:
    """The same values whatever stalls, in order and none twice."""
    tb = await Testbench.start(dut, MatrixConfig)
    tiles = [*_extremes(tb.config), *_random_tiles(tb)]
    await _run(tb, [tiles[k] for k in tb.rng.permutation(len(tiles))], p_stall={"i": p_in, "o": p_out})


@cocotb.test()
async def bits_with_slow_input(dut: Any) -> None:
    """Gaps between steps, inside a tile and between tiles, add nothing to a sum."""
    tb = await Testbench.start(dut, MatrixConfig)
    await _run(tb, _random_tiles(tb), p_stall={"i": 0.7, "o": 0.0})


@cocotb.test()
async def sums_wrap(dut: Any) -> None:
    """(-128 x -128) 2**17 times is 2**31, which is -2**31 in 32 bits; two more steps go on from there."""
    tb = await Testbench.start(dut, MatrixConfig)
    low = -(1 << (tb.config.operand_bits - 1))
    steps = (1 << 31) // (low * low) + 2
    a, w = np.full((tb.config.rows, steps), low), np.full((steps, tb.config.columns), low)
    word = pack([low] * (tb.config.rows + tb.config.columns), tb.config.operand_bits)
    last = 1 << (tb.port("i__payload").width - 1)
    got = await tb.exchange({"i": [word] * (steps - 1) + [word | last]}, {"o": tb.config.rows})
    rows = [unpack(word, 32, tb.config.columns, signed=True) for word in got["o"].words]
    tb.check_values(rows, mac_array(a, w, tb.config.operand_bits), "wrapped sums")
    tb.check_values(rows, np.full_like(rows, -(2**31) + 2 * low * low), "wrapped sums, by hand")
    tb.check_clocks(got["o"].clocks[-1] - got["i"].clocks[0], mac_array_clk([steps], tb.config))


async def _run(tb: Testbench, tiles: Sequence[Tile], p_stall: Any) -> tuple[list[int], list[int]]:
    """Send the tiles, check every row against golden and torch; edges of all steps and rows."""
    config = tb.config
    last = 1 << (tb.port("i__payload").width - 1)
    words = []
    for a, w in tiles:
        words += [pack([*column, *row], config.operand_bits) for column, row in zip(a.T, w, strict=True)]
        words[-1] |= last
    got = await tb.exchange({"i": words}, {"o": config.rows * len(tiles)}, p_stall=p_stall)
    rows = [unpack(word, 32, config.columns, signed=True) for word in got["o"].words]
    golden = np.concatenate([mac_array(a, w, config.operand_bits) for a, w in tiles])
    tb.check_values(rows, golden, "sums against the golden model")
    exact = [torch.from_numpy(a.astype(np.int32)) @ torch.from_numpy(w.astype(np.int32)) for a, w in tiles]
    tb.check_values(rows, torch.cat(exact).numpy(), "sums against torch")
    flags = [word >> (32 * config.columns) for word in got["o"].words]
    tb.check_values(flags, ([0] * (config.rows - 1) + [1]) * len(tiles), "last flags")
    return got["i"].clocks, got["o"].clocks


def _extremes(config: MatrixConfig) -> list[Tile]:
    """All least, all greatest, mixed and alternating operands."""
    low, high = -(1 << (config.operand_bits - 1)), (1 << (config.operand_bits - 1)) - 1
    tiles = []
    for k in (1, config.rows, 3 * config.rows + 2):
        chess = np.where(np.indices((config.rows, k)).sum(0) % 2, low, high)
        chess_w = np.where(np.indices((k, config.columns)).sum(0) % 2, low, high)
        for a, w in ((low, low), (high, high), (low, high), (high, low), (0, low)):
            tiles.append((np.full((config.rows, k), a), np.full((k, config.columns), w)))
        tiles += [(chess, chess_w), (chess, -1 - chess_w)]
    return tiles


def _random_tiles(tb: Testbench) -> list[Tile]:
    """Tiles shorter and longer than the drain, single steps among them."""
    rows = tb.config.rows
    k_steps = [1, 1, 2, rows, rows + 1, max(1, rows - 1), *tb.rng.integers(1, 4 * rows + 2, 8), 1, 3 * rows]
    return [_random_tile(tb, int(k)) for k in k_steps]


def _random_tile(tb: Testbench, k: int) -> Tile:
    half = 1 << (tb.config.operand_bits - 1)
    return (
        tb.rng.integers(-half, half, (tb.config.rows, k)),
        tb.rng.integers(-half, half, (k, tb.config.columns)),
    )
