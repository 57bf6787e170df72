"""Rows of real networks, what becomes of those that fail, and the store of costs."""

import multiprocessing
import os
import signal
import sqlite3
import time
from dataclasses import dataclass, replace

import pytest

from lanewise.config import MachineConfig
from lanewise.files import cache_folder
from lanewise.mapping.graph import Graph, Operator, Value
from lanewise.mapping.kernels.elementwise import ElementwiseWork
from lanewise.mapping.kernels.epilogue import Step
from lanewise.mapping.kernels.matmul import MatmulWork
from lanewise.mapping.lower import lower
from lanewise.mapping.simulate import simulate, work_cost
from lanewise.mapping.trace import trace_model
from lanewise.mapping.zoo import ZooModel
from lanewise.sim import compiled as compiled_module
from lanewise.sources import source_files
from lanewise.sweep import limits as limits_module
from lanewise.sweep import network as module
from lanewise.sweep.activations import activations
from lanewise.sweep.costs import CostStore, KnownCosts
from lanewise.sweep.limits import Limits, MemoryLimitError, TimeLimitError
from lanewise.sweep.machines import machines
from lanewise.sweep.network import NetworkTask, Shapes, run_network
from lanewise.sweep.sources import PRICES, ROWS

VIT = ZooModel(name="timm:test_vit", library="timm", family="vision_transformer", domain="vision", year=2020)
MACHINES = machines([], ["vector.lanes=4,8"])
TASK = NetworkTask(model=VIT, shapes=Shapes(), machines=MACHINES, keep_costs=False)


@pytest.fixture
def cache(tmp_path):
    """A cache folder with the traces of the user's."""
    (tmp_path / "traces").symlink_to(cache_folder() / "traces")
    (cache_folder() / "traces").mkdir(parents=True, exist_ok=True)
    return tmp_path


def test_a_row_is_what_simulate_says(cache):
    rows = run_network(replace(TASK, cache=cache)).rows
    graph = trace_model(VIT.name)
    assert [row.config for row in rows] == ["vector.lanes=4", ""]
    for row, machine in zip(rows, MACHINES):
        result = simulate(graph, machine.config)
        values = result.as_dict()
        assert row.status == "done"
        for key in (
            "model",
            "config_hash",
            "cycles",
            "baseline_cycles",
            "speedup",
            "macs",
            "bytes",
            "instructions",
        ):
            assert getattr(row, key) == values[key], key
        assert (row.kinds, row.baseline_kinds) == (
            values["cycles_by_kind"],
            values["baseline_cycles_by_kind"],
        )
        assert (row.busy_clk, row.baseline_busy_clk) == (result.machine.busy_clk, result.baseline.busy_clk)
        functions = {"softmax", "gelu"}
        through = [
            part
            for part in values["operators"]
            if part["kind"] == "softmax" or functions & {*part["functions"]}
        ]
        assert (
            row.activation_share
            == sum(part["baseline_cycles"] for part in through) / values["baseline_cycles"]
        )
        assert (row.family, row.domain, row.year, row.options) == (
            "vision_transformer",
            "vision",
            2020,
            "batch=1",
        )
        assert row.seconds > 0
        assert row.peak_bytes > 2**25


def test_activations_are_elements_of_the_operators(cache):
    """Counted here on the graph, there on the works."""
    graph = trace_model(VIT.name)
    counts: dict[str, int] = {}
    for operator in graph.operators:
        name = {"softmax": "exp"}.get(operator.kind, operator.function)
        if name in ("exp", "gelu"):
            counts[name] = counts.get(name, 0) + graph.values[operator.outputs[0]].size
    row, _ = run_network(replace(TASK, cache=cache)).rows
    assert row.activations == counts
    assert set(counts) == {"exp", "gelu"}


def test_convolutions_and_parameters_are_counted(cache):
    import torch

    from lanewise.mapping.networks import load

    model = replace(VIT, name="timm:test_efficientnet", family="efficientnet")
    row, _ = run_network(replace(TASK, model=model, cache=cache)).rows
    graph = trace_model(model.name)
    silu = sum(graph.values[o.outputs[0]].size for o in graph.operators if o.function == "silu")
    assert row.activations["silu"] == silu > 0
    network, _ = load(model.name)
    assert isinstance(network, torch.nn.Module)
    assert row.parameters == sum(parameter.numel() for parameter in network.parameters())


def test_steps_of_unknown_works_are_not_ignored():
    with pytest.raises(TypeError, match="must be counted"):
        activations(Unknown(steps=(Step(function="gelu"),)))
    assert activations(ElementwiseWork(elements=3, steps=(Step(function="exp"), Step(function="exp")))) == {
        "exp": 6
    }


