"""Machines for the benches of the memory side: the user's, and others that differ in widths and sizes."""

import dataclasses

from lanewise.config import DmaConfig, MachineConfig, ScratchpadConfig
from lanewise.verify.bench import Case

_QUICK = ((1, 8, 17), (2, 32, 16))
_FULL = ((4, 4, 31), (8, 32, 64), (1, 64, 16))


def memory_machine(lanes: int, bytes_per_clk: int, size_kib: int, **dma: int) -> MachineConfig:
    """A machine whose vector unit, DMA and scratchpad are so wide and so large."""
    machine = MachineConfig()
    return dataclasses.replace(
        machine, vector=dataclasses.replace(machine.vector, lanes=lanes, vlen_bits=max(128, 32 * lanes)),
        flex_sfu=dataclasses.replace(machine.flex_sfu, lanes=lanes),
        scratchpad=ScratchpadConfig(size_kib=size_kib, banks=16), dma=DmaConfig(bytes_per_clk=bytes_per_clk, **dma),
    )  # fmt: skip


def memory_cases(machine: MachineConfig, full: bool, **dma: int) -> list[Case]:
    """Lanes, bytes a clock of DMA, size: vector unit wider than DMA and the reverse, sizes that are no power of two."""
    drawn = [*_QUICK, *(_FULL if full else ())]
    cases = [
        Case(label=f"{lanes}lanes{width}bytes{size}k", config=memory_machine(lanes, width, size, **dma))
        for lanes, width, size in drawn
    ]
    return [*cases, Case(label="machine", config=machine)] if full else cases
