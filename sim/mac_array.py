"""When the MAC array delivers: clocks only, no values (those are :mod:`lanewise.models.mac_array`)."""

from collections.abc import Sequence

from lanewise.config import MatrixConfig


def tile_steps(k: int, a_bits: int, w_bits: int, config: MatrixConfig) -> int:
    """Steps of a tile: ``k`` for each pass.

    Raises:
        ValueError: The array has no passes for such operands.

    >>> tile_steps(10, 8, 8, MatrixConfig(rows=4, columns=4))
    40
    """
    return k * config.passes(a_bits, w_bits)


def mac_array_starts_clk(
    k_steps: Sequence[int], config: MatrixConfig, leave_clk: Sequence[int] | None = None
) -> list[int]:
    """Edges that accept the first step of each tile; tiles of ``k_steps[j]`` steps back to back, no stalls.

    Edges count from the first tile's. A step is accepted at one edge and accumulated at the next or later:
    the first step of a tile waits until the drain registers take the tile before it, and they take it one
    clock after its last step is accumulated, and not before the tile before has left: in ``rows`` clocks, or in
    ``leave_clk[j]``, if whoever takes the rows is slower. In an array of FP16 operands products
    are registered before the sums and rounded rows behind the drain registers: two clocks more, of which the
    next tile need not wait for the second.

    >>> mac_array_starts_clk([2, 2, 2, 9, 9], MatrixConfig(rows=4, columns=4))
    [0, 2, 4, 8, 19]
    >>> mac_array_starts_clk([2, 2, 2, 9, 9], MatrixConfig(rows=4, columns=4, operand_bits=16))
    [0, 2, 4, 8, 19]
    """
    return _tiles(k_steps, config, leave_clk)[0]


def mac_array_loads_clk(
    k_steps: Sequence[int], config: MatrixConfig, leave_clk: Sequence[int] | None = None
) -> list[int]:
    """Edges at which the drain registers take each tile (of FP16 operands: the edges after those); its first row can
    leave at the next.

    >>> mac_array_loads_clk([2, 2, 9], MatrixConfig(rows=4, columns=4))
    [3, 7, 16]
    """
    return _tiles(k_steps, config, leave_clk)[1]


def mac_array_clk(k_steps: Sequence[int], config: MatrixConfig) -> int:
    """Clocks from the edge that accepts the first step to the edge that hands over the last row, no stalls.

    The RTL takes exactly as many (``lanewise verify mac_array fp16_array``).

    Args:
        k_steps: Steps of each tile, in order (:func:`tile_steps`).

    Raises:
        ValueError: There is no tile, or a tile has no step.

    >>> mac_array_clk([10], MatrixConfig(rows=4, columns=4))
    15
    >>> mac_array_clk([10], MatrixConfig(rows=4, columns=4, operand_bits=16))
    17
    """
    return mac_array_loads_clk(k_steps, config)[-1] + config.rows


def _tiles(
    k_steps: Sequence[int], config: MatrixConfig, leave_clk: Sequence[int] | None
) -> tuple[list[int], list[int]]:
    """Start of each tile, and the edge at which the drain registers take it."""
    if not k_steps or min(k_steps) < 1:
        raise ValueError(f"k_steps must be one or more tiles of at least 1 step, not {list(k_steps)!r}")
    starts: list[int] = []
    loads: list[int] = []
    accumulated = (
        0  # edge of the last accumulated step; 0 when there is none, as the first is accumulated at 1
    )
    free = 1  # edge at which the drain registers are free
    ahead = config.latency_clk - 3  # clocks by which a step may go before the load
    for k, leave in zip(k_steps, leave_clk or [config.rows] * len(k_steps), strict=True):
        starts.append(accumulated)
        first = max(accumulated + 1, loads[-1] - ahead if loads else 1)
        accumulated = first + k - 1
        load = max(accumulated + config.latency_clk - 2, free)
        free = load + leave
        loads.append(load)
    return starts, loads
