"""Reductions: every operation, width and format, all lengths, masks, vectors behind each other and with gaps, resets; clocks."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import cocotb
import numpy as np
import numpy.typing as npt

from lanewise.config import MachineConfig, VectorConfig, reduction_stages_clk
from lanewise.isa.operations import OPERATIONS, Latency, Operation
from lanewise.models.vector_reductions import reduce
from lanewise.rtl.reduction_element import CONTROL, control_of
from lanewise.rtl.vector_reduction import VectorReduction
from lanewise.verify.bench import Bench, Case
from lanewise.verify.reduction_elements import reduction_elements
from lanewise.verify.testbench import Testbench
from lanewise.verify.words import to_words

_SHAPES = ((1, 128), (2, 128), (8, 1024))
_SHAPES_FULL = (*_SHAPES, (1, 4096), (4, 256), (16, 512), (64, 4096))


def _cases(machine: MachineConfig, full: bool) -> list[Case]:
    own = (machine.vector.lanes, machine.vector.vlen_bits)
    shapes = dict.fromkeys([*(_SHAPES_FULL if full else _SHAPES), own])
    return [
        Case(label=f"{lanes}x{vlen}", config=VectorConfig(lanes=lanes, vlen_bits=vlen))
        for lanes, vlen in shapes
    ]


BENCH = Bench(component=VectorReduction, cases=_cases)


@dataclass(frozen=True, kw_only=True)
class Kind:
    """An operation, a width and a format."""

    operation: Operation
    sew_bits: int
    altfmt: bool


KINDS = [
    Kind(operation=operation, sew_bits=sew, altfmt=altfmt)
    for operation in OPERATIONS.values()
    if operation.latency is Latency.REDUCE
    for sew in operation.sews
    for altfmt in ((False, True) if operation.floating and sew == 16 else (False,))
]
SUMS = [kind for kind in KINDS if kind.operation.base in ("vfredusum", "vfwredusum")]


@dataclass(frozen=True, kw_only=True)
class Vector:
    """One reduction."""

    kind: Kind
    elements: npt.NDArray[Any]
    """Bit patterns, shape ``(vl,)``."""
    active: npt.NDArray[np.bool_]
    start: int

    @property
    def result(self) -> int:
        """The golden model's."""
        kind = self.kind
        start = self.start & (1 << (kind.operation.vd or kind.operation.vs2).bits(kind.sew_bits)) - 1  # type: ignore[union-attr]
        return reduce(
            kind.operation, self.elements, self.active, start, sew_bits=kind.sew_bits, altfmt=kind.altfmt
        )


@cocotb.test()
async def operations(dut: Any) -> None:
    """Every operation, width and format on the shortest, the longest and some lengths between; masks of all densities."""
    tb = await Testbench.start(dut, VectorConfig)
    lanes = tb.config.lanes
    for kind in KINDS:
        most = _most(tb, kind)
        lengths = {1, 2, 3, lanes, lanes + 1, most - 1, most, *tb.rng.integers(1, most + 1, 12).tolist()}
        await _compare(tb, [_vector(tb, kind, n) for n in sorted(lengths) if 1 <= n <= most])


