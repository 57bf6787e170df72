"""Loops whose external addresses move by parts of a word: the same transfers, each with its own clocks."""

import numpy as np
import pytest

from lanewise.config import MachineConfig
from lanewise.sim.alignment import with_alignment
from lanewise.sim.dma import Transfer, data_beats
from lanewise.sim.engine import run
from lanewise.sim.program import Address, Instruction, Loop, Node, Program, replaced
from lanewise.sim.timing import timing

CONFIG = MachineConfig()
WIDTH = CONFIG.dma.bytes_per_clk


def transfers(body: tuple[Node, ...], counters: dict[str, int]) -> list[tuple[int, int]]:
    """First external byte and clocks by the table of every transfer, in order."""
    found = []
    for node in body:
        if isinstance(node, Loop):
            for count in range(node.count):
                found += transfers(node.body, {**counters, node.index: count})
        elif isinstance(node, Instruction) and node.external is not None:
            found.append((node.external.at(counters), timing(node, CONFIG).beats))
    return found


def load(
    offset: int, steps: tuple[tuple[str, int], ...], size: int, runs: int = 1, distance: int = 0
) -> Instruction:
    return Instruction(
        opcode="dma.load", writes=("@a",), runs=runs, run_bytes=size, external=Address("x", offset, steps), distance_bytes=distance
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(20))
def test_every_transfer_has_its_own_clocks(seed):
    rng = np.random.default_rng(seed)

    def drawn(indices: tuple[str, ...]) -> Instruction:
        steps = tuple((index, int(rng.choice([0, 1, 8, 16, 24, 32, 100]))) for index in indices)
        return load(
            int(rng.integers(100)),
            steps,
            int(rng.integers(1, 90)),
            int(rng.integers(1, 5)),
            int(rng.choice([0, 90, 128])),
        )

    inner = Loop(int(rng.integers(1, 9)), (drawn(("i", "j")), drawn(("j",))), "j")
    program = Program(
        body=(Loop(int(rng.integers(1, 40)), (drawn(("i",)), inner), "i"), drawn(())),
        buffers_bytes={"@a": 1000},
    )
    aligned = with_alignment(program, WIDTH)
    before, after = transfers(program.body, {}), transfers(aligned.body, {})
    assert [place for place, _ in after] == [place for place, _ in before]

    def expected(body: tuple[Node, ...], counters: dict[str, int]) -> list[int]:
        clocks = []
        for node in body:
            if isinstance(node, Loop):
                for count in range(node.count):
                    clocks += expected(node.body, {**counters, node.index: count})
            else:
                transfer = Transfer(
                    external=node.external.at(counters), runs=node.runs, run_bytes=node.run_bytes,
                    external_stride=node.distance_bytes or node.run_bytes,
                )  # fmt: skip
                clocks.append(CONFIG.dma.descriptor_clk + data_beats(transfer, WIDTH))
        return clocks

    assert [clocks for _, clocks in after] == expected(program.body, {})
    assert run(aligned, CONFIG).cycles == run(aligned, CONFIG, summarise=False).cycles
    assert run(with_alignment(program, WIDTH, timed=True), CONFIG) == run(aligned, CONFIG)


def test_whole_words_change_nothing():
    program = Program(body=(Loop(9, (load(5, (("i", 2 * WIDTH),), 40),), "i"),), buffers_bytes={"@a": 40})
    assert with_alignment(program, WIDTH) == program


def test_what_is_timed_alone_keeps_its_places_in_the_scratchpad():
    inside = Address("@a", 0, (("i", 40),))
    moved = replaced(load(5, (("i", 40),), 40), address=inside)
    program = Program(body=(Loop(8, (moved,), "i"),), buffers_bytes={"@a": 400})
    (loop,), (timed,) = with_alignment(program, WIDTH).body, with_alignment(program, WIDTH, timed=True).body
    assert [node.external for node in loop.body] == [node.external for node in timed.body]
    assert [node.address.offset_bytes for node in loop.body] == [0, 40, 80, 120]
    assert {node.address for node in timed.body} == {inside}


def test_what_does_not_follow_a_loop_stays_the_same_object():
    alone, inner = load(5, (), 40), Loop(3, (load(5, (("j", 8),), 40),), "j")
    program = Program(
        body=(Loop(8, (load(5, (("i", 16),), 40), alone, inner), "i"),), buffers_bytes={"@a": 40}
    )
    (loop,) = with_alignment(program, 8).body
    assert loop is program.body[0]
    (loop,) = with_alignment(program, 32).body
    assert loop.count == 4
    assert loop.body[1] is loop.body[1 + len(loop.body) // 2] is alone
