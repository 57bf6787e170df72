"""Operand path: tensors of all kinds behind each other, stalls, new seeds, resets; the simulator's clocks."""

from dataclasses import dataclass
from typing import Any

import cocotb
import numpy as np
import numpy.typing as npt

from lanewise.config import OperandPathConfig, Rounding
from lanewise.models.int4_quantiser import QuantiserSettings
from lanewise.models.lfsr import States, lane_states
from lanewise.models.numbers import Bits, decode
from lanewise.models.operand_path import OperandSettings, operand_path, quantiser_scale, word_norms
from lanewise.rtl.operand_path import OperandPath
from lanewise.sim.operand_path import (
    operand_norms_clk,
    operand_path_clk,
    operand_path_tensors_clk,
    operand_seed_clk,
)
from lanewise.verify.bench import Bench
from lanewise.verify.operand_elements import (
    norm_pairs,
    path_cases,
    path_results,
    random_operands,
    settings_word,
    state_loads,
)
from lanewise.verify.testbench import Testbench
from lanewise.verify.words import to_words

BENCH = Bench(component=OperandPath, cases=path_cases)


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """Elements, shape ``(beats, lanes)``, and what is to be done with them."""

    x: Bits
    settings: OperandSettings
    row_beats: int = 0
    """Beats of a row; 0: no norms."""


@cocotb.test()
@cocotb.parametrize(p_stall=[0.0, 0.5])
async def tensors(dut: Any, p_stall: float) -> None:
    """Every block, format and rounding, one tensor behind the other; without stalls in the simulator's clocks."""
    tb = await Testbench.start(dut, OperandPathConfig)
    states = await _seed(tb, 1)
    order = [
        _tensor(tb, form.name, block, rounding, bits)
        for form in tb.config.number_formats
        for block in tb.config.blocks
        for rounding, bits in _ROUNDINGS
    ]
    await _compare(tb, order, states, p_stall)


@cocotb.test()
async def clocks(dut: Any) -> None:
    """A tensor's first beat to its last INT4, and each beat's own latency."""
    tb = await Testbench.start(dut, OperandPathConfig)
    states = await _seed(tb, 2)
    for block in tb.config.blocks:
        for blocks in (1, 2, int(tb.rng.integers(3, 50))):
            tensor = _tensor(tb, tb.config.formats[0], block, Rounding.STOCHASTIC, 4, blocks=blocks)
            i, o, states = await _compare(tb, [tensor], states, 0.0)
            tb.check_clocks(i, list(range(i[0], i[0] + len(i))), "accepted beats")
            tb.check_clocks(o, [clk + tb.config.latency_clk(block) for clk in i], "results")
            tb.check_clocks(o[-1] - i[0], operand_path_clk(len(i), tb.config, block), "the tensor")


@cocotb.test()
@cocotb.parametrize(p_stall=[0.0, 0.5])
async def reseed_in_mid_run(dut: Any, p_stall: float) -> None:
    """States offered while beats are in the path: those have the old states' bits, later ones the new ones'."""
    tb = await Testbench.start(dut, OperandPathConfig)
    states = await _seed(tb, 3)
    for seed in range(4, 9):
        block = int(tb.rng.choice(np.array(tb.config.blocks)))
        tensor = _tensor(tb, tb.config.formats[0], block, Rounding.SPLIT, 4, blocks=24, row_beats=0)
        per_block = tb.config.block_beats(block)
        few, rest = tensor.x[:per_block], tensor.x[per_block:]
        await tb.exchange({"settings": [_settings_word(tb.config, tensor)]}, {})
        await tb.exchange({"i": to_words(few, 16)}, {})  # no more than the path holds: they wait in it
        new = lane_states(seed, tb.config.lanes)
        send = {"i": to_words(rest, 16), "load": state_loads(tb.config.lanes, new)}
        moved = await tb.exchange(send, {"o": len(tensor.x)}, p_stall={"i": p_stall, "o": p_stall})
        before, after = operand_path(few, tensor.settings, states), operand_path(rest, tensor.settings, new)
        expected = np.concatenate([np.hstack([lo, hi, inside]) for hi, lo, inside, _ in (before, after)])
        actual = path_results(moved["o"].words, tb.config.lanes)
        tb.check_values(actual, expected, f"around seed {seed}")
        states = after[-1]
        if p_stall == 0:
            load = moved["load"].clocks
            tb.check_clocks(load[-1] - load[0] + 1, operand_seed_clk(tb.config), "states")
            tb.check_clocks(moved["i"].clocks[0] - load[-1], 1, "first beat behind them")


