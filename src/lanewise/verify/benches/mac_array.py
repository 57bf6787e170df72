"""MAC array: bits against integer matrix multiplication, clocks against the simulator."""

from collections.abc import Sequence
from typing import Any

import cocotb
import numpy as np
import numpy.typing as npt
import torch

from lanewise.config import MachineConfig, MatrixConfig
from lanewise.models.mac_array import Steps, mac_array, steps
from lanewise.rtl.mac_array import MacArray
from lanewise.sim.mac_array import mac_array_clk, mac_array_starts_clk, tile_steps
from lanewise.verify.bench import Bench, Case
from lanewise.verify.testbench import Testbench, pack, unpack
from lanewise.verify.tiles import random_arrays, random_tiles
from lanewise.verify.words import concatenate, from_words, to_words

_SHAPES = ((1, 1, 4), (4, 4, 4), (3, 5, 8))
_USUAL = (
    "bits_and_clocks_without_stalls",
    "period_of_equal_tiles",
    "bits_with_stalls",
    "bits_with_slow_input",
)
_PASSES = ("passes_and_their_clocks", "passes_with_stalls", "any_flags", "every_product")
_DRAWN, _OUTPUTS_DRAWN = 8, 1_300_000
"""Arrays of the seed's shapes, and sums of each: 10.4 million."""
_SHAPES_FULL = (*_SHAPES, (8, 8, 4), (5, 3, 4), (1, 7, 4), (16, 2, 8))


def _cases(machine: MachineConfig, full: bool) -> list[Case]:
    shapes = [
        MatrixConfig(rows=r, columns=c, operand_bits=b) for r, c, b in (_SHAPES_FULL if full else _SHAPES)
    ]
    own = [machine.matrix] if machine.matrix.integers else []
    cases = [
        Case(label=_label(config), config=config, tests=(*_USUAL, *(_PASSES if config.splits else ())))
        for config in dict.fromkeys([*shapes, *own])
    ]
    wrapping = MatrixConfig(rows=2, columns=2, operand_bits=8)
    return [*cases, Case(label=_label(wrapping), config=wrapping, tests=("sums_wrap",))]


def _drawn(seed: int) -> list[Case]:
    tests, parameters = (*_USUAL, *_PASSES, "many_products"), {"outputs": _OUTPUTS_DRAWN}
    arrays = random_arrays(np.random.default_rng([seed, 0]), _DRAWN)
    return [
        Case(label=f"drawn-{_label(config)}", config=config, tests=tests, parameters=parameters)
        for config in arrays
    ]


def _label(config: MatrixConfig) -> str:
    return f"{config.rows}x{config.columns}x{config.operand_bits}"


BENCH = Bench(component=MacArray, cases=_cases, drawn=_drawn)

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
async def passes_and_their_clocks(dut: Any) -> None:
    """INT8 x INT8, INT8 x INT4, INT4 x INT8 and INT4 x INT4 tiles back to back: products, starts, last row."""
    tb = await Testbench.start(dut, MatrixConfig)
    config = tb.config
    tiles = _mixed_tiles(tb)
    for order in (tiles, [tiles[k] for k in tb.rng.permutation(len(tiles))]):
        k_steps = [tile_steps(a.shape[1], bits[0], bits[1], config) for a, _, bits in order]
        made = [steps(a, w, *bits) for a, w, bits in order]
        rows, i, o = await _stream(tb, made, p_stall=0.0)
        tb.check_values(rows, np.concatenate([mac_array(a, w, *bits) for a, w, bits in order]), "products")
        firsts = [i[k] - i[0] for k in np.cumsum([0, *k_steps[:-1]])]
        tb.check_clocks(firsts, mac_array_starts_clk(k_steps, config), "starts of tiles")
        tb.check_clocks(o[-1] - i[0], mac_array_clk(k_steps, config), "last row")


@cocotb.test()
@cocotb.parametrize(p_in=[0.0, 0.5], p_out=[0.0, 0.6])
async def passes_with_stalls(dut: Any, p_in: float, p_out: float) -> None:
    """A shift happens once however long its step waits."""
    tb = await Testbench.start(dut, MatrixConfig)
    tiles = _mixed_tiles(tb)
    made = [steps(a, w, *bits) for a, w, bits in tiles]
    rows, _, _ = await _stream(tb, made, p_stall={"i": p_in, "o": p_out})
    tb.check_values(rows, np.concatenate([mac_array(a, w, *bits) for a, w, bits in tiles]), "products")


