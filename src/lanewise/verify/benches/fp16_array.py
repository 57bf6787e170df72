"""FP16 array: bits against FP32 accumulation, step by step; clocks against the simulator."""

from collections.abc import Sequence
from typing import Any

import cocotb
import numpy as np
import numpy.typing as npt

from lanewise.config import MachineConfig, MatrixConfig
from lanewise.models.fp16_array import fp16_array, fp32_sums
from lanewise.rtl.fp16_array import Fp16Array
from lanewise.sim.mac_array import mac_array_clk, mac_array_starts_clk
from lanewise.verify.bench import Bench, Case
from lanewise.verify.testbench import Testbench, unpack
from lanewise.verify.words import concatenate, to_words

_SHAPES = ((1, 1), (2, 2), (4, 4), (3, 5))
_SHAPES_FULL = (*_SHAPES, (8, 8), (5, 3), (1, 7), (16, 2))

Bits = npt.NDArray[np.uint16]
Tile = tuple[Bits, Bits]


def _cases(machine: MachineConfig, full: bool) -> list[Case]:
    shapes = [
        MatrixConfig(rows=r, columns=c, operand_bits=16) for r, c in (_SHAPES_FULL if full else _SHAPES)
    ]
    own = [] if machine.matrix.integers else [machine.matrix]
    return [
        Case(label=f"{config.rows}x{config.columns}", config=config)
        for config in dict.fromkeys([*shapes, *own])
    ]


BENCH = Bench(component=Fp16Array, cases=_cases)

SPECIAL = (0x0000, 0x8000, 0x0001, 0x8001, 0x03FF, 0x83FF, 0x0400, 0x8400, 0x0401, 0x3C00, 0xBC00, 0x3C01, 0xBC01, 0x3BFF,
           0xBBFF, 0x4000, 0xC000, 0x6800, 0xE800, 0x7BFF, 0xFBFF, 0x7C00, 0xFC00, 0x7E00, 0xFE00, 0x7C01)  # fmt: skip
"""Zeros, subnormals, ones and their neighbours, the largest numbers, infinities, NaNs."""
FINITE = tuple(bits for bits in SPECIAL if bits & 0x7C00 != 0x7C00)


@cocotb.test()
async def bits_and_clocks_without_stalls(dut: Any) -> None:
    """Directed and random tiles back to back: values, start of every tile, edge of the last row."""
    tb = await Testbench.start(dut, MatrixConfig)
    tiles = [*_directed(tb), *_random_tiles(tb)]
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
@cocotb.parametrize(p_in=[0.0, 0.5], p_out=[0.0, 0.3, 0.8])
async def bits_with_stalls(dut: Any, p_in: float, p_out: float) -> None:
    """The same values whatever stalls, in order and none twice."""
    tb = await Testbench.start(dut, MatrixConfig)
    tiles = [*_directed(tb), *_random_tiles(tb)]
    await _run(tb, [tiles[k] for k in tb.rng.permutation(len(tiles))], p_stall={"i": p_in, "o": p_out})


@cocotb.test()
async def every_number(dut: Any) -> None:
    """All 65,536 operands on either side, times one and times another, in tiles of two steps."""
    tb = await Testbench.start(dut, MatrixConfig)
    rows, columns = tb.config.rows, tb.config.columns
    tiles: list[Tile] = []
    everything = np.arange(1 << 16, dtype=np.uint16)
    for k in range(0, 1 << 16, rows * 2):
        a = everything.take(range(k, k + 2 * rows), mode="wrap").reshape(rows, 2)
        tiles.append((a, np.tile(np.array([[0x3C00], [0]], np.uint16), columns)))
    for k in range(0, 1 << 16, columns * 2):
        w = everything.take(range(k, k + 2 * columns), mode="wrap").reshape(2, columns)
        tiles.append((np.tile(np.array([0x3C00, 0x8001], np.uint16), (rows, 1)), w))
    await _run(tb, tiles, p_stall=0.0)