@cocotb.test()
async def norms_wait(dut: Any) -> None:
    """Norms that are not taken: the row behind them leaves whole and no beat after it, until they are taken."""
    tb = await Testbench.start(dut, OperandPathConfig)
    states = await _seed(tb, 9)
    for row_beats in (1, 2, 5, 12):
        tensor = _tensor(tb, tb.config.formats[0], 1, Rounding.SPLIT, 4, blocks=60, row_beats=row_beats)
        words = to_words(tensor.x, 16)
        held = 2 * row_beats + tb.config.latency_clk(1)
        send = {"settings": [_settings_word(tb.config, tensor)], "i": words[:held]}
        first = await tb.exchange(send, {"o": 2 * row_beats}, extra_clk=40)
        tb.check_values(tb.port("busy").get(), 1, "busy")
        rest = {"o": len(words) - 2 * row_beats, "norms": len(words) // row_beats}
        moved = await tb.exchange({"i": words[held:]}, rest, p_stall={"norms": 0.5, "o": 0.2})
        hi, lo, inside, states = operand_path(tensor.x, tensor.settings, states)
        actual = path_results(first["o"].words + moved["o"].words, tb.config.lanes)
        tb.check_values(actual, np.hstack([lo, hi, inside]), "lo, hi and inside")
        tb.check_values(norm_pairs(moved["norms"].words), word_norms(hi, lo, row_beats), "norms")


@cocotb.test()
async def reset_in_mid_run(dut: Any) -> None:
    """A reset drops the beats in flight; with settings and states loaded again, all is as at first."""
    tb = await Testbench.start(dut, OperandPathConfig)
    block = tb.config.largest_block
    for in_flight in range(1, tb.config.latency_clk(block) + 1):
        states = await _seed(tb, in_flight)
        tensor = _tensor(
            tb,
            tb.config.formats[-1],
            block,
            Rounding.STOCHASTIC,
            8,
            blocks=30,
            row_beats=tb.config.block_beats(block),
        )
        await tb.exchange({"settings": [_settings_word(tb.config, tensor)]}, {})
        await tb.exchange({"i": to_words(tensor.x, 16)[:in_flight]}, {})
        await tb.wait(1)  # ports read at an edge have the values from before it
        tb.check_values(tb.port("busy").get(), 1, "busy")
        await tb.reset()
        tb.check_values(tb.port("busy").get(), 0, "busy after a reset")
        states = await _seed(tb, in_flight)
        await _compare(tb, [tensor], states, 0.0)


_ROUNDINGS = (
    (Rounding.NEAREST, 4), (Rounding.NEAREST, 8), (Rounding.STOCHASTIC, 4), (Rounding.STOCHASTIC, 8), (Rounding.SPLIT, 4),
)  # fmt: skip


def _tensor(
    tb: Testbench, form: str, block: int, rounding: Rounding, bits: int, *,
    blocks: int | None = None, row_beats: int | None = None,
) -> Tensor:  # fmt: skip
    """Random operands, with the exponent and the step that a tensor of Gaussian numbers with outliers has; rows of any length."""
    config = tb.config
    count = int(tb.rng.integers(8, 40)) if blocks is None else blocks
    kind = config.number_formats[config.formats.index(form)]
    x = random_operands(tb.rng, config, kind, count * config.block_beats(block))
    exponent = int(tb.rng.integers(5, 12))
    finite = np.nan_to_num(decode(x, kind), posinf=0.0, neginf=0.0)
    typical = max(float(np.median(np.abs(finite))), 1e-2)
    step = 2 * typical / np.sqrt(7) if rounding is not Rounding.SPLIT else typical / 20
    multiplier, shift = quantiser_scale(min(max(step, 1.01 * 2.0**-exponent), 64.0), block, exponent)
    quantiser = QuantiserSettings(multiplier=multiplier, shift=shift, rounding=rounding, bits=bits)
    settings = OperandSettings(block=block, exponent=exponent, quantiser=quantiser, format=form)
    if row_beats is None:
        divisors = [beats for beats in range(1, len(x) + 1) if len(x) % beats == 0]
        row_beats = int(tb.rng.choice([0, 1, *divisors]))
    return Tensor(x=x, settings=settings, row_beats=row_beats)


def _settings_word(config: OperandPathConfig, tensor: Tensor) -> int:
    settings, block_bits = tensor.settings, (len(config.blocks) - 1).bit_length()
    word = settings_word(settings.quantiser) | config.blocks.index(settings.block) << 25
    word |= (settings.exponent & 63) << 25 + block_bits
    word |= tensor.row_beats << 31 + block_bits
    return word | config.formats.index(settings.format) << 47 + block_bits


async def _seed(tb: Testbench, seed: int) -> States:
    states = lane_states(seed, tb.config.lanes)
    await tb.exchange({"load": state_loads(tb.config.lanes, states)}, {})
    return states


async def _compare(
    tb: Testbench, order: list[Tensor], states: npt.NDArray[np.uint32], p_stall: float
) -> tuple[list[int], list[int], States]:
    """Run tensors; compare all results, norms and, without stalls, clocks. Edges of beats and results, states after them."""
    config = tb.config
    receiver = Testbench(tb.dut, config, tb.parameters)
    receiver.clk = tb.clk
    count = sum(len(tensor.x) for tensor in order)
    rows = sum(len(tensor.x) // tensor.row_beats for tensor in order if tensor.row_beats)
    receive = cocotb.start_soon(receiver.exchange({}, {"o": count, "norms": rows}, p_stall=p_stall))
    started, accepted, expected, norms, norms_clk = 0, [], [], [], []
    for tensor in order:
        # settings are on offer from the first clock, so that no beat overtakes them
        send = {"settings": [_settings_word(config, tensor)], "i": to_words(tensor.x, 16)}
        moved = await tb.exchange(send, {}, p_stall={"i": p_stall})
        started = started or moved["settings"].clocks[0]
        accepted += moved["i"].clocks
        of_rows = operand_norms_clk(len(tensor.x), tensor.row_beats, config, tensor.settings.block)
        norms_clk += [moved["i"].clocks[0] + clk for clk in of_rows]
        hi, lo, inside, states = operand_path(tensor.x, tensor.settings, states)
        norms.append(word_norms(hi, lo, tensor.row_beats))
        expected.append(np.hstack([lo, hi, inside]))
    moved = await receive
    tb.clk = receiver.clk
    actual = path_results(moved["o"].words, config.lanes)
    tb.check_values(actual, np.concatenate(expected), "lo, hi and inside")
    tb.check_values(norm_pairs(moved["norms"].words), np.concatenate(norms), "norms")
    if p_stall == 0:
        tb.check_clocks(moved["norms"].clocks, norms_clk, "norms")
        sizes = [(len(tensor.x), tensor.settings.block) for tensor in order]
        measured = moved["o"].clocks[-1] - started
        tb.check_clocks(measured, operand_path_tensors_clk(sizes, config), "all tensors")
    return accepted, moved["o"].clocks, states
