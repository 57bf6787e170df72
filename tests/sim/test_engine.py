"""The engine against the plain recurrence, and its loop summary against unrolled execution: random Programs of every unit and stream."""

import dataclasses
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lanewise.config import MachineConfig, MatrixConfig, VectorConfig, WeightGeneratorConfig
from lanewise.sim.engine import CHUNK, Engine, run
from lanewise.sim.program import Address, Instruction, Lines, Loop, Node, Program, Rotate, Tile
from lanewise.sim.reference import Reference
from lanewise.sim.timing import UNITS

ARRAYS = (
    MatrixConfig(rows=4, columns=4), MatrixConfig(rows=4, columns=4, output_lanes=2), MatrixConfig(rows=3, columns=5),
    MatrixConfig(rows=1, columns=1), MatrixConfig(rows=2, columns=2, output_lanes=1), MatrixConfig(rows=1, columns=6, output_lanes=2),
    MatrixConfig(), MatrixConfig(rows=4, columns=4, operand_bits=16), MatrixConfig(rows=4, columns=4, operand_bits=8),
)  # fmt: skip
CONFIGS = [
    dataclasses.replace(
        MachineConfig(),
        matrix=array,
        vector=VectorConfig(vlen_bits=512),
        weight_generator=WeightGeneratorConfig(enabled=True),
    )
    for array in ARRAYS
]
CONFIG = CONFIGS[0]
machines = st.sampled_from(CONFIGS)
BUFFERS = {f"@{name}": 64 for name in "abcdef"}
GROUPS = [("@a", "@b"), ("@c", "@d", "@e"), ("@e", "@f")]
FIRSTS = (0, 2, 3, 4, 8, 12)
SIZES = (1, 16, 48, 200)


def buffers() -> st.SearchStrategy[str]:
    return st.sampled_from(sorted(BUFFERS))


def groups() -> st.SearchStrategy[tuple[str, ...]]:
    """A register, or two or four from a place that need not be a multiple."""
    return st.builds(
        lambda first, length: tuple(f"v{i}" for i in range(first, first + length)),
        st.sampled_from(FIRSTS), st.sampled_from([1, 2, 4]),
    )  # fmt: skip


ARITHMETIC = [
    ("vfadd.vv", 16), ("vadd.vv", 8), ("vfmax.vv", 32), ("vfmacc.vv", 16), ("vfredusum.vs", 32), ("vfwredusum.vs", 16),
    ("vfncvt.f.f.w", 32), ("vnsrl.wi", 16), ("vfwmul.vv", 32), ("vmflt.vv", 16), ("vmand.mm", 8), ("vrgather.vv", 16),
    ("vslidedown.vx", 16), ("vcompress.vm", 32), ("vzext.vf2", 16), ("vmv.s.x", 16), ("vfrec7.v", 16), ("vsetvli", 16),
]  # fmt: skip


def instructions() -> st.SearchStrategy[Instruction]:
    size = st.sampled_from(SIZES)
    arithmetic = st.builds(
        lambda op, d, x, y, n, told: Instruction(
            opcode=op[0], reads=(*x, *y), writes=d, vl=n, sew_bits=op[1], operands=(x[0], y[0]), lengths=(len(x), len(y)) * told
        ),
        st.sampled_from(ARITHMETIC), groups(), groups(), groups(), size, st.booleans(),
    )  # fmt: skip
    memory = st.builds(
        lambda op, b, v, n: Instruction(opcode=f"vl{op}.v", reads=(b,), writes=v, vl=n)
        if n % 3
        else Instruction(opcode=f"vs{op}.v", reads=v, writes=(b,), vl=n),
        st.sampled_from(["e16", "e32", "se16"]), buffers(), groups(), size,
    )  # fmt: skip
    tables = st.builds(
        lambda op, b, n: Instruction(opcode=op, reads=(b,), writes=("sfu.table.0",), vl=n, sew_bits=32),
        st.sampled_from(["sfu.breakpoints", "sfu.coefficients"]), buffers(), size,
    )  # fmt: skip
    look_ups = st.builds(
        lambda d, x, n: Instruction(opcode="sfu.execute", reads=(*x, "sfu.table.0"), writes=d, vl=n),
        groups(), groups(), size,
    )  # fmt: skip
    loads = st.builds(
        lambda b, n, k: Instruction(opcode="dma.load", writes=(b,), runs=k, run_bytes=n, indexed=k == 3),
        buffers(), size, st.integers(1, 3),
    )  # fmt: skip
    stores = st.builds(
        lambda b, n: Instruction(opcode="dma.store", reads=(b,), writes=("external",), runs=2, run_bytes=n), buffers(), size
    )  # fmt: skip
    generated = st.builds(
        lambda b, n: Instruction(opcode="dma.generate", writes=(b,), runs=1, run_bytes=n), buffers(), size
    )
    operand = st.builds(
        lambda op, a, b, n: {
            "settings": Instruction(opcode="op.settings", reads=("op.path",), writes=("op.settings",)),
            "quantise": Instruction(opcode="op.quantise", reads=(a, "op.settings"), writes=(b, "op.path"), vl=n, block=8),
            "sample": Instruction(opcode="op.sample", reads=(a,), writes=(b,), vl=n),
        }[op],
        st.sampled_from(["settings", "quantise", "sample"]), buffers(), buffers(), size,
    )  # fmt: skip
    return st.one_of(
        arithmetic, arithmetic, memory, tables, look_ups, loads, stores, commands(), operand, generated
    )