@cocotb.test()
async def sums_near_each_other(dut: Any) -> None:
    """Many short and long tiles in which sums cancel, tie, and lie any distance from the next product.

    At last one of a tile's sums is taken off but for its last places, so that all 24 of them are seen in FP16.
    """
    tb = await Testbench.start(dut, MatrixConfig)
    tiles = [_hard_tile(tb, int(k)) for k in [*tb.rng.integers(2, 12, 1500), 400, 2000]]
    await _run(tb, [_revealed(tb, tile) for tile in tiles], p_stall=0.0)


@cocotb.test()
@cocotb.parametrize(p_stall=[0.0, 0.5])
async def reset_in_mid_run(dut: Any, p_stall: float) -> None:
    """After a reset nothing is left of steps, sums and rows from before it."""
    tb = await Testbench.start(dut, MatrixConfig)
    for clocks in (1, 2, 3, 5, tb.config.rows + 4):
        tb.port("i__payload").set(_words([_random_tile(tb, 3)], tb.config)[int(tb.rng.integers(3))])
        tb.port("i__valid").set(1)
        tb.port("o__ready").set(int(tb.rng.integers(2)))
        await tb.wait(clocks)
        tb.port("i__valid").set(0)
        await tb.reset()
        await _run(tb, [*_random_tiles(tb)[:4]], p_stall=p_stall)


async def _run(tb: Testbench, tiles: Sequence[Tile], p_stall: Any) -> tuple[list[int], list[int]]:
    """Send tiles, check every row; edges of steps and rows."""
    config = tb.config
    got = await tb.exchange(
        {"i": _words(tiles, config)}, {"o": config.rows * len(tiles)}, p_stall=p_stall, extra_clk=8
    )
    rows = [unpack(word, 16, config.columns, signed=False) for word in got["o"].words]
    flags = [word >> (16 * config.columns) for word in got["o"].words]
    tb.check_values(flags, ([0] * (config.rows - 1) + [1]) * len(tiles), "last flags")
    tb.check_values(rows, np.concatenate([fp16_array(a, w) for a, w in tiles]), "sums")
    return got["i"].clocks, got["o"].clocks


def _words(tiles: Sequence[Tile], config: MatrixConfig) -> list[int]:
    """Payloads of the tiles' steps."""
    values = np.concatenate([np.hstack([a.T, w]) for a, w in tiles]).astype(np.int64)
    last = np.zeros((len(values), 1), np.int64)
    last[np.cumsum([a.shape[1] for a, _ in tiles]) - 1] = 1
    return concatenate((to_words(values, 16), 16 * (config.rows + config.columns)), (to_words(last, 1), 1))


def _directed(tb: Testbench) -> list[Tile]:
    """Every pair of special values alone and behind others; ties and long alignments; long sums."""
    rows, columns = tb.config.rows, tb.config.columns
    tiles = []
    for values in (SPECIAL, FINITE):
        for r in range(0, len(values), rows):
            for c in range(0, len(values), columns):
                a = np.array([values[(r + k) % len(values)] for k in range(rows)], np.uint16)
                w = np.array([values[(c + k) % len(values)] for k in range(columns)], np.uint16)
                count = 1 if values is SPECIAL else 3
                more, others = _picked(tb, values, (rows, count)), _picked(tb, values, (count, columns))
                more[:, 0], others[0] = a, w
                tiles.append((more, others))
    for low in range(
        0, 31
    ):  # 2**low, then half of a last place beside it, from either side and of either sign
        one = _power(low) if low else np.uint16(1)
        for sign in (0, 0x8000):
            for fraction in (0x000, 0x001, 0x3FF):
                a = np.tile(np.array([one, one, one], np.uint16), (rows, 1))
                a[:, 0] |= fraction
                steps = np.array([0x7800, 0x0001 | sign, 0x0200 | sign], np.uint16)
                tiles.append((a, np.tile(steps[:, None], columns)))
    long = (np.full((rows, 300), 0x3BFF, np.uint16), np.full((300, columns), 0x0401, np.uint16))
    large = (np.full((rows, 300), 0x7BFF, np.uint16), np.full((300, columns), 0xFBFF, np.uint16))
    return [*tiles, long, large]


