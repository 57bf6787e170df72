"""List scheduling against the plain one in Python: random code of every unit, on machines of other latencies; and what is remembered."""

import dataclasses
import random

import pytest

from lanewise.config import FlexSfuConfig, MachineConfig, VectorConfig
from lanewise.sim import list_schedule
from lanewise.sim.list_schedule import schedule
from lanewise.sim.program import Instruction
from lanewise.sim.reference_schedule import schedule as plain

MACHINE = MachineConfig()
MACHINES = [
    MACHINE,
    dataclasses.replace(
        MACHINE, vector=VectorConfig(lanes=4, vlen_bits=512), flex_sfu=FlexSfuConfig(lanes=4)
    ),
    dataclasses.replace(MACHINE, vector=VectorConfig(lanes=16)),
]


def group(first: int, length: int) -> tuple[str, ...]:
    return tuple(f"v{first + k}" for k in range(length))


def drawn(rng: random.Random) -> Instruction:
    """Of few registers, so that they are written again soon, and of all units."""
    length = rng.choice([1, 1, 2])  # registers in a group
    one, two, into = (group(length * rng.randrange(1, 5), length) for _ in range(3))
    opcode, sew = rng.choice([
        ("vfmul.vv", 16), ("vfmul.vv", 32), ("vfmax.vv", 16), ("vadd.vv", 8), ("vrgather.vv", 16), ("vfredusum.vs", 32),
        ("vmflt.vv", 16), ("vle16.v", 16), ("vse16.v", 16), ("vlse16.v", 16), ("sfu.execute", 16), ("dma.load", 16),
    ])  # fmt: skip
    vl, buffer = rng.choice([16, 64, 128]), rng.choice(["@in.0", "@in.1"])
    reads, lengths, writes = (*one, *two), (length, length), into
    if opcode.startswith("dma"):
        return Instruction(opcode=opcode, writes=(buffer,), runs=1, run_bytes=vl)
    if opcode.startswith("vl"):
        reads, lengths = (buffer,), (1,)
    elif opcode.startswith("vs"):
        reads, lengths, writes = one, (length,), (buffer,)
    elif opcode.startswith("sfu"):
        reads, lengths = (*one, "sfu.table.0"), (length, 1)
    return Instruction(
        opcode=opcode,
        reads=reads,
        lengths=lengths * rng.choice([1, 1, 0]),
        writes=writes,
        vl=vl,
        sew_bits=sew,
    )


@pytest.mark.parametrize("config", MACHINES, ids=["8 lanes", "4 lanes", "16 lanes"])
def test_the_order_is_the_plain_one(config):
    for seed in range(80):
        rng = random.Random(seed)
        code = [drawn(rng) for _ in range(rng.randrange(2, 48))]
        order = schedule(code, config)
        assert [id(one) for one in order] == [id(one) for one in plain(code, config)], seed


def strip(register: int, buffer: str, vl: int = 64) -> list[Instruction]:
    name = f"v{register}"
    return [
        Instruction(opcode="vle16.v", reads=(buffer,), lengths=(1,), writes=(name,), vl=vl, vd=register),
        *(Instruction(opcode="vfmul.vv", reads=(name, name), lengths=(1, 1), writes=(name,), vl=vl) for _ in range(3)),
        Instruction(opcode="vfmax.vv", reads=(name, name), lengths=(1, 1), writes=(name,), vl=vl),
        Instruction(opcode="vse16.v", reads=(name,), lengths=(1,), writes=("@out.0",), vl=vl),
    ]  # fmt: skip


def test_strips_are_interleaved():
    """The plain order would wait for each multiplication; what the scheduler does must be other than nothing."""
    code = [*strip(1, "@in.0"), *strip(2, "@in.0")]
    order = schedule(code, MACHINE)
    assert order != code
    assert order == plain(code, MACHINE)


def test_code_of_the_same_clocks_is_listed_once(monkeypatch):
    scheduler = list_schedule.Scheduler(MACHINE)
    listed = []
    inner = scheduler._listed
    monkeypatch.setattr(scheduler, "_listed", lambda *code: listed.append(code) or inner(*code))
    first = scheduler.schedule([*strip(1, "@in.0"), *strip(2, "@in.0")])
    again = scheduler.schedule([*strip(1, "@in.0"), *strip(2, "@in.0")])
    assert first == again
    assert len(listed) == 1
    scheduler.schedule([*strip(1, "@in.0"), *strip(3, "@in.0")])
    scheduler.schedule([*strip(1, "@in.0"), *strip(2, "@in.1")])
    scheduler.schedule([*strip(1, "@in.0", 32), *strip(2, "@in.0")])
    assert len(listed) == 4


def test_what_the_machine_lacks_is_said():
    with pytest.raises(ValueError, match=r"flex_sfu\.enabled"):
        schedule([Instruction(opcode="sfu.execute", reads=("v1",), writes=("v2",), vl=4)], MACHINE.baseline())
