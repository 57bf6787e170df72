"""The matrix stream's RTL: bits, stalls, clocks."""

import gc

import numpy as np
import pytest

from lanewise.config import MachineConfig, MatrixConfig
from lanewise.rtl.matrix_stream import MatrixStream, queued_tiles
from lanewise.sim import matrix_stream as sim
from lanewise.verify.benches.matrix_stream import BENCH

from .quick import quick_and_full

QUICK, FULL = quick_and_full(BENCH, MachineConfig(), "3x5by4")


@pytest.mark.parametrize("case", QUICK, ids=lambda case: case.label)
def test_matrix_stream(run_bench, case):
    results = run_bench("matrix_stream", case)
    assert sum(result.values_compared for result in results) > 0
    assert sum(result.clocks_compared for result in results) > 0


@pytest.mark.full
@pytest.mark.parametrize("case", FULL, ids=lambda case: case.label)
def test_matrix_stream_full(run_bench, case):
    run_bench("matrix_stream", case)


@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
@pytest.mark.parametrize("bits", [8, 16])
def test_an_array_without_passes_is_refused(bits):
    with pytest.raises(ValueError, match=rf"^operand_bits must be 4, not {bits}$"):
        MatrixStream(MachineConfig(matrix=MatrixConfig(operand_bits=bits)))
    gc.collect()  # what was not finished warns when it goes; not in another test


@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
def test_beats_that_end_within_a_byte_are_refused():
    config = MachineConfig(matrix=MatrixConfig(rows=4, columns=5, output_lanes=3))
    with pytest.raises(ValueError, match=r"^output_lanes must be even, or all columns, not 3 of 5$"):
        MatrixStream(config)
    gc.collect()


@pytest.mark.parametrize("rows", [1, 2, 3, 32])
@pytest.mark.parametrize(("columns", "lanes"), [(1, 1), (2, 2), (5, 5), (8, 2), (64, 2), (64, 64)])
def test_no_command_waits_for_a_place_in_the_queues(rows, columns, lanes):
    """Tiles on their way, by the recurrence that knows of no queue, as a command starts: it and those whose entry is not gone."""
    seed = 100 * rows + columns
    print(f"seed {seed}")
    config, rng, most = (
        MatrixConfig(rows=rows, columns=columns, output_lanes=lanes),
        np.random.default_rng(seed),
        0,
    )
    size = config.block_steps
    for reload in (0.0, 0.1, 0.5, 1.0):
        for last in (0.5, 1.0):
            stream, written = sim.MatrixStream(config), []
            for _ in range(100):
                k = int(rng.choice([1, 1, size, int(rng.integers(1, 5 * size))]))
                ends = bool(rng.random() < last)
                command = sim.Command(k=k, last=ends, reload=bool(rng.random() < reload))
                times = stream.start(command, 0)
                if ends:
                    written.append(times.results_written)
                    most = max(most, sum(end > times.start for end in written))
    assert 2 <= most <= queued_tiles(config)