def lines(name: str) -> Lines:
    return Lines(address=Address(name), stride_bytes=1, lines=1)


def command(
    ends: bool, names: list[str], told: bool, scales: bool, k: int, passes: int, reload: bool
) -> Instruction:
    """``mm.tile`` or ``mm.accumulate``, priced alone or with a tile's addresses, in buffers that need not differ."""
    left, right, constants, rows, results = names
    reads: tuple[str, ...] = (left, right, *(rows,) * scales)
    tile = None
    if told:
        reads = (*reads, constants) if reload else reads
        tile = Tile(
            left=lines(left), right=lines(right), scales=Address(rows) if scales else None,
            constants=Address(constants) if reload else None, results=Address(results) if ends else None,
        )  # fmt: skip
    return Instruction(
        opcode="mm.tile" if ends else "mm.accumulate", reads=reads, writes=(results,) * ends, steps=k, passes=passes, reload=reload,
        tile=tile,
    )  # fmt: skip


def commands() -> st.SearchStrategy[Instruction]:
    return st.builds(
        command, st.sampled_from([True, True, False]), st.lists(buffers(), min_size=5, max_size=5), st.booleans(), st.booleans(),
        st.one_of(st.integers(1, 12), st.sampled_from([31, 33, 65])), st.sampled_from([1, 1, 2, 4]), st.booleans(),
    )  # fmt: skip


def nodes(some: st.SearchStrategy[Instruction], rounds: int) -> st.SearchStrategy[Node]:
    leaf = st.one_of(some, some, some, st.sampled_from(GROUPS).map(lambda g: Rotate(names=g)))
    return st.recursive(
        leaf,
        lambda inner: st.builds(
            lambda n, b: Loop(n, tuple(b)), st.integers(0, rounds), st.lists(inner, min_size=1, max_size=6)
        ),
        max_leaves=14,
    )


def programs(
    most: int = 6, some: st.SearchStrategy[Instruction] | None = None, rounds: int = 30
) -> st.SearchStrategy[Program]:
    each = nodes(instructions() if some is None else some, rounds)
    return st.lists(each, max_size=most).map(lambda body: Program(body=tuple(body), buffers_bytes=BUFFERS))


def products(rounds: int = 30) -> st.SearchStrategy[Program]:
    """Commands of the matrix stream, with loads and stores of their buffers between them."""
    loads = st.builds(
        lambda b, n: Instruction(opcode="dma.load", writes=(b,), runs=1, run_bytes=n),
        buffers(),
        st.sampled_from(SIZES),
    )
    stores = st.builds(lambda b: Instruction(opcode="vse16.v", reads=("v0",), writes=(b,), vl=16), buffers())
    return programs(4, st.one_of(commands(), commands(), commands(), commands(), loads, stores), rounds)


def plain_state(reference: Reference, names: list[str]) -> dict[str, object]:
    times = {
        name: tuple(part.get(name, 0) for part in (reference.ready, reference.last, reference.read))
        for name in names
    }
    return {"streams": reference.streams, "units": reference.units, "drain": reference.drain, "names": times}


