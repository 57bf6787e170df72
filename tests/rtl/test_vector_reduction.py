"""The reductions' RTL: operations, lengths, gaps, resets, clocks; which levels can share an adder."""

import pytest

from lanewise.config import FP32_ADDER_LATENCY_CLK, MachineConfig
from lanewise.rtl.reduction_levels import shared_levels
from lanewise.verify.benches.vector_reduction import BENCH

from .quick import quick_and_full

QUICK, FULL = quick_and_full(BENCH, MachineConfig(), "8x1024")


@pytest.mark.parametrize("case", QUICK, ids=lambda case: case.label)
def test_vector_reduction(run_bench, case):
    results = {result.name.partition("].")[2]: result for result in run_bench("vector_reduction", case)}
    assert len(results) == 8
    assert results["short_vectors/p_gap=0.0"].clocks_compared == 750
    assert results["operations"].values_compared > 300


def triggers(beats, levels):
    """Additions of a vector: the beat that begins each, and its level."""
    found = []
    for beat in range(beats):
        last = beat == beats - 1
        for level in range(1, levels + 1):
            before = beat >> (level - 1)  # blocks of the level below, before this beat's
            if before == 0 and last:
                found.append((beat, level))  # the whole sum: the start value
                break
            if before % 2 == 1 and (last or (beat + 1) % (1 << (level - 1)) == 0):
                found.append((beat, level))
            elif not last and (beat + 1) % (1 << level):
                break
    return found


@pytest.mark.parametrize("levels", [5, 7, 10])
def test_no_two_additions_meet_in_an_adder(levels):
    """Any vector behind any other, without a gap: the smallest distances that there are."""
    groups = shared_levels(levels)
    assert [level for group in groups for level in group] == list(range(1, levels + 1))
    most = 1 << (levels - 1)
    lengths = sorted(
        {
            *range(1, min(most, 40) + 1),
            *(n for k in range(levels) for n in (1 << k, (1 << k) + 1) if n <= most),
            most,
        }
    )
    every = {n: triggers(n, levels) for n in lengths}
    assert all(len(found) == n for n, found in every.items())  # an addition a beat
    for group in groups:
        for one, first in every.items():
            for other, second in every.items():
                both = [*first, *((one + beat, level) for beat, level in second)]
                clocks = [beat + FP32_ADDER_LATENCY_CLK * level for beat, level in both if level in group]
                assert len(clocks) == len(set(clocks)), (group, one, other)


@pytest.mark.full
@pytest.mark.parametrize("case", FULL, ids=lambda case: case.label)
def test_vector_reduction_full(run_bench, case):
    run_bench("vector_reduction", case)
