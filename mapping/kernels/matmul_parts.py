"""Products of parts of k on an FP16 array, each added to the FP16 results of those before in memory.

The partial sums are rounded to FP16, which favours this array: integers' sums are exact and so stay in the array.
"""

from dataclasses import replace
from math import ceil
from typing import TYPE_CHECKING

from lanewise.config import MachineConfig
from lanewise.mapping.kernels.bounds import least_clocks
from lanewise.mapping.kernels.epilogue import Step
from lanewise.mapping.kernels.matmul_nest import Nest
from lanewise.mapping.kernels.price import price
from lanewise.sim.engine import Run
from lanewise.sim.program import Program

if TYPE_CHECKING:
    from lanewise.mapping.kernels.matmul import MatmulWork

K_PARTS = (2, 4, 8, 16)
"""Parts of k in which an FP16 array's product may be taken: shorter ones leave room for more lines."""
ADD = (Step(function="add", operand="tensor"),)


def fastest(work: "MatmulWork", config: MachineConfig) -> tuple[Program, Run | None]:
    """The fastest nest of a product or, of FP16, of products of its parts; and its run if there was a choice."""
    nest = Nest(work, config)
    chosen, run = nest.program()
    for parts in K_PARTS if nest.bits == 16 else ():
        k = ceil(work.k / parts)
        if k < nest.rows or not nest.fits(nest.rows, nest.columns, k):
            continue
        run = run or price(chosen, config)
        if least_in_parts(nest, parts) >= run.cycles:
            continue
        program = in_parts(nest, parts)
        if program is None or least_clocks(program, config) >= run.cycles:
            continue
        other = price(program, config)
        if other.cycles < run.cycles:
            chosen, run = program, other
    return chosen, run


def least_in_parts(nest: Nest, parts: int) -> int:
    """What so many parts take at least: all operands and all but the last partial sums are loaded, all partial sums are stored and, but for the
    first ones, added by two loads and a store of the vector unit."""
    work, config = nest.work, nest.config
    dma, lanes = config.dma, 2 * config.vector.lanes
    tiles = work.batch * ceil(work.m / nest.rows) * ceil(work.n / nest.columns)
    results = work.batch * work.m * work.n
    sums = (parts - 1) * (tiles * dma.descriptor_clk + ceil(2 * results / dma.bytes_per_clk))
    operands = work.batch * 2 * work.k * (work.m + work.n) // dma.bytes_per_clk
    return max(sums + operands, tiles * work.k, 3 * (parts - 1) * ceil(results / lanes))


def in_parts(whole: Nest, parts: int) -> Program | None:
    """So many parts one after the other; ``None``: they do not fit."""
    work, config = whole.work, whole.config
    k = ceil(work.k / parts)
    first = replace(work, k=k, steps=(), outputs=("fp16",))
    middle = replace(work, k=k, steps=ADD, weights=False, outputs=("fp16",))
    last = replace(work, k=work.k - (parts - 1) * k, steps=(*ADD, *work.steps), weights=False)
    nests = [Nest(part, config) for part in (first, *[middle] * (parts - 2), last)]
    fixed = {name: size for nest in nests for name, size in nest.fixed_bytes.items()}
    for number, nest in enumerate(nests):  # all of them have room for the buffers of each
        nest.fixed_bytes, nest.alike = fixed, (whole, *nests)
        nest.left, nest.right, nest.first_k = whole.left, whole.right, number * k
    tried = [nest.whole() for nest in nests]
    if not all(tried):
        return None
    pieces = [nest.fastest(programs)[0] for nest, programs in zip(nests, tried, strict=True)]
    sizes: dict[str, int] = {}
    for piece in pieces:
        for name, size in piece.buffers_bytes.items():
            sizes[name] = max(size, sizes.get(name, 0))
    bank, banks = config.scratchpad.bank_bytes, config.scratchpad.banks
    if sum(ceil(size / bank) for size in sizes.values()) > banks:
        return None
    return Program(body=tuple(node for piece in pieces for node in piece.body), buffers_bytes=sizes)
