"""Multiply-add: special and random operands of every format, formats changing from beat to beat, latency, throughput."""

from collections.abc import Sequence
from typing import Any

import cocotb
import numpy as np

from lanewise.config import FlexSfuConfig, MachineConfig, multiply_add_latency_clk
from lanewise.formats import NumberFormat
from lanewise.models.multiply_add import multiply_add
from lanewise.models.numbers import Bits
from lanewise.rtl.multiply_add import MultiplyAdd
from lanewise.verify.bench import Bench, Case
from lanewise.verify.operands import random_triples, special_triples
from lanewise.verify.sfu_tables import ALL_FORMATS, label
from lanewise.verify.testbench import Testbench, Transfers
from lanewise.verify.words import concatenate, from_words, to_words

_LANES = 8  # all lanes are the same module: as many as make a clock of simulation worth its time
_RANDOM, _RANDOM_FULL = 2_200_000, 20_000_000
_BLOCK = 400_000
_GROUP_BEATS = 64
"""Beats that share their shifts."""


def _component(config: FlexSfuConfig) -> MultiplyAdd:
    return MultiplyAdd(lanes=config.lanes, formats=config.number_formats)


def _cases(machine: MachineConfig, full: bool) -> list[Case]:
    own = machine.flex_sfu.formats
    configs = [FlexSfuConfig(lanes=_LANES, formats=names) for names in (("fp16",), ALL_FORMATS, own)]
    if full:
        sets: list[tuple[str, ...]] = [(name,) for name in ALL_FORMATS if name != "fp16"]
        sets += [("fp16", "bf16"), ("fp8e4m3", "fp8e5m2"), ("int8", "int16"), ("fp32", "fp16")]
        configs += [FlexSfuConfig(lanes=_LANES, formats=names) for names in sets]
    cases = []
    for config in dict.fromkeys(configs):
        whole = config.formats == ("fp16",)
        random = (_RANDOM_FULL if full else _RANDOM) if whole else (4_000_000 if full else 400_000)
        name = label(config).partition("x")[2]
        cases.append(Case(label=name, config=config, parameters={"random": random}))
    return cases


BENCH = Bench(component=_component, cases=_cases)


@cocotb.test()
@cocotb.parametrize(p_stall=[0.0, 0.5])
async def special_values(dut: object, p_stall: float) -> None:
    """Every triple of the special values of each format; with stalls, one in eight."""
    tb = await Testbench.start(dut, FlexSfuConfig)
    for form in tb.config.number_formats:
        triples: Sequence[Bits] = special_triples(form)
        if p_stall:
            some = tb.rng.permutation(triples[0].size)[::8]
            triples = [operand[some] for operand in triples]
        await _compare(tb, form, triples, p_stall)


@cocotb.test()
@cocotb.parametrize(p_stall=[0.0, 0.5])
async def random_values(dut: object, p_stall: float) -> None:
    """Random triples of each format; one in ten of them again with stalls."""
    tb = await Testbench.start(dut, FlexSfuConfig)
    count = tb.parameters["random"] if p_stall == 0 else tb.parameters["random"] // 10
    for form in tb.config.number_formats:
        for start in range(0, count, _BLOCK):
            triples = random_triples(tb.rng, min(_BLOCK, count - start), form)
            await _compare(tb, form, triples, p_stall)


@cocotb.test()
async def formats_beat_by_beat(dut: object) -> None:
    """Each beat has a format of its own."""
    tb = await Testbench.start(dut, FlexSfuConfig)
    forms = tb.config.number_formats
    streams = []
    for form in forms:
        width = tb.config.elements_per_clk(form.bits)
        triples = random_triples(tb.rng, _GROUP_BEATS * 20 * width, form)
        streams.append(_stream(tb, form, triples))
    order = tb.rng.permutation(np.repeat(np.arange(len(forms)), _GROUP_BEATS * 20))
    places = [iter(stream[0]) for stream in streams]
    moved = await tb.exchange({"i": [next(places[k]) for k in order]}, {"o": len(order)}, p_stall=0.2)
    for k, (form, (_, expected)) in enumerate(zip(forms, streams, strict=True)):
        words = [word for word, owner in zip(moved["o"].words, order, strict=True) if owner == k]
        actual = from_words(words, form.bits, tb.config.elements_per_clk(form.bits))
        tb.check_values(actual, expected, form.name)


def _stream(tb: Testbench, form: NumberFormat, triples: Sequence[Bits]) -> tuple[list[int], Bits]:
    """Payloads of the triples, each in a random place, and the results that they must have."""
    config = tb.config
    count, width = triples[0].size, config.elements_per_clk(form.bits)
    beats = -(-count // width)
    order = np.resize(tb.rng.permutation(count), beats * width)  # the last beat is filled up with repeats
    a, b, c = (operand[order].reshape(beats, width) for operand in triples)
    fields: list[Any] = [(to_words(operand, form.bits), 32 * config.lanes) for operand in (a, b, c)]
    if len(config.formats) > 1:
        index = config.formats.index(form.name)
        fields.append(([index] * beats, (len(config.formats) - 1).bit_length()))
    if form.floating:
        expected = multiply_add(a, b, c, form)
        shifts = np.zeros((beats, 2), np.int64)
    else:
        groups = tb.rng.integers(0, (2 * form.bits, form.bits), size=(-(-beats // _GROUP_BEATS), 2))
        shifts = np.repeat(groups, _GROUP_BEATS, axis=0)[:beats]
        expected = np.empty_like(a)
        for g, (product, addend) in enumerate(groups.tolist()):
            part = slice(g * _GROUP_BEATS, (g + 1) * _GROUP_BEATS)
            expected[part] = multiply_add(a[part], b[part], c[part], form, shifts=(product, addend))
    if config.integers:
        fields.append(((shifts[:, 0] | shifts[:, 1] << 6).tolist(), 11))
    return concatenate(*fields), expected


async def _compare(tb: Testbench, form: NumberFormat, triples: Sequence[Bits], p_stall: float) -> None:
    """Run the triples and hold results and clocks to what they must be."""
    words, expected = _stream(tb, form, triples)
    moved = await tb.exchange({"i": words}, {"o": len(words)}, p_stall=p_stall)
    actual = from_words(moved["o"].words, form.bits, tb.config.elements_per_clk(form.bits))
    tb.check_values(actual, expected, f"a * b + c in {form.name}")
    if p_stall == 0:
        _check_pace(tb, moved["i"], moved["o"])


def _check_pace(tb: Testbench, i: Transfers, o: Transfers) -> None:
    tb.check_clocks(i.clocks, list(range(i.clocks[0], i.clocks[0] + len(i.clocks))), "accepted beats")
    tb.check_clocks(
        o.clocks, [clk + multiply_add_latency_clk(tb.config.number_formats) for clk in i.clocks], "results"
    )
