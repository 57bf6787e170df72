"""What accesses wait for is always reached when those before them are done, and never before it matters, however long a Program is."""

import random

import pytest

from lanewise.verify.tag_counts import MODULUS, TagCounts

LOAD, READ, STORE = {"stream": "load", "write": True}, {}, {"write": True}


def counted(request: tuple[int, int], reads: int, writes: int, *, write: bool = False) -> bool:
    """As ``rtl.tags`` decides."""
    ahead = (writes - request[1]) % MODULUS < MODULUS // 2
    return ahead and (not write or (reads - request[0]) % MODULUS == 0)


@pytest.mark.parametrize(
    "kinds", [[LOAD], [LOAD, READ], [LOAD, LOAD, READ, READ], [LOAD, READ, STORE]], ids=len
)
def test_long_programs_go_on(kinds):
    counts, reads, writes = TagCounts(), 0, 0
    most = MODULUS // 2 - 1 if kinds == [LOAD] else 3 * MODULUS
    for k in range(most):
        kind = kinds[k % len(kinds)]
        assert counted(counts.add(7, **kind), reads, writes, write=kind.get("write", False))
        reads += not kind.get("write", False)
        writes += kind.get("write", False)


def test_nobody_starts_too_early():
    rng = random.Random(3)
    for _ in range(300):
        counts, kinds = TagCounts(), [rng.choice([LOAD, READ, STORE]) for _ in range(12)]
        requests = [counts.add(0, **kind) for kind in kinds]
        for place, (kind, request) in enumerate(zip(kinds, requests, strict=True)):
            before = kinds[:place]
            reads, writes = before.count(READ), len(before) - before.count(READ)
            if kind is LOAD:  # every other access before it, and with it the loads before that
                last = max((k for k, other in enumerate(before) if other is not LOAD), default=-1)
                writes = sum(other is not READ for other in before[: last + 1])
            assert request[1] == writes
            assert not writes or not counted(request, reads, writes - 1, write=kind is not READ)
            if kind is not READ and reads:
                assert not counted(request, reads - 1, writes, write=True)


def test_counts_that_would_come_round():
    counts = TagCounts()
    counts.add(1, **LOAD)
    for _ in range(MODULUS - 1):
        counts.add(1)
    with pytest.raises(
        ValueError, match="a buffer must be read less than 65536 times between two writes, not more often"
    ):
        counts.add(1)
    for _ in range(MODULUS // 2 - 1):
        counts.add(2, **LOAD)
    with pytest.raises(
        ValueError,
        match="a buffer must be loaded less than 32768 times between two other accesses, not more often",
    ):
        counts.add(2, **LOAD)


def test_a_stream_that_comes_late_would_see_counts_come_round():
    """40,000 stores, a read of another stream, 40,000 more: a first read by a third waits at its head from the beginning."""
    counts = TagCounts()
    for _ in range(MODULUS // 2 - 1):
        counts.add(0, **STORE)
    assert counts.add(0, "store") == (0, MODULUS // 2 - 1)
    counts.add(0, **STORE)
    assert counts.add(0, "store") == (1, MODULUS // 2)
    message = (
        "a buffer must be written less than 32768 times and read less than 65536 times between two accesses of the stream matrix, "
        "not 32768 and 2 times"
    )
    with pytest.raises(ValueError, match=f"^{message}$"):
        counts.add(0, "matrix")


def test_behind_an_idle_core_counts_go_on_as_from_zero():
    counts = TagCounts()
    for _ in range(MODULUS // 2 + 5):
        counts.add(0, **STORE)
    counts.idle()
    assert counts.add(0, "matrix") == (0, MODULUS // 2 + 5)
    assert counts.add(0, **LOAD) == (1, MODULUS // 2 + 5)