def _power(exponent: int) -> np.uint16:
    return np.uint16(exponent << 10)


def _picked(tb: Testbench, values: Sequence[int], shape: tuple[int, int]) -> Bits:
    return tb.rng.choice(np.array(values, np.uint16), shape)


def _random_tiles(tb: Testbench) -> list[Tile]:
    """Tiles shorter and longer than the drain, single steps among them."""
    rows = tb.config.rows
    k_steps = [1, 1, 2, rows, rows + 1, max(1, rows - 1), *tb.rng.integers(1, 4 * rows + 2, 8), 1, 3 * rows]
    return [_random_tile(tb, int(k)) for k in k_steps]


def _random_tile(tb: Testbench, k: int) -> Tile:
    """Ordinary numbers, numbers of any exponent, or what :func:`_hard_tile` makes."""
    rows, columns, kind = tb.config.rows, tb.config.columns, tb.rng.integers(3)
    if kind == 0:
        numbers = tb.rng.normal(size=(rows + columns, k)).astype(np.float16).view(np.uint16)
    elif kind == 1:
        numbers = tb.rng.integers(0, 1 << 16, (rows + columns, k), dtype=np.uint16)
        numbers = np.where(numbers & 0x7C00 == 0x7C00, numbers & 0x83FF, numbers)
    else:
        return _hard_tile(tb, k)
    return numbers[:rows], numbers[rows:].T.copy()


def _hard_tile(tb: Testbench, k: int) -> Tile:
    """Few exponents around a step's own, sparse or dense fractions, steps that take the one before off again."""
    rng, rows, columns = tb.rng, tb.config.rows, tb.config.columns
    centre, spread = rng.integers(0, 31), rng.integers(0, 16)

    def numbers(count: int) -> Bits:
        exponents = np.clip(centre + rng.integers(-spread, spread + 1, (count, k)), 0, 30)
        fractions = rng.integers(0, 1 << 10, (count, k))
        kept = (1 << 10) - (1 << rng.integers(0, 11, (count, k)))
        fractions = np.where(rng.random((count, k)) < 0.5, fractions & kept, fractions)
        signs = rng.integers(0, 2, (count, k))
        return (signs << 15 | exponents << 10 | fractions).astype(np.uint16)

    a, w = numbers(rows), numbers(columns).T.copy()
    if k > 1 and rng.random() < 0.6:
        for step in range(1, k):
            if rng.random() < 0.5:
                source = int(rng.integers(step))
                a[:, step], w[step] = a[:, source] ^ 0x8000, w[source]
                if rng.random() < 0.6:
                    a[:, step] ^= rng.integers(0, 4, rows).astype(np.uint16)
    if rng.random() < 0.05:
        a[int(rng.integers(rows)), int(rng.integers(k))] = rng.choice(
            np.array([0x7C00, 0xFC00, 0x7E01], np.uint16)
        )
    return a, w


def _revealed(tb: Testbench, tile: Tile) -> Tile:
    """The tile and two steps more, each of which takes off the 11 leading bits of a sum, the same one."""
    a, w = tile
    place = int(tb.rng.integers(tb.config.rows)), int(tb.rng.integers(tb.config.columns))
    for _ in range(2):
        value = float(fp32_sums(a, w)[0][place])
        fraction, exponent = np.frexp(value)
        if value == 0 or not -37 <= exponent <= 32:
            break
        leading = np.trunc(fraction * 2048) / 2048  # in ±[0.5, 1)
        half = int(exponent) // 2
        step = np.array([-leading * 2.0 ** (exponent - half), 2.0**half]).astype(np.float16).view(np.uint16)
        a = np.hstack([a, np.full((len(a), 1), step[0])])
        w = np.vstack([w, np.full((1, w.shape[1]), step[1])])
    return a, w
