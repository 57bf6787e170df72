"""The vector unit's multiply-add unit: every instruction of the table, under every vtype, mixed beat by beat, and its latency."""

from dataclasses import dataclass
from typing import Any

import cocotb
import numpy as np
import numpy.typing as npt

from lanewise.config import MachineConfig, VectorConfig
from lanewise.isa.operations import OPERATIONS, Unit
from lanewise.models.vector_elements import evaluate
from lanewise.rtl.vector_fma import CONTROL, VectorFma, control_of
from lanewise.verify.bench import Bench, Case
from lanewise.verify.testbench import Testbench
from lanewise.verify.vector_operands import Setting, operand_rows, settings
from lanewise.verify.words import from_words, to_words

_LATENCY_CLK = 6
_RANDOM, _RANDOM_FULL = 3_000, 40_000
"""Random elements, of 16 bits, for each instruction and vtype."""
_SHARE = 0.08
"""Of the beats, where there are few lanes."""
_INPUTS = ("control", "sew", "altfmt", "part", "a", "b", "c", "scalar")
SETTINGS = tuple(
    setting
    for operation in OPERATIONS.values()
    if operation.unit is Unit.FMA
    for setting in settings(operation)
)
"""Every instruction of the unit with every vtype."""


def _cases(_machine: MachineConfig, full: bool) -> list[Case]:
    def case(lanes: int, random: int, share: float) -> Case:
        parameters = {"random": random, "share": share}
        return Case(label=f"{lanes}", config=VectorConfig(lanes=lanes), parameters=parameters)

    random = _RANDOM_FULL if full else _RANDOM
    cases = [case(8, random, 1.0), case(1, _RANDOM, _SHARE)]
    return [*cases, case(2, _RANDOM, 1.0)] if full else cases


BENCH = Bench(component=lambda config: VectorFma(lanes=config.lanes), cases=_cases)


@dataclass(frozen=True, kw_only=True)
class Work:
    """Beats of one instruction."""

    setting: Setting
    inputs: dict[str, list[int]]
    """A word for each beat."""
    expected: npt.NDArray[Any]
    """Elements of the results, shape ``(beats, elements)``."""

    def __len__(self) -> int:
        return len(self.expected)

    def results(self, words: list[int]) -> npt.NDArray[Any]:
        """The elements of output words."""
        return from_words(words, self.setting.widths[2], self.expected.shape[1])


@cocotb.test()
async def every_instruction(dut: Any) -> None:
    """Pairs of special values, exhaustive conversions, random values; each beat is of another instruction."""
    tb = await Testbench.start(dut, VectorConfig)
    works = [work_of(tb, setting) for setting in SETTINGS]
    owner = np.repeat(np.arange(len(works)), [len(work) for work in works])
    place = np.concatenate([np.arange(len(work)) for work in works])
    order = tb.rng.permutation(owner.size)
    beats = [works[owner[k]].inputs for k in order]
    places = place[order].tolist()
    words = await _run(
        tb, {name: [beat[name][j] for beat, j in zip(beats, places, strict=True)] for name in _INPUTS}
    )
    came = np.empty(owner.size, np.int64)
    came[order] = np.arange(owner.size)
    start = 0
    for work in works:
        own = [words[k] for k in came[start : start + len(work)]]
        tb.check_values(work.results(own), work.expected, work.setting.label)
        start += len(work)


@cocotb.test()
async def latency(dut: Any) -> None:
    """One beat of each instruction among beats of zeros: its result appears after so many clocks, and for one clock."""
    tb = await Testbench.start(dut, VectorConfig)
    idle = dict.fromkeys(_INPUTS, 0) | {"control": control_word(OPERATIONS["vmul.vv"])}
    gap = 2 * _LATENCY_CLK
    await _run(tb, {name: [idle[name]] * gap for name in _INPUTS})  # the pipeline has no reset
    for setting in SETTINGS:
        work = work_of(tb, setting)
        beat = int(tb.rng.choice(np.flatnonzero(work.expected.any(axis=1))))
        own = {name: work.inputs[name][beat] for name in _INPUTS}
        words = await _run(tb, {name: [own[name], *[idle[name]] * gap] for name in _INPUTS}, latency_clk=0)
        clocks = [clk for clk, word in enumerate(words) if word]
        tb.check_clocks(clocks, [_LATENCY_CLK], setting.label)
        tb.check_values(work.results([words[_LATENCY_CLK]])[0], work.expected[beat], setting.label)


