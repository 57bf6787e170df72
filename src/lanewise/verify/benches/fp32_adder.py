"""FP32 adder: corner values pairwise, random bits, subnormals, cancellation, ties, far apart; latency."""

from dataclasses import dataclass
from typing import Any, TypeAlias

import cocotb
import numpy as np
import numpy.typing as npt

from lanewise.config import FP32_ADDER_LATENCY_CLK, MachineConfig
from lanewise.rtl.fp32_adder import Fp32Adder
from lanewise.verify.bench import Bench, Case
from lanewise.verify.testbench import Testbench

Words: TypeAlias = npt.NDArray[np.uint32]

_RANDOM, _RANDOM_FULL = 40_000, 1_000_000


@dataclass(frozen=True, kw_only=True)
class AdderConfig:
    """The adder has nothing to configure."""


def _cases(machine: MachineConfig, full: bool) -> list[Case]:  # noqa: ARG001
    return [
        Case(label="fp32", config=AdderConfig(), parameters={"random": _RANDOM_FULL if full else _RANDOM})
    ]


BENCH = Bench(component=lambda _: Fp32Adder(), cases=_cases)


@cocotb.test()
async def corners(dut: Any) -> None:
    """Every pair of corner values: both ends of exponents and fractions, signed zeros, infinities, NaNs."""
    tb = await Testbench.start(dut, AdderConfig)
    exponents = np.array([0, 1, 2, 23, 24, 25, 26, 27, 28, 127, 128, 150, 151, 152, 153, 253, 254, 255])
    fractions = np.array([0, 1, 0x7FFFFF, 0x400000, 0x3FFFFF])
    magnitudes = ((exponents[:, None] << 23) | fractions).ravel()
    words = np.concatenate([magnitudes, magnitudes | 1 << 31]).astype(np.uint32)
    a, b = np.meshgrid(words, words)
    await _compare(tb, a.ravel(), b.ravel())


@cocotb.test()
@cocotb.parametrize(kind=["any", "near", "small", "tie"])
async def random(dut: Any, kind: str) -> None:
    """Any bits; numbers that cancel; subnormals; sums halfway between two numbers, or a last place beside."""
    tb = await Testbench.start(dut, AdderConfig)
    rng, count = tb.rng, tb.parameters["random"]
    a = rng.integers(0, 1 << 32, count, dtype=np.uint32)
    b = rng.integers(0, 1 << 32, count, dtype=np.uint32)
    sign = np.uint32(1 << 31)
    if kind == "near":
        b = a ^ sign ^ (b >> rng.integers(6, 32, count).astype(np.uint32))
    elif kind == "small":
        a, b = (v & (sign | np.uint32(0x1FFFFFF)) for v in (a, b))
    elif kind == "tie":
        exponent = rng.integers(26, 254, count)
        a = (a & np.uint32(0x807FFFFF)) | (exponent << 23).astype(np.uint32)
        places = rng.integers(22, 27, count)  # b has one bit, or two, near the end of a
        b = (b & sign) | ((exponent - places) << 23).astype(np.uint32)
        b |= rng.choice(np.array([0, 0, 1, 1 << 22, 0x7FFFFF], np.uint32), count)
    await _compare(tb, a, b)


async def _compare(tb: Testbench, a: Words, b: Words) -> None:
    """Add pair after pair, one a clock."""
    with np.errstate(all="ignore"):
        total = a.view(np.float32) + b.view(np.float32)
    expected = np.where(np.isnan(total), np.uint32(0x7FC00000), total.view(np.uint32))
    ports = [tb.port(name) for name in ("a", "b")]
    y = tb.port("y")
    sums = []
    for pair in zip(a.tolist(), b.tolist(), strict=True):
        for port, value in zip(ports, pair, strict=True):
            port.set(value)
        await tb.wait(1)
        sums.append(y.get())
    for _ in range(FP32_ADDER_LATENCY_CLK):
        await tb.wait(1)
        sums.append(y.get())
    tb.check_values(np.array(sums[FP32_ADDER_LATENCY_CLK:], np.uint32), expected)
