"""The loop summary of the engine against unrolled execution, and the recurrence against hand-counted clocks."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lanewise.config import MachineConfig, MatrixConfig, VectorConfig
from lanewise.sim.engine import Engine, run
from lanewise.sim.program import Instruction, Loop, Node, Program, Rotate

CONFIG = dataclasses.replace(
    MachineConfig(), matrix=MatrixConfig(rows=4, columns=4), vector=VectorConfig(vlen_bits=512)
)
BUFFERS = {f"@{name}": 64 for name in "abcdef"}
GROUPS = [("@a", "@b"), ("@c", "@d", "@e")]
REGISTERS = ["v0", "v1", "v2"]


def buffers() -> st.SearchStrategy[str]:
    return st.sampled_from(sorted(BUFFERS))


def instructions() -> st.SearchStrategy[Instruction]:
    register, size = st.sampled_from(REGISTERS), st.sampled_from([16, 48, 200])
    loads = st.builds(
        lambda b, n: Instruction(opcode="dma.load", writes=(b,), runs=1, run_bytes=n), buffers(), size
    )
    stores = st.builds(
        lambda b, n: Instruction(opcode="dma.store", reads=(b,), writes=("external",), runs=2, run_bytes=n),
        buffers(),
        size,
    )
    tiles = st.builds(
        lambda a, w, o, k: Instruction(opcode="mm.tile", reads=(a, w), writes=(o,), steps=k),
        buffers(), buffers(), buffers(), st.integers(1, 20),
    )  # fmt: skip
    vle = st.builds(
        lambda b, v, n: Instruction(opcode="vle16.v", reads=(b,), writes=(v,), vl=n),
        buffers(),
        register,
        size,
    )
    vse = st.builds(
        lambda b, v, n: Instruction(opcode="vse16.v", reads=(v,), writes=(b,), vl=n),
        buffers(),
        register,
        size,
    )
    arithmetic = st.builds(
        lambda op, d, x, y, n: Instruction(opcode=op, reads=(x, y), writes=(d,), vl=n),
        st.sampled_from(["vfadd.vv", "vfmax.vv", "vfredusum.vs", "vfdiv.vv", "sfu.execute"]), register, register, register, size,
    )  # fmt: skip
    return st.one_of(loads, stores, tiles, vle, vse, arithmetic)


def nodes() -> st.SearchStrategy[Node]:
    leaf = st.one_of(
        instructions(), instructions(), instructions(), st.sampled_from(GROUPS).map(lambda g: Rotate(names=g))
    )
    return st.recursive(
        leaf,
        lambda inner: st.builds(
            lambda n, b: Loop(n, tuple(b)), st.integers(0, 30), st.lists(inner, min_size=1, max_size=6)
        ),
        max_leaves=14,
    )


@settings(max_examples=400, deadline=None)
@given(st.lists(nodes(), max_size=6))
def test_summary_of_loops_is_exact(body):
    program = Program(body=tuple(body), buffers_bytes=BUFFERS)
    fast, slow = Engine(program, CONFIG), Engine(program, CONFIG, summarise=False)
    result = fast.run()
    assert result == slow.run()
    assert fast._state == slow._state  # not only the total: every register, buffer, unit and stream


@settings(max_examples=100, deadline=None)
@given(st.lists(nodes(), max_size=4))
def test_no_unit_is_busier_than_the_run(body):
    result = run(Program(body=tuple(body), buffers_bytes=BUFFERS), CONFIG)
    assert all(busy <= result.cycles for busy in result.busy_clk.values())


def clocks(*body: Node) -> list[tuple[str, int, int]]:
    seen: list[tuple[str, int, int]] = []
    run(
        Program(body=body, buffers_bytes=BUFFERS), MachineConfig(), summarise=False,
        watcher=lambda i, start, end: seen.append((i.opcode, start, end)),
    )  # fmt: skip
    return seen


def test_a_dependent_instruction_starts_at_the_first_beat_of_its_source():
    add = Instruction(opcode="vfadd.vv", reads=("v0", "v0"), writes=("v1",), vl=64)
    maximum = Instruction(opcode="vfmax.vv", reads=("v1", "v1"), writes=("v2",), vl=64)
    # 64 FP16 elements are 4 beats of 256 bits; the first sum is there after the FMA's 4 clocks
    assert clocks(add, maximum) == [("vfadd.vv", 0, 8), ("vfmax.vv", 4, 9)]


def test_a_unit_takes_one_instruction_at_a_time():
    add = Instruction(opcode="vfadd.vv", reads=("v0",), writes=("v1",), vl=64)
    other = Instruction(opcode="vfadd.vv", reads=("v0",), writes=("v2",), vl=64)
    assert [start for _, start, _ in clocks(add, other)] == [0, 4]


def test_a_slower_producer_holds_its_consumer_back():
    divide = Instruction(opcode="vfdiv.vv", reads=("v0",), writes=("v1",), vl=64)
    add = Instruction(opcode="vfadd.vv", reads=("v1",), writes=("v2",), vl=64)
    # 4 beats x 16 clocks; the last beat lands at 16 + 63 and the sum's last beat reads it there
    assert clocks(divide, add)[1][1] == 16 + 63 - 3


def test_a_load_and_a_store_overlap_but_two_loads_share_the_channel():
    load = Instruction(opcode="dma.load", writes=("@a",), runs=1, run_bytes=320)
    other = Instruction(opcode="dma.load", writes=("@b",), runs=1, run_bytes=320)
    store = Instruction(opcode="dma.store", reads=("@c",), writes=("external",), runs=1, run_bytes=320)
    assert [start for _, start, _ in clocks(load, other, store)] == [0, 14, 0]


def test_short_tiles_wait_for_the_drain():
    tiles = [Instruction(opcode="mm.tile", reads=("@a",), writes=(f"@{o}",), steps=10) for o in "bcd"]
    assert [start for _, start, _ in clocks(*tiles)] == [0, 128, 256]  # 32 rows of 4 beats


def test_a_watcher_needs_unrolled_execution():
    with pytest.raises(ValueError, match="summarise must be False with a watcher, not True"):
        Engine(Program(body=()), CONFIG, watcher=lambda *_: None)