@settings(max_examples=200)
@given(st.one_of(programs(4, rounds=5), products(5)), machines)
def test_every_start_is_the_plain_recurrence_s(program, config):
    seen = []
    engine = Engine(program, config, summarise=False, watcher=lambda *event: seen.append(event))
    result, reference = engine.run(), Reference(program, config)
    assert seen == reference.events
    state = engine.state()
    del state["matrix"]  # the plain recurrence of the matrix stream has other variables
    assert state == plain_state(reference, list(state["names"]))
    assert result.cycles == reference.cycles
    assert result.busy_clk == reference.busy_clk
    assert result.instructions == len(reference.events)


@settings(max_examples=400)
@given(st.one_of(programs(), products()), machines)
def test_summary_of_loops_is_exact(program, config):
    fast, slow = Engine(program, config), Engine(program, config, summarise=False)
    assert fast.run() == slow.run()
    assert fast.state() == slow.state()  # not only the total: every register, buffer, unit and stream


@pytest.mark.parametrize("rounds", [1, 29, 30, 31, 1000])
def test_rings_that_share_a_buffer_are_renamed_as_one(rounds):
    load = Instruction(opcode="dma.load", writes=("@c",), runs=1, run_bytes=64)
    read = Instruction(opcode="vle16.v", reads=("@a",), writes=("v1",), vl=16)
    add = Instruction(opcode="vfadd.vv", reads=("v1",), writes=("v2",), vl=16)
    rings = Rotate(names=("@a", "@b")), Rotate(names=("@b", "@c"))
    for loop in (Loop(rounds, (load, *rings)), Loop(rounds, (add, *rings)), Loop(rounds, rings)):
        program = Program(body=(load, loop, read, Loop(1000, (add,))), buffers_bytes=BUFFERS)
        fast, slow = Engine(program, CONFIG), Engine(program, CONFIG, summarise=False)
        assert fast.run() == slow.run()
        assert fast.state() == slow.state()


def test_the_random_programs_use_everything():
    used: set[str] = set()

    @settings(max_examples=300, database=None)
    @given(programs())
    def collect(program):
        busy = run(program, CONFIG).busy_clk
        used.update(unit for unit in UNITS if busy[unit])

    collect()
    assert used == set(UNITS)


@settings(max_examples=60)
@given(programs(3, rounds=5), st.randoms(use_true_random=False))
def test_dma_takes_as_long_as_told(program, random):
    count = sum(event[0].opcode in ("dma.load", "dma.store") for event in Reference(program, CONFIG).events)
    dma_clk = [(random.randint(1, 99), random.randint(1, 400)) for _ in range(count)]
    seen = []
    result = run(program, CONFIG, summarise=False, watcher=lambda *event: seen.append(event), dma_clk=dma_clk)
    reference = Reference(program, CONFIG, dma_clk)
    assert seen == reference.events
    assert result.busy_clk == reference.busy_clk
    told = iter(dma_clk)
    for instruction, start, end in seen:
        if instruction.opcode in ("dma.load", "dma.store"):
            assert end - start == next(told)[1] + 1


@pytest.mark.parametrize(("given", "word"), [(1, "fewer"), (3, "more")])
def test_dma_clk_has_an_entry_for_each_dma_instruction(given, word):
    load = Instruction(opcode="dma.load", writes=("@a",), runs=1, run_bytes=16)
    program = Program(body=(Loop(2, (load,)),), buffers_bytes=BUFFERS)
    with pytest.raises(ValueError, match=f"dma_clk must have one entry for each DMA instruction, not {word}"):
        run(program, CONFIG, summarise=False, dma_clk=[(4, 70)] * given)


@settings(max_examples=100)
@given(st.one_of(programs(4), products()), machines)
def test_no_unit_is_busier_than_the_run(program, config):
    result = run(program, config)
    assert all(busy <= result.cycles for busy in result.busy_clk.values())


@settings(max_examples=60)
@given(
    st.lists(
        st.builds(
            command, st.booleans(), st.lists(buffers(), min_size=5, max_size=5), st.just(False), st.booleans(),
            st.integers(1, 5000), st.sampled_from([1, 2, 4]), st.booleans(),
        ), min_size=1, max_size=6,
    ), machines,
)  # fmt: skip
def test_blocks_that_are_skipped_are_the_plain_recurrence_s(body, config):
    seen = []
    program = Program(body=tuple(body), buffers_bytes=BUFFERS)
    run(program, config, summarise=False, watcher=lambda *event: seen.append(event))
    assert seen == Reference(program, config).events


