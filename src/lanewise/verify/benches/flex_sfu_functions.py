"""Flex-SFU with the tables that users load: every element of every narrow format, function by function."""

from typing import Any

import cocotb

from lanewise.config import DEGREES, SEGMENT_COUNTS, FlexSfuConfig, MachineConfig
from lanewise.models.fit import fit
from lanewise.rtl.flex_sfu import FlexSfu
from lanewise.verify.bench import Bench, Case
from lanewise.verify.benches.flex_sfu import evaluate
from lanewise.verify.sfu_tables import ALL_FORMATS, elements_of, label, table_loads
from lanewise.verify.testbench import Testbench

FUNCTIONS = (
    "gelu", "gelu_tanh", "silu", "sigmoid", "tanh", "exp", "mish", "softplus", "hardswish", "hardsigmoid", "erf", "elu",
    "quick_gelu", "logsigmoid", "softsign",
)  # fmt: skip
"""Functions whose tables every format can hold."""

_LANES = 8


def _cases(_machine: MachineConfig, full: bool) -> list[Case]:
    quick = FlexSfuConfig(segments=8, lanes=_LANES, degree=2, formats=ALL_FORMATS)
    cases = [Case(label=label(quick), config=quick, parameters={"functions": ["gelu", "exp", "sigmoid"]})]
    if full:
        configs = [
            FlexSfuConfig(segments=segments, lanes=_LANES, degree=degree, formats=ALL_FORMATS)
            for segments in SEGMENT_COUNTS
            for degree in DEGREES
        ]
        cases = [Case(label=label(c), config=c, parameters={"functions": list(FUNCTIONS)}) for c in configs]
    return cases


BENCH = Bench(component=FlexSfu, cases=_cases)


@cocotb.test()
async def every_function(dut: Any) -> None:
    """Each function's fitted table in each format: all elements, without stalls."""
    tb = await Testbench.start(dut, FlexSfuConfig)
    for form in tb.config.number_formats:
        for name in tb.parameters["functions"]:
            await _function(tb, name, form.name, 0.0)


@cocotb.test()
async def stalls(dut: Any) -> None:
    """One function in each format while sender and receiver stall at random."""
    tb = await Testbench.start(dut, FlexSfuConfig)
    for form in tb.config.number_formats:
        await _function(tb, tb.parameters["functions"][0], form.name, 0.4)


async def _function(tb: Testbench, name: str, form: str, p_stall: float) -> None:
    config = tb.config
    fitted = fit(name, segments=config.segments, degree=config.degree, format=form)
    table = fitted.table()
    await tb.exchange(table_loads(config, table), {})
    x = elements_of(tb.rng, config, table.form)
    await evaluate(tb, table, x, p_stall, f"{name} in {form}")
