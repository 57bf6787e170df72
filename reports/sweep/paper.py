"""The Flex-SFU paper's claim beside a sweep's figures, with the machine that each assumes."""

from typing import Any

import polars as pl

from lanewise.config import MachineConfig
from lanewise.reports.sweep.tables import Table, distribution

SOURCE = "Reggiani, Andri, Cavigelli: Flex-SFU, DAC 2023, arXiv 2305.04546, abstract"
MEAN_GAIN = 0.357
"""Average end-to-end improvement that the abstract gives."""
MAXIMUM = 3.3
"""Largest speedup there."""
NETWORKS = 700
"""More than so many computer vision and natural language processing models, there."""
SEGMENTS = 32
NOT_GIVEN = "not in the abstract"


def beside(done: pl.DataFrame) -> Table:
    """The paper's figures, ours over vision and language as there, ours over all networks."""
    alike = done.filter(pl.col("domain").is_in(["vision", "language"]))
    ours = [part.select(distribution()).to_dicts()[0] if len(part) else None for part in (alike, done)]

    def each(text: str, key: str) -> list[str]:
        return [text.format(values[key]) if values else "no network" for values in ours]

    def gain(key: str) -> list[str]:
        return [f"{100 * (values[key] - 1):+.1f} %" if values else "no network" for values in ours]

    lines = [
        ("networks", f"more than {NETWORKS}", *each("{:,}", "networks")),
        ("mean improvement", f"{100 * MEAN_GAIN:+.1f} %", *gain("mean")),
        ("by geometric mean", NOT_GIVEN, *gain("geometric_mean")),
        ("median improvement", NOT_GIVEN, *gain("median")),
        ("largest speedup", f"{MAXIMUM}x", *each("{:.2f}x", "maximum")),
    ]
    columns = {
        "quantity": ("", "text"), "paper": ("Flex-SFU paper", "text"), "ours": ("here, vision and language", "text"), "all": ("here, all networks", "text"),
    }  # fmt: skip
    return Table(
        name="paper",
        title="Beside the paper",
        columns=columns,
        rows=[dict(zip(columns, line)) for line in lines],
    )


def assumptions(machine: MachineConfig | None) -> Table:
    """The machine that each assumes."""
    columns = {"quantity": ("assumed", "text"), "paper": ("Flex-SFU paper", "wrapped"), "ours": ("here", "wrapped")}  # fmt: skip
    rows = [dict(zip(columns, line)) for line in describe(machine)]
    return Table(name="assumptions", title="What each assumes", columns=columns, rows=rows)


def describe(machine: MachineConfig | None) -> list[tuple[str, str, str]]:
    """What each assumes: (name, the paper's, ours)."""
    if machine is None:
        return [("machine", "state-of-the-art AI accelerators", "its configuration is not in the sweep's folder")]  # fmt: skip
    matrix, vector, sfu, dma = machine.matrix, machine.vector, machine.flex_sfu, machine.dma
    clock = 1000 / machine.clock_ns
    return [
        ("array", NOT_GIVEN, f"{matrix.rows} x {matrix.columns} INT{matrix.operand_bits} MACs, output-stationary"),
        ("vector unit", "a vector processing unit, lanes " + NOT_GIVEN, f"{vector.lanes} lanes of 32 bits, each two FP16 elements a clock"),
        ("Flex-SFU", f"{SEGMENTS} segments", f"{sfu.segments} segments, {sfu.elements_per_clk()} FP16 elements a clock" if sfu.enabled else "none"),
        ("scratchpad", NOT_GIVEN, f"{machine.scratchpad.bytes // 1024:,} KiB"),
        ("memory", NOT_GIVEN, f"{dma.bytes_per_clk} bytes a clock each way ({dma.bytes_per_clk * clock / 1000:g} GB/s), {dma.latency_clk} clocks of latency"),
        ("clock", "500 MHz in 28 nm, as later work cites it", f"{clock:g} MHz"),
        ("baseline", "state-of-the-art AI accelerators; how they compute activations is " + NOT_GIVEN,
         "the same machine without Flex-SFU: activations in software on the same vector unit, FP16, list-scheduled"),
        ("method", "end-to-end evaluation, its timing model " + NOT_GIVEN, "every operator's instructions timed; the timing rules are the RTL's, by test"),
    ]  # fmt: skip


def headline(done: pl.DataFrame) -> dict[str, Any]:
    """The two figures that the paper gives, of all networks; empty where none is done."""
    if done.is_empty():
        return {}
    values = done.select(distribution()).to_dicts()[0]
    return {"mean_gain": values["mean"] - 1, "maximum": values["maximum"], "paper_mean_gain": MEAN_GAIN, "paper_maximum": MAXIMUM}  # fmt: skip