@dataclass(frozen=True)
class Unknown:
    """No work that lanewise has."""

    steps: tuple[Step, ...]


def graph_of(kind: str, function: str) -> Graph:
    """One operator."""
    x = Value(id=0, shape=(2, 64), dtype="float32", origin="input")
    y = Value(id=1, shape=(2, 64), dtype="float32", origin="operator", producer=0)
    operator = Operator(index=0, name="it", kind=kind, function=function, inputs=(0,), outputs=(1,))
    return Graph(model="timm:test_vit", operators=(operator,), values=(x, y), outputs=(1,))


def reasons(task: NetworkTask) -> list[str]:
    rows = run_network(task).rows
    assert [row.status for row in rows] == ["failed"] * len(task.machines)
    assert {(row.cycles, row.speedup, row.model) for row in rows} == {(None, None, task.model.name)}
    assert all(len(row.reason.splitlines()) == 1 for row in rows)
    return [row.reason for row in rows]


def test_an_operator_without_a_kernel_fails_or_is_priced(cache, monkeypatch):
    monkeypatch.setattr(module, "trace_model", lambda *_args, **_kwargs: graph_of("other", "cumsum"))
    task = replace(TASK, cache=cache)
    assert reasons(task) == ["no kernel for other cumsum (1, first it)"] * 2
    row, _ = run_network(replace(task, allow_unmapped=True)).rows
    assert (row.status, row.unmapped, row.activations) == ("done", ["it (other cumsum)"], {})
    assert (
        row.cycles
        == simulate(graph_of("other", "cumsum"), MACHINES[0].config, allow_unmapped=True).machine.cycles
    )


def test_what_fails_says_why_in_a_line(cache, monkeypatch):
    task = replace(TASK, cache=cache)
    unknown = replace(VIT, name="timm:no_such_model")
    assert "unknown model" in reasons(replace(task, model=unknown))[0]
    (small,) = machines([], ["scratchpad.size_kib=16", "scratchpad.banks=16"])
    fitting = run_network(replace(task, machines=(MACHINES[1], small))).rows
    assert [row.status for row in fitting] == ["done", "failed"]
    assert "does not fit the machine" in fitting[1].reason

    def broken(*_args, **_kwargs):
        raise RecursionError("first line\nsecond line")

    monkeypatch.setattr(module, "lower", broken)
    assert reasons(task)[0].startswith("RecursionError: first line (test_network.py:")


def test_a_network_has_so_much_time(cache, monkeypatch):
    def endless(*_args, **_kwargs):
        while True:
            try:
                sum(range(1000))
            except Exception:  # noqa: BLE001 - a library that swallows what it can
                continue

    monkeypatch.setattr(module, "lower", endless)
    start = time.monotonic()
    assert (
        reasons(replace(TASK, cache=cache, timeout_seconds=0.2)) == ["took longer than --timeout (0.2 s)"] * 2
    )
    assert time.monotonic() - start < 5


def test_a_network_has_so_much_memory(cache, monkeypatch):
    held = []

    def greedy(*_args, **_kwargs):
        while True:
            held.append(b"x" * 2**22)
            time.sleep(0.001)

    monkeypatch.setattr(module, "lower", greedy)
    limit = module.psutil.Process().memory_info().rss + 2**27
    task = replace(TASK, cache=cache, memory_bytes=limit)
    outcome = run_network(task)
    assert outcome.rows[0].reason == f"needed more than --memory ({limit / 2**30:.2f} GiB)"
    assert outcome.worn  # it is still held
    held.clear()


def wait_within(limits: Limits) -> None:
    with limits:
        while True:
            time.sleep(0.01)


def test_limits_that_are_kept_are_silent():
    for _ in range(20):
        with Limits(seconds=30, memory_bytes=2**40):
            pass
    with pytest.raises(TimeLimitError):
        wait_within(Limits(seconds=0.1))
    with pytest.raises(MemoryLimitError):
        wait_within(Limits(memory_bytes=1))
    time.sleep(0.2)  # nothing comes later


def stuck() -> None:
    """Does not come back from C."""
    limits_module._GRACE_SECONDS = 0.1
    with Limits(seconds=0.05):
        time.sleep(60)


def test_a_process_that_does_not_hear_of_a_limit_ends():
    process = multiprocessing.get_context("spawn").Process(target=stuck)
    process.start()
    process.join(timeout=40)
    assert process.exitcode == 1


# The store of costs


WORKS = [MatmulWork(m=8 * i, k=64, n=32, steps=(Step(function="gelu"),)) for i in range(1, 5)]
CONFIG = MachineConfig()