def test_a_tile_of_thousands_of_blocks_costs_no_more_than_one_of_few():
    def tiles(k):
        tile = Instruction(opcode="mm.tile", reads=("@a", "@b"), writes=("@c",), steps=k, passes=4)
        return Program(body=(Loop(200, (tile,)),), buffers_bytes=BUFFERS)

    def seconds(k):
        engine = Engine(tiles(k), CONFIG, summarise=False)
        times = []
        for _ in range(5):
            start = time.process_time()
            engine.run()
            times.append(time.process_time() - start)
        return min(times)

    assert seconds(10_000_000) < 10 * seconds(10) + 0.01  # block by block that would be 10^9 of them, seconds


def test_an_event_says_how_long_its_unit_is_held():
    tiles = [Instruction(opcode="mm.tile", reads=("@a",), writes=(f"@{o}",), steps=10) for o in "bcdefb"]
    events: list[np.ndarray] = []

    def keep(chunk):
        events.append(chunk.copy())
        return True

    engine = Engine(
        Program(body=tuple(tiles), buffers_bytes=BUFFERS), MachineConfig(), summarise=False, recorder=keep
    )
    busy = engine.run().busy_clk["matrix"]
    held = np.concatenate(events)[:, 3]
    assert held.sum() == busy
    assert held.min() == 32  # the first is a block
    assert held.max() == 128  # the last waits for the drain


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"reads": ("@a",)}, r"reads of mm\.tile must have '@b', not only \('@a',\)"),
        ({"reload": True}, r"constants of an mm\.tile with reload must be an address, not None"),
        ({"opcode": "mm.accumulate"}, r"writes of mm\.accumulate must be empty, not \('@c',\)"),
        ({"steps": 0}, r"k and passes must be at least 1, not 0 and 1"),
    ],
)
def test_commands_that_contradict_themselves_are_refused(given, problem):
    tile = Instruction(
        opcode="mm.tile",
        reads=("@a", "@b"),
        writes=("@c",),
        steps=4,
        tile=Tile(left=lines("@a"), right=lines("@b")),
    )
    with pytest.raises(ValueError, match=problem):
        Engine(Program(body=(dataclasses.replace(tile, **given),), buffers_bytes=BUFFERS), CONFIG)


def test_a_long_run_comes_in_chunks_and_can_be_ended():
    add = Instruction(opcode="vfadd.vv", reads=("v1",), writes=("v2",), vl=16)
    program = Program(body=(Loop(3 * CHUNK, (add,)),))
    chunks: list[np.ndarray] = []

    def keep(chunk):
        chunks.append(chunk.copy())
        return len(chunks) < 2

    Engine(program, CONFIG, summarise=False, recorder=keep).run()
    starts = np.concatenate(chunks)[:, 1]
    assert len(starts) == 2 * CHUNK
    assert np.array_equal(starts, np.arange(2 * CHUNK))  # a beat each


def test_what_a_watcher_raises_comes_back():
    def refuse(*_):
        raise KeyError("enough")

    program = Program(body=(Instruction(opcode="vid.v", writes=("v1",), vl=1),))
    with pytest.raises(KeyError, match="enough"):
        run(program, CONFIG, summarise=False, watcher=refuse)


@pytest.mark.parametrize(
    ("argument", "value", "name"),
    [
        ("watcher", lambda *_: None, "a watcher"),
        ("recorder", lambda _: True, "a recorder"),
        ("dma_clk", [], "dma_clk"),
    ],
)
def test_what_sees_each_instruction_needs_unrolled_execution(argument, value, name):
    with pytest.raises(ValueError, match=f"summarise must be False with {name}, not True"):
        Engine(Program(body=()), CONFIG, **{argument: value})


def test_an_empty_program_takes_no_time():
    assert run(Program(body=()), CONFIG).cycles == 0


@pytest.mark.parametrize("names", [(), ("@a", "@b", "@a")])
def test_a_rotation_of_a_name_twice_is_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"^names must be different, and one at least"):
        Rotate(names=names)
