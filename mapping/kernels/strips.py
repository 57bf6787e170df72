"""Choosing the strip length of a kernel: the longest vectors that the registers hold, or shorter where those run faster."""

from collections.abc import Callable, Iterable
from dataclasses import replace

from lanewise.config import MachineConfig
from lanewise.mapping.kernels.builder import STRIP, Register, VectorKernel
from lanewise.mapping.kernels.price import price
from lanewise.mapping.kernels.schedule import schedule
from lanewise.sim.program import Address, Instruction, Node, Program, flatten_once, repeat

MAXIMUM_CODE = 512
"""Instructions in a loop's body that unrolling may reach."""

Prepare = Callable[[VectorKernel], list[Register]]
"""Allocates the registers that all strips share, such as a tile's column constants."""

Body = Callable[[VectorKernel, list[Register]], None]
"""Emits one strip's code, given the shared registers."""


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
    best: tuple[int, VectorKernel] | None = None
    problem: ValueError | None = None
    vl = 8 * config.vector.vlen_bits // widest_bits
    while vl >= 1 and (best is None or vl * widest_bits >= config.vector.vlen_bits // 2):
        length = min(vl, elements, longest or elements)
        if length > multiple:
            length -= length % multiple
        for ways in (1, 2, 4):
            if ways > 1 and (ways - 1) * length >= elements:
                break
            try:
                kernel = _interleaved(config, length, ways, body, prepare)
            except ValueError as error:
                problem = error
                break
            clocks = price(strip_program(kernel, kernel.strips(elements)), config).cycles
            if best is None or clocks < best[0]:
                best = (clocks, kernel)
        vl //= 2
    if best is None:
        raise problem or ValueError(f"elements must be at least 1, not {elements}")
    return _unrolled(*best, elements)


def _unrolled(clocks: int, kernel: VectorKernel, elements: int) -> VectorKernel:
    """Overlap the end of one round of strips with the beginning of the next, as far as that is faster."""
    best, rounds = kernel, 2
    while rounds <= 4 and kernel.strips(elements) % rounds == 0 and rounds * len(kernel.code) <= MAXIMUM_CODE:
        code = schedule(unrolled(kernel.code, rounds), kernel.config)
        longer = replace(kernel, ways=kernel.ways * rounds, code=code)
        longer_clocks = price(strip_program(longer, longer.strips(elements)), kernel.config).cycles
        if longer_clocks < clocks:
            clocks, best = longer_clocks, longer
        rounds *= 2
    return best


def unrolled(code: Iterable[Instruction], rounds: int, index: str = STRIP) -> list[Instruction]:
    """``rounds`` repetitions of a loop's body as one."""
    code = list(code)
    return [
        instruction
        if instruction.address is None
        else replace(instruction, address=instruction.address.unrolled(index, rounds, place))
        for place in range(rounds)
        for instruction in code
    ]


def _interleaved(config: MachineConfig, vl: int, ways: int, body: Body, prepare: Prepare) -> VectorKernel:
    kernel = VectorKernel(config=config, vl=vl, ways=ways)
    shared = prepare(kernel)
    code: list[Instruction] = []
    for way in range(ways):
        kernel.code, kernel.way = [], way
        body(kernel, shared)
        code += kernel.code
        kernel.used |= kernel.written  # the next copy takes registers of its own
    kernel.code = schedule(code, config)
    return kernel


def strip_program(kernel: VectorKernel, strips: int) -> Program:
    """``strips`` repetitions of a kernel on buffers of no particular size."""
    body: tuple[Node, ...] = (*kernel.setup, *repeat(strips, *kernel.code, index=STRIP))
    names = {n for i in flatten_once(body) for n in (*i.reads, *i.writes) if n.startswith("@")}
    return Program(body=body, buffers_bytes=dict.fromkeys(names, 1))


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