@cocotb.test()
async def sums_of_all_lengths(dut: Any) -> None:
    """Sums of every number of beats, in any order, without a gap."""
    tb = await Testbench.start(dut, VectorConfig)
    lanes = tb.config.lanes
    for _ in range(2):
        beats = tb.rng.permutation(np.arange(1, _most(tb, SUMS[-1]) // lanes + 1)).tolist()
        await _compare(tb, [_sum_of(tb, count) for count in beats])


@cocotb.test()
@cocotb.parametrize(p_gap=[0.0, 0.1, 0.5])
async def short_vectors(dut: Any, p_gap: float) -> None:
    """Sums of few beats behind each other, where additions of several levels and vectors fall close together."""
    tb = await Testbench.start(dut, VectorConfig)
    most = _most(tb, SUMS[-1]) // tb.config.lanes
    beats = [min(most, int(n)) for limit in (3, 5, 9, 20, 40) for n in tb.rng.integers(1, limit + 1, 150)]
    await _compare(tb, [_sum_of(tb, count) for count in beats], p_gap)


@cocotb.test()
@cocotb.parametrize(p_gap=[0.0, 0.3])
async def mixed(dut: Any, p_gap: float) -> None:
    """Operations, widths and lengths that change from vector to vector."""
    tb = await Testbench.start(dut, VectorConfig)
    vectors = []
    for _ in range(400):
        kind = KINDS[int(tb.rng.integers(len(KINDS)))]
        most = _most(tb, kind)
        limit = most if tb.rng.random() < 0.1 else min(most, 6 * tb.config.lanes)
        vectors.append(_vector(tb, kind, int(tb.rng.integers(1, limit + 1))))
    await _compare(tb, vectors, p_gap)


@cocotb.test()
async def reset_in_mid_run(dut: Any) -> None:
    """A reset drops vectors that were begun and results that had not come; the next vector begins anew."""
    tb = await Testbench.start(dut, VectorConfig)
    for k in range(12):
        await _run(tb, [_sum_of(tb, 7), _sum_of(tb, 5 + k)], 0.0, beats=8 + k, after=0)
        tb.port("valid").set(0)
        await tb.reset()
        tb.check_values(tb.port("o_valid").get(), 0, "valid after a reset")
        await _compare(tb, [_sum_of(tb, 3), _vector(tb, KINDS[k], 9), _sum_of(tb, 1)])


def _most(tb: Testbench, kind: Kind) -> int:
    return int(8 * tb.config.vlen_bits // kind.sew_bits)


def _sum_of(tb: Testbench, beats: int) -> Vector:
    kinds = [kind for kind in SUMS if beats * tb.config.lanes <= _most(tb, kind)]
    kind = kinds[int(tb.rng.integers(len(kinds)))]
    return _vector(tb, kind, beats * tb.config.lanes - int(tb.rng.integers(tb.config.lanes)))


def _vector(tb: Testbench, kind: Kind, count: int) -> Vector:
    form = ("bf16" if kind.altfmt else f"fp{kind.sew_bits}") if kind.operation.floating else ""
    doubled = control_of(kind.operation)["doubled"]
    elements = reduction_elements(tb.rng, kind.sew_bits, count, form)
    start = reduction_elements(tb.rng, kind.sew_bits << doubled, 1, "fp32" if form and doubled else form)
    above = int(tb.rng.integers(1 << 32)) << (kind.sew_bits << doubled)
    density = tb.rng.choice([0.0, 0.1, 0.5, 0.9, 1.0, 1.0])
    return Vector(
        kind=kind, elements=elements, active=tb.rng.random(count) < density,
        start=(int(start[0]) | above) & 0xFFFFFFFF,
    )  # fmt: skip


def _beats(tb: Testbench, vectors: Iterable[Vector]) -> list[dict[str, int]]:
    """What is at the ports in each clock without gaps; what is not an element is at random."""
    lanes, beats = tb.config.lanes, []
    for vector in vectors:
        kind = vector.kind
        count = -(-vector.elements.size // lanes)
        per_word = 32 // kind.sew_bits
        words = -(-count // per_word)
        raw = tb.rng.integers(0, 1 << kind.sew_bits, words * per_word * lanes, dtype=np.uint64)
        raw[: vector.elements.size] = vector.elements
        a = to_words(raw.reshape(words, -1), kind.sew_bits)
        active = np.zeros((count, lanes), np.uint8)
        active.reshape(-1)[: vector.active.size] = vector.active
        masks = to_words(active, 1)
        control = CONTROL.const(control_of(kind.operation)).as_value().value
        for k in range(count):
            last = k == count - 1
            beats.append({
                "valid": 1, "last": int(last), "control": control, "sew": kind.sew_bits.bit_length() - 4,
                "altfmt": int(kind.altfmt), "part": k & 7, "a": a[k // per_word], "active": masks[k],
                "start": vector.start if last else int(tb.rng.integers(1 << 32)),
            })  # fmt: skip
    return beats


async def _run(
    tb: Testbench, vectors: Sequence[Vector], p_gap: float, *, beats: int | None = None, after: int
) -> tuple[list[int], list[int], list[int]]:
    """Run beats, the first ``beats`` of them; results, their clocks, and the clocks of last beats."""
    results, clocks, lasts = [], [], []
    valid, y = tb.port("o_valid"), tb.port("y")

    async def clock() -> None:
        await tb.wait(1)
        if valid.get():
            results.append(y.get())
            clocks.append(tb.clk)

    for beat in _beats(tb, vectors)[:beats]:
        while tb.rng.random() < p_gap:
            tb.port("valid").set(0)
            for name in ("last", "part", "start", "active", "control"):
                port = tb.port(name)
                port.set(int(tb.rng.integers(1 << 63)) & port.mask)
            await clock()
        for name, value in beat.items():
            tb.port(name).set(value)
        await clock()
        if beat["last"]:
            lasts.append(tb.clk)
    tb.port("valid").set(0)
    for _ in range(after):
        await clock()
    return results, clocks, lasts


async def _compare(tb: Testbench, vectors: Sequence[Vector], p_gap: float = 0.0) -> None:
    """Run vectors; compare results and clocks."""
    latency = reduction_stages_clk(tb.config.lanes, tb.config.vlen_bits)
    results, clocks, lasts = await _run(tb, vectors, p_gap, after=latency + 4)
    tb.check_clocks(clocks, [clk + latency for clk in lasts], "results")
    expected = [vector.result for vector in vectors]
    wrong = [k for k, (a, e) in enumerate(zip(results, expected, strict=True)) if a != e]
    if wrong:
        kind = vectors[wrong[0]].kind
        what = f"{kind.operation.mnemonic} of {vectors[wrong[0]].elements.size} x {kind.sew_bits} bits"
        tb.check_values(results, expected, what + (" (altfmt)" if kind.altfmt else ""))
    tb.check_values(results, expected)
