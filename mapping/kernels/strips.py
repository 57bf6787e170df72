"""Choosing the strip length of a kernel: the longest vectors that the registers hold, or shorter where those run faster."""

from collections.abc import Iterable
from math import ceil

from lanewise.config import MachineConfig
from lanewise.mapping.kernels.builder import VectorKernel
from lanewise.mapping.kernels.candidate import Body, Candidate, Choice, Prepare, family, quickest
from lanewise.sim.program import Address, Instruction, Node, flatten_once

MAXIMUM_CODE = 512
"""Instructions in a loop's body that unrolling may reach."""


def best_kernel(
    config: MachineConfig,
    elements: int,
    body: Body,
    *,
    prepare: Prepare = lambda _: [],
    multiple: int = 1,
    widest_bits: int = 16,
    longest: int | None = None,
) -> VectorKernel:
    """The kernel, of those that fit the registers, that takes the fewest clocks for ``elements`` elements.

    Tried are strips of every power-of-two length up to LMUL = 8, and one, two or four strips interleaved in
    registers of their own, which hides latencies from the in-order issue.

    Args:
        multiple: ``vl`` is a multiple of this (a row of a tile, say) where that is possible.
        widest_bits: Width of the widest element; it bounds ``vl`` by LMUL = 8.
        longest: Largest ``vl``, where a strip must not go beyond something.

    Raises:
        ValueError: The kernel does not fit with any strip length.
    """
    choices: dict[tuple[int, int], Choice] = {}
    problem: ValueError | None = None
    vl = 8 * config.vector.vlen_bits // widest_bits
    while vl >= 1 and (not choices or vl * widest_bits >= config.vector.vlen_bits // 2):
        length = min(vl, elements, longest or elements)
        if length > multiple:
            length -= length % multiple
        vl //= 2
        try:
            kernels = family(config, length, body, prepare)
        except ValueError as error:
            problem = error
            continue
        for ways in (1, 2, 4):
            if ways > 1 and (ways - 1) * length >= elements:
                break
            choices.setdefault((length, ways), Choice(kernels, ways, ceil(elements / (length * ways))))
    best = quickest(list(choices.values()))
    if best is None:
        raise problem or ValueError(f"elements must be at least 1, not {elements}")
    return _unrolled(*best, elements).kernel


def _unrolled(clocks: int, one: Candidate, elements: int) -> Candidate:
    """Overlap the end of one round of strips with the beginning of the next, as far as that is faster."""
    best, rounds = one, 2
    while (
        rounds <= 4
        and one.kernel.strips(elements) % rounds == 0
        and rounds * len(one.kernel.code) <= MAXIMUM_CODE
    ):
        repetitions = one.kernel.strips(elements) // rounds
        if one.bound.clocks(repetitions, rounds) < clocks:
            longer = one.longer(rounds)
            if longer.ordered.clocks(repetitions) < clocks and longer.clocks(repetitions) < clocks:
                clocks, best = longer.clocks(repetitions), longer
        rounds *= 2
    return best


def table_bytes(body: Iterable[Node]) -> dict[str, int]:
    """The buffers of ``body`` that Flex-SFU's tables come through, with their sizes."""
    return {
        i.writes[0]: i.run_bytes
        for i in flatten_once(tuple(body))
        if i.opcode == "dma.load" and i.writes[0].startswith("@table.")
    }


def load(
    buffer: str | Address,
    runs: int,
    run_bytes: int,
    *,
    external: Address | None = None,
    distance_bytes: int = 0,
    stride_bytes: int = 0,
    indices: Address | None = None,
    indexed: bool = False,
) -> Instruction:
    """DMA from external memory into a buffer.

    Args:
        external: Where the first run is; ``None``: the transfer is priced alone.
        distance_bytes: From run to run in external memory; 0: one after the other.
        stride_bytes: Likewise in the buffer.
        indices: Where the runs' numbers are, if they lie as those say.
        indexed: Whether they do.
    """
    address = Address(buffer) if isinstance(buffer, str) else buffer
    return Instruction(
        opcode="dma.load", writes=(address.base,), runs=runs, run_bytes=run_bytes, indexed=indexed or indices is not None, address=address,
        external=external, distance_bytes=distance_bytes, stride_bytes=stride_bytes, indices=indices,
    )  # fmt: skip


def store(
    buffer: str | Address,
    runs: int,
    run_bytes: int,
    *,
    external: Address | None = None,
    distance_bytes: int = 0,
    stride_bytes: int = 0,
    indices: Address | None = None,
    indexed: bool = False,
) -> Instruction:
    """DMA from a buffer to external memory; arguments as of :func:`load`."""
    address = Address(buffer) if isinstance(buffer, str) else buffer
    return Instruction(
        opcode="dma.store", reads=(address.base,), writes=("external",), runs=runs, run_bytes=run_bytes, indexed=indexed or indices is not None,
        address=address, external=external, distance_bytes=distance_bytes, stride_bytes=stride_bytes, indices=indices,
    )  # fmt: skip