@cocotb.test()
async def many_products(dut: Any) -> None:
    """Runs of random tiles of every pair of widths, every other one with stalls; clocks of those without."""
    tb = await Testbench.start(dut, MatrixConfig)
    config, stalls = tb.config, False
    left = -(-tb.parameters["outputs"] // config.macs_per_clk)
    while left > 0:
        tiles = random_tiles(tb.rng, config, min(left, 60), config.rows)
        p_in, p_out = tb.rng.uniform(0, 0.6, 2) if stalls else (0.0, 0.0)
        made = [steps(a, w, *bits) for a, w, bits in tiles]
        rows, i, o = await _stream(tb, made, p_stall={"i": p_in, "o": p_out})
        tb.check_values(rows, np.concatenate([mac_array(a, w, *bits) for a, w, bits in tiles]), "products")
        if not stalls:
            k_steps = [tile_steps(a.shape[1], *bits, config) for a, _, bits in tiles]
            tb.check_clocks(o[-1] - i[0], mac_array_clk(k_steps, config), "last row")
        left, stalls = left - len(tiles), not stalls


@cocotb.test()
@cocotb.parametrize(p_stall=[0.0, 0.4])
async def any_flags(dut: Any, p_stall: float) -> None:
    """Signs and shifts as they come, shifts at first steps and until sums have left the 32 bits."""
    tb = await Testbench.start(dut, MatrixConfig)
    config, made = tb.config, []
    for chance in (0.1, 0.5, 1.0) * 6:
        count = int(tb.rng.integers(1, 3 * config.rows + 12))
        a, w = tb.rng.integers(0, 16, (config.rows, count)), tb.rng.integers(0, 16, (count, config.columns))
        a_signed, w_signed = tb.rng.random((2, count)) < 0.5
        made.append(
            Steps(
                a=np.where(a_signed & (a > 7), a - 16, a),
                w=np.where(w_signed[:, None] & (w > 7), w - 16, w),
                a_signed=a_signed, w_signed=w_signed, shift=tb.rng.random(count) < chance,
            )
        )  # fmt: skip
    rows, _, _ = await _stream(tb, made, p_stall=p_stall)
    tb.check_values(rows, np.concatenate([tile.sums for tile in made]), "sums")


@cocotb.test()
async def every_product(dut: Any) -> None:
    """All 16 x 16 pairs of operands with each pair of signs, in tiles of one step."""
    tb = await Testbench.start(dut, MatrixConfig)
    config, made = tb.config, []
    for a_signed in (True, False):
        for w_signed in (True, False):
            left, right = np.arange(16) - 8 * a_signed, np.arange(16) - 8 * w_signed
            for r in range(0, 16, config.rows):
                for c in range(0, 16, config.columns):
                    a, w = (
                        left.take(range(r, r + config.rows), mode="wrap"),
                        right.take(range(c, c + config.columns), mode="wrap"),
                    )
                    flags = np.array([[a_signed], [w_signed], [False]])
                    made.append(
                        Steps(a=a[:, None], w=w[None], a_signed=flags[0], w_signed=flags[1], shift=flags[2])
                    )
    rows, _, _ = await _stream(tb, made, p_stall=0.0)
    tb.check_values(rows, np.concatenate([tile.a * tile.w for tile in made]), "products")


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
    """Send tiles of the array's own operands, check every row against golden and torch; edges of steps and rows."""
    bits = tb.config.operand_bits
    rows, i, o = await _stream(tb, [_own_steps(a, w) for a, w in tiles], p_stall)
    golden = np.concatenate([mac_array(a, w, bits) for a, w in tiles])
    tb.check_values(rows, golden, "sums against the golden model")
    exact = [torch.from_numpy(a.astype(np.int32)) @ torch.from_numpy(w.astype(np.int32)) for a, w in tiles]
    tb.check_values(rows, torch.cat(exact).numpy(), "sums against torch")
    return i, o


async def _stream(
    tb: Testbench, tiles: Sequence[Steps], p_stall: Any
) -> tuple[npt.NDArray[np.int32], list[int], list[int]]:
    """Send tiles; their rows, and the edges of all steps and rows."""
    config = tb.config
    words = [word for tile in tiles for word in step_words(tile, config)]
    got = await tb.exchange({"i": words}, {"o": config.rows * len(tiles)}, p_stall=p_stall)
    rows = from_words(got["o"].words, 32, config.columns).view(np.int32)
    flags = [word >> (32 * config.columns) for word in got["o"].words]
    tb.check_values(flags, ([0] * (config.rows - 1) + [1]) * len(tiles), "last flags")
    return rows, got["i"].clocks, got["o"].clocks


def step_words(tile: Steps, config: MatrixConfig) -> list[int]:
    """Payloads of a tile's steps."""
    bits, count = config.operand_bits, len(tile.shift)
    values = np.hstack([tile.a.T, tile.w]) & ((1 << bits) - 1)
    flags = np.zeros((count, 4), np.int64)
    flags[:, :3] = np.stack([tile.a_signed, tile.w_signed, tile.shift], axis=1)
    flags[-1, 3] = 1
    flags = flags if config.splits else flags[:, 3:]
    width = bits * (config.rows + config.columns)
    return concatenate((to_words(values, bits), width), (to_words(flags, 1), flags.shape[1]))


def _own_steps(a: npt.NDArray[Any], w: npt.NDArray[Any]) -> Steps:
    """One pass of signed operands, of either width."""
    yes = np.ones(a.shape[1], bool)
    return Steps(a=a, w=w, a_signed=yes, w_signed=yes, shift=~yes)


def _mixed_tiles(tb: Testbench) -> list[tuple[npt.NDArray[Any], npt.NDArray[Any], tuple[int, int]]]:
    """Random and extreme tiles of every pair of widths, shorter and longer than the drain."""
    rows, columns = tb.config.rows, tb.config.columns
    tiles = []
    for bits in ((8, 8), (8, 4), (4, 8), (4, 4)):
        (low, high), (low_w, high_w) = ((-(1 << (b - 1)), (1 << (b - 1)) - 1) for b in bits)
        for left in (low, high):
            for right in (low_w, high_w):
                k = int(tb.rng.integers(1, rows + 3))
                tiles.append((np.full((rows, k), left), np.full((k, columns), right), bits))
        for k in (1, 2, rows, int(tb.rng.integers(1, 3 * rows + 2))):
            a = tb.rng.integers(low, high + 1, (rows, k))
            tiles.append((a, tb.rng.integers(low_w, high_w + 1, (k, columns)), bits))
    return tiles


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
