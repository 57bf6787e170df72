"""When DMA takes commands and has finished them: clocks only (the bytes are those that the command says).

The RTL takes exactly as many (``lanewise verify dma``) where external memory takes requests and data at once, and answers
``memory_clk(config)`` clocks after a request, or after a burst's last beat.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd

from lanewise.config import DMA_PIPELINE_CLK, DmaConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Transfer:
    """What of a command matters for its clocks.

    Raises:
        ValueError: There is no run, or a run has no byte.
    """

    external: int
    """Byte address in external memory."""
    runs: int
    run_bytes: int
    external_stride: int
    """Distance of the runs there, in bytes."""

    def __post_init__(self) -> None:
        for name in ("runs", "run_bytes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")


def memory_clk(config: DmaConfig) -> int:
    """External memory's share of ``latency_clk``.

    >>> memory_clk(DmaConfig(latency_clk=64))
    60
    """
    return config.latency_clk - DMA_PIPELINE_CLK


def data_beats(transfer: Transfer, bytes_per_clk: int) -> int:
    """Words of the external bus that the runs touch, each run's counted: one goes over the bus each clock.

    >>> data_beats(Transfer(external=0, runs=3, run_bytes=100, external_stride=128), 32)
    12
    >>> data_beats(Transfer(external=31, runs=2, run_bytes=2, external_stride=1), 32)
    3
    """
    period = bytes_per_clk // gcd(transfer.external_stride, bytes_per_clk)
    total = 0
    for run in range(min(period, transfer.runs)):  # the runs' offsets in a word repeat
        offset = (transfer.external + run * transfer.external_stride) % bytes_per_clk
        repeats = -(-(transfer.runs - run) // period)
        total += repeats * -(-(offset + transfer.run_bytes) // bytes_per_clk)
    return total


def dma_beats(transfer: Transfer, config: DmaConfig) -> int:
    """Clocks from a command's start to the next one's, if it waits for nothing else: the descriptor's and the data's.

    >>> dma_beats(Transfer(external=0, runs=4, run_bytes=64, external_stride=4096), DmaConfig(bytes_per_clk=32, descriptor_clk=4))
    12
    """
    return config.descriptor_clk + data_beats(transfer, config.bytes_per_clk)


def dma_starts_clk(offered: Sequence[int], transfers: Sequence[Transfer], config: DmaConfig) -> list[int]:
    """Clock of each command's start in one engine that is idle before, given the clock from which it is offered."""
    starts, free = [], 0
    for clock, transfer in zip(offered, transfers, strict=True):
        starts.append(max(clock, free))
        free = starts[-1] + dma_beats(transfer, config)
    return starts


def dma_finished_clk(start: int, transfer: Transfer, config: DmaConfig) -> int:
    """Clock in which ``finished`` is 1: a reader of what is counted with it can start in the next one, ``latency_clk + beats - 1`` after the start.

    >>> dma_finished_clk(0, Transfer(external=0, runs=1, run_bytes=32, external_stride=0), DmaConfig(latency_clk=64))
    67
    """
    return start + dma_beats(transfer, config) + config.latency_clk - 2


def dma_read_clk(start: int, transfer: Transfer, config: DmaConfig) -> int:
    """Clock in which ``store_read`` is 1: a writer of the buffer can start in the next one."""
    return start + dma_beats(transfer, config)