async def _run(tb: Testbench, inputs: dict[str, list[int]], latency_clk: int = _LATENCY_CLK) -> list[int]:
    """Send a beat every clock; the output so many clocks after each."""
    ports, y = [tb.port(name) for name in _INPUTS], tb.port("y")
    beats = list(zip(*(inputs[name] for name in _INPUTS), strict=True))
    words = []
    await tb.wait(1)
    for clk in range(len(beats) + latency_clk + 1):
        if clk > latency_clk:
            words.append(y.get())
        if clk < len(beats):
            for port, value in zip(ports, beats[clk], strict=True):
                port.set(value)
        await tb.wait(1)
    return words


def control_word(operation: Any) -> int:
    """The constant fields of an instruction as a word."""
    fields = control_of(operation)
    return sum(value << CONTROL[name].offset for name, value in fields.items())


def work_of(tb: Testbench, setting: Setting) -> Work:
    """The beats of an instruction, in the order of its operands."""
    operation, bits = setting.operation, tb.config.bits_per_clk
    widths = setting.widths
    unary = operation.vs1_code is not None
    widest = max(widths[0], widths[2])
    width = bits // widest
    rows = -(-tb.parameters["random"] // width)
    vs2, vs1, vd = operand_rows(tb.rng, setting, width, rows)
    kept = tb.rng.permutation(len(vs2))[: max(1, round(len(vs2) * tb.parameters["share"]))]
    vs2, vs1, vd = vs2[kept], vs1[kept], vd[kept]
    expected = evaluate(
        operation, vs2, None if unary else vs1, vd if operation.reads_vd else None,
        sew_bits=setting.sew_bits, altfmt=setting.altfmt,
    )  # fmt: skip
    if expected.shape[1] * widths[2] < bits:
        expected = np.tile(expected, (1, 2))  # in both halves
    count = len(vs2)
    part = tb.rng.integers(0, 8, count)
    junk = tb.rng.integers(0, 1 << 32, (3, count, tb.config.lanes), np.uint32)
    scalar = junk[2][:, :1]
    if operation.scalar:
        low = (1 << widths[1]) - 1
        scalar = (scalar & ~np.uint32(low)) | vs1[:, :1].astype(np.uint32)
        b = to_words(junk[0], 32)
    else:
        b = to_words(junk[0], 32) if unary else _beats(tb, vs1, widths[1], part)
    inputs = {
        "control": [control_word(operation)] * count,
        "sew": [setting.sew_bits // 16] * count,
        "altfmt": [int(setting.altfmt)] * count,
        "part": part.tolist(),
        "a": _beats(tb, vs2, widths[0], part),
        "b": b,
        "c": _beats(tb, vd, widths[2], part) if operation.reads_vd else to_words(junk[1], 32),
        "scalar": scalar[:, 0].tolist(),
    }
    return Work(setting=setting, inputs=inputs, expected=expected)


def _beats(tb: Testbench, elements: npt.NDArray[Any], bits: int, part: npt.NDArray[Any]) -> list[int]:
    """Beats of the register file; elements that fill half of one are in the half that the beat's number says."""
    count, width = elements.shape
    if width * bits == tb.config.bits_per_clk:
        return to_words(elements, bits)
    whole = tb.rng.integers(0, 1 << bits, (count, 2, width), elements.dtype)
    whole[np.arange(count), part & 1] = elements
    return to_words(whole.reshape(count, 2 * width), bits)
