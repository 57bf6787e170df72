"""The trace file: trace events as the format has them, bars that do not overlap, starts and ends that are the engine's."""

import json

import pytest

from lanewise.config import MachineConfig
from lanewise.mapping.kernels.price import price
from lanewise.mapping.simulate import as_stored, simulate
from lanewise.mapping.timeline import write_timeline
from lanewise.mapping.trace import trace_model
from lanewise.sim.reference import Reference
from lanewise.sim.timing import UNITS
from lanewise.sim.vector_type import with_vector_types

CONFIG = MachineConfig()
FIELDS = {
    "M": {"pid": int, "name": str, "args": dict},
    "X": {"pid": int, "tid": int, "name": str, "ts": int, "dur": int, "args": dict},
}
"""What Perfetto's reader of the format wants of an event, by its phase."""


@pytest.fixture(scope="module")
def minilm():
    return simulate(trace_model("hf:minilm", sequence=32), CONFIG)


@pytest.fixture(scope="module")
def events(minilm, tmp_path_factory):
    path = tmp_path_factory.mktemp("trace") / "trace.json"
    assert write_timeline(minilm, path)[0].instructions == sum(c.instructions for c in minilm.machine.costs)
    trace = json.loads(path.read_text())
    assert set(trace) == {"traceEvents", "displayTimeUnit"}
    return trace["traceEvents"]


def test_events_have_the_format_s_fields(events):
    for event in events:
        wanted = FIELDS[event["ph"]]
        assert {name: type(event[name]) for name in wanted} == wanted
        assert set(event) <= {*wanted, "ph", "tid", "cat"}
    threads = {e["tid"]: e["args"]["name"] for e in events if e["name"] == "thread_name" and e["pid"] == 1}
    assert list(threads.values()) == ["operators", *UNITS]
    assert {e["tid"] for e in events if e["ph"] == "X"} <= set(threads)


def test_bars_of_a_thread_do_not_overlap(events):
    free: dict[tuple[int, int], int] = {}
    for event in sorted((e for e in events if e["ph"] == "X"), key=lambda e: e["ts"]):
        thread = event["pid"], event["tid"]
        assert event["ts"] >= free.get(thread, 0)
        free[thread] = event["ts"] + event["dur"]


def test_starts_and_ends_are_the_recurrence_s(minilm, events):
    index = next(i for i, task in enumerate(minilm.machine.tasks) if task.kind == "softmax")
    cost = minilm.machine
    work = as_stored(cost.tasks[index].work, CONFIG)
    own = price(work.program(CONFIG), CONFIG)
    config = CONFIG if own.cycles == cost.costs[index].cycles else CONFIG.baseline()
    reference = Reference(with_vector_types(work.program(config), config), config)
    now = sum(c.cycles for c in cost.costs[:index])
    expected = [(i.opcode, now + start, now + end) for i, start, end in reference.events]
    bars = [e for e in events if e["ph"] == "X" and e["pid"] == 1 and e["tid"]]
    before = sum(c.instructions for c in cost.costs[:index])
    got = [(e["name"], e["ts"], e["args"]["end"]) for e in bars[before : before + len(expected)]]
    assert got == expected


def test_chosen_operators_alone_have_instructions(minilm, tmp_path):
    tasks = minilm.machine.tasks
    chosen = next(task.name for task in tasks if task.kind == "softmax")
    path = tmp_path / "trace.json"
    traced, _ = write_timeline(minilm, path, operators=[chosen])
    events = json.loads(path.read_text())["traceEvents"]
    (place,) = [
        e for e in events if e["ph"] == "X" and e["pid"] == 1 and e["name"] == chosen and e["tid"] == 0
    ]
    bars = [e for e in events if e["ph"] == "X" and e["pid"] == 1 and e["tid"]]
    assert len(bars) == traced.instructions == traced.of > 0
    assert all(place["ts"] <= e["ts"] < place["ts"] + place["dur"] for e in bars)
    assert sum(e["ph"] == "X" and e["pid"] == 1 and e["tid"] == 0 for e in events) == len(tasks)


def test_a_limit_cuts_the_trace_and_says_so(minilm, tmp_path):
    said: list[str] = []
    path = tmp_path / "trace.json"
    traced = write_timeline(minilm, path, limit=20_000, progress=said.append)
    assert [part.instructions for part in traced] == [20_000, 20_000]
    assert len(said) == 2
    assert "--trace-limit N" in said[0]
    assert len(path.read_text()) < 20_000 * 2 * 200
