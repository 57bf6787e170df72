"""Programs as numbers: what is remembered of instructions changes nothing, and what is counted without running."""

import random

import pytest

from lanewise.config import MachineConfig
from lanewise.sim import encode as module
from lanewise.sim.encode import encode, encoder
from lanewise.sim.engine import Engine, run
from lanewise.sim.program import Instruction, Loop, Node, Program, Rotate

MACHINE = MachineConfig()
LOAD = Instruction(opcode="dma.load", writes=("@a",), runs=3, run_bytes=50)
TILE = Instruction(opcode="mm.tile", reads=("@a", "@b"), writes=("@c",), steps=40, passes=2)
STORE = Instruction(opcode="dma.store", reads=("@c",), writes=("external",), runs=2, run_bytes=70)
VECTORS = [
    Instruction(opcode="vle16.v", reads=("@c",), lengths=(1,), writes=("v2",), vl=64),
    Instruction(opcode="vfmul.vv", reads=("v2", "v3"), lengths=(1, 1), writes=("v3",), vl=64),
    Instruction(opcode="vse16.v", reads=("v3",), lengths=(1,), writes=("@b",), vl=64),
]
SIZES = dict.fromkeys(("@a", "@b", "@c"), 1000)


def test_bytes_and_products_are_counted_beyond_32_bits():
    count = 1 << 33
    result = run(Program(body=(Loop(count, (LOAD, TILE, STORE)), LOAD), buffers_bytes=SIZES), MACHINE)
    assert result.instructions == 3 * count + 1
    assert result.loaded_bytes == 150 * (count + 1)
    assert result.stored_bytes == 140 * count
    assert result.macs == 80 * 32 * 32 * count
    assert result.busy_clk["dma_load"] == (4 + 3 * 2) * (count + 1)
    large = Instruction(opcode="dma.load", writes=("@a",), runs=(1 << 20) + 1, run_bytes=1 << 13)
    assert run(Program(body=(large,), buffers_bytes=SIZES), MACHINE).loaded_bytes == (1 << 33) + (1 << 13)


def drawn(rng: random.Random, depth: int = 0) -> Node:
    kind = rng.randrange(8)
    if kind == 0:
        return Rotate(names=tuple(rng.sample(sorted(SIZES), 2)))
    if kind <= 2 and depth < 3:
        return Loop(rng.randrange(6), tuple(drawn(rng, depth + 1) for _ in range(rng.randrange(1, 5))))
    return rng.choice([LOAD, TILE, STORE, *VECTORS])


def test_a_new_encoder_gives_the_same_run():
    """Whatever was encoded before, and in whatever places its names are."""
    rng = random.Random(5)
    bodies = [tuple(drawn(rng) for _ in range(rng.randrange(8))) for _ in range(100)]
    made = [Program(body=body, buffers_bytes=SIZES) for body in bodies]
    known = [run(program, MACHINE) for program in made]
    for program, before in zip(reversed(made), reversed(known), strict=True):
        module._encoder.cache_clear()
        assert run(program, MACHINE) == before
    assert max(each.cycles for each in known) > 1000


def test_equal_instructions_have_equal_numbers_and_others_do_not():
    again = Instruction(opcode="dma.load", writes=("@a",), runs=3, run_bytes=50)
    longer = Instruction(opcode="dma.load", writes=("@a",), runs=3, run_bytes=65)
    one, same, other = (
        encode(Program(body=(each,), buffers_bytes=SIZES), MACHINE).code for each in (LOAD, again, longer)
    )
    assert one == same != other


def test_names_and_instructions_are_those_of_the_program():
    Engine(Program(body=(LOAD, TILE), buffers_bytes=SIZES), MACHINE).run()
    body = (Rotate(names=("@x", "@y")), Loop(0, (TILE,)), Loop(2, (LOAD, LOAD)))
    engine = Engine(Program(body=body, buffers_bytes=SIZES), MACHINE)
    engine.run()
    assert set(engine.state()["names"]) == {"@a", "@x", "@y"}
    assert engine.instructions == [LOAD, LOAD]


@pytest.mark.parametrize("kept", [1, 1 << 14])
def test_what_is_remembered_has_an_end(monkeypatch, kept):
    monkeypatch.setattr(module, "KEPT", kept)
    monkeypatch.setattr(module, "KEPT_NAMES", 2 * kept)
    module._encoder.cache_clear()
    program = Program(body=(LOAD, TILE, STORE), buffers_bytes=SIZES)
    first, before = run(program, MACHINE), encoder(MACHINE)
    assert run(program, MACHINE) == first
    assert (encoder(MACHINE) is before) == (kept > 1)