def test_costs_are_what_was_priced(tmp_path):
    works = list(dict.fromkeys(task.work for task in lower(trace_model(VIT.name)).tasks))
    costs = {work: work_cost(work, CONFIG) for work in works}
    CostStore(tmp_path / "costs" / "x.sqlite").write(costs, CONFIG)
    store = CostStore(tmp_path / "costs" / "x.sqlite")
    assert store.read(works, CONFIG) == costs
    assert store.read(works, CONFIG.baseline()) == {}
    assert store.read([*WORKS], CONFIG) == {}


def test_a_second_network_prices_nothing(tmp_path, monkeypatch):
    priced = []
    monkeypatch.setattr(
        "lanewise.sweep.costs.work_cost", lambda work, config: priced.append(work) or work_cost(work, config)
    )
    for works, new in ((WORKS[:3], 3), (WORKS, 1), (WORKS, 0)):
        priced.clear()
        costs = KnownCosts(CostStore(tmp_path / "x.sqlite"), works, [CONFIG])
        assert [costs(work, CONFIG) for work in works] == [work_cost(work, CONFIG) for work in works]
        costs.save()
        assert len(priced) == new


@pytest.mark.filterwarnings("ignore")
def test_a_store_that_is_no_store_is_as_an_empty_one(tmp_path, caplog):
    path = tmp_path / "x.sqlite"
    path.write_bytes(b"no database" * 1000)
    store = CostStore(path)
    store.write({WORKS[0]: work_cost(WORKS[0], CONFIG)}, CONFIG)
    assert store.read(WORKS, CONFIG) == {}
    assert "costs of works are not kept" in caplog.text
    assert CostStore(tmp_path / "x.sqlite" / "y").read(WORKS, CONFIG) == {}


def test_a_damaged_cost_is_priced_again(tmp_path):
    path = tmp_path / "x.sqlite"
    cost = work_cost(WORKS[0], CONFIG)
    CostStore(path).write({WORKS[0]: cost}, CONFIG)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE costs SET cost = X'0102'")
    assert CostStore(path).read(WORKS, CONFIG) == {}
    assert KnownCosts(CostStore(path), WORKS, [CONFIG])(WORKS[0], CONFIG) == cost


def write_for_ever(path, first) -> None:
    """Write works of one's own, again and again."""
    store = CostStore(path)
    run = work_cost(WORKS[0], CONFIG)
    for n in range(10**6):
        store.write({replace(WORKS[0], n=1 + first + 2 * (50 * n + i)): run for i in range(50)}, CONFIG)


def test_a_store_lives_through_kills_of_its_writers(tmp_path):
    path = tmp_path / "x.sqlite"
    context = multiprocessing.get_context("spawn")
    CostStore(path)
    writers = [context.Process(target=write_for_ever, args=(path, first)) for first in range(2)]
    for writer in writers:
        writer.start()
    deadline = time.monotonic() + 60
    with sqlite3.connect(path, timeout=60) as connection:
        while connection.execute("SELECT count(*) FROM costs").fetchone()[0] < 500:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    connection.close()
    for writer in writers:
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert connection.execute("SELECT count(*) FROM costs").fetchone()[0] % 50 == 0  # whole transactions
    connection.close()
    store = CostStore(path)
    found = [
        len(store.read([replace(WORKS[0], n=1 + first + 2 * i) for i in range(50)], CONFIG))
        for first in range(2)
    ]
    assert set(found) <= {0, 50}
    assert any(found)


# What a row depends on


def test_rows_depend_on_the_whole_way_from_network_to_clocks():
    names = {"/".join(path.parts[-2:]) for path in source_files(ROWS)}
    assert {
        "sim/recurrence.cpp",
        "kernels/matmul.py",
        "mapping/trace.py",
        "mapping/lower.py",
        "lanewise/config.py",
    } <= names
    assert not {"sweep/run.py", "lanewise/cli.py", "mapping/timeline.py", "mapping/zoo_families.toml"} & names
    tables = source_files("lanewise.mapping.zoo_families")
    assert "zoo_families.toml" in {path.name for path in tables}
    listed = {path.name for path in source_files("lanewise.mapping.zoo")}
    assert {"zoo.py", "zoo_families.toml", "zoo_left_out.toml", "networks_transformers_sizes.toml"} <= listed
    prices = {"/".join(path.parts[-2:]) for path in source_files(PRICES)}
    compiled = {compiled_module.SOURCE, compiled_module.SCHEDULER, compiled_module.HEADER}
    assert {"/".join(path.parts[-2:]) for path in compiled} <= prices
    assert prices < names
    assert "mapping/trace.py" not in prices
