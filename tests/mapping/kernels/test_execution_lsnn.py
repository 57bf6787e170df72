"""The FP32 step executed on values: the golden model's bits, on machines with two tables, one, and none; its clocks against the roofline."""

import numpy as np
import pytest
import torch

from lanewise.config import FlexSfuConfig, MachineConfig, VectorConfig
from lanewise.mapping.functional import execute_program, table_tensor
from lanewise.mapping.kernels.builder import TABLE
from lanewise.mapping.kernels.price import banks, price
from lanewise.mapping.workloads.lsnn.cases import fp32_machine, step_cases
from lanewise.mapping.workloads.lsnn.network import ImplicitStep
from lanewise.mapping.workloads.lsnn.step_work import ROWS, GeneratingStepWork
from lanewise.models.flex_sfu import flex_sfu
from lanewise.models.lsnn.config import PAPER_SIZES
from lanewise.models.lsnn.network import GeneratingNetwork
from lanewise.models.lsnn.step_bits import Products, packed, step_bits, turned
from lanewise.models.lsnn.stepping import implicit_step
from lanewise.models.lsnn.tables import SLOPE, VALUE, table_pair
from lanewise.sim.program import priced_only

SIZES = (4, 10, 9, 1)
TWO = fp32_machine(MachineConfig())
ONE = MachineConfig(flex_sfu=FlexSfuConfig(degree=2, formats=("fp16", "fp32")))
NONE = MachineConfig().baseline()
NARROW = MachineConfig(
    vector=VectorConfig(lanes=1, vlen_bits=128),
    flex_sfu=FlexSfuConfig(lanes=1, segments=4, degree=1, formats=("fp32",), double_buffered=True),
)


def network(sizes=SIZES, seed=0):
    torch.manual_seed(seed)
    return GeneratingNetwork(sizes).requires_grad_(False)


def executed(work, machine, net, x):
    program = work.program(machine)
    assert priced_only(program) == ()
    assert banks(program, machine) <= machine.scratchpad.banks
    products = Products.of(net)
    out = np.full((work.steps, *x.shape), 77, np.float32)
    memory = {"in": x.copy(), "weights": packed(products.all, ROWS), "out": out}
    unit = machine.flex_sfu
    if unit.serves("fp32"):
        pair = tables(machine)
        memory |= {
            TABLE + VALUE: table_tensor(unit, pair.value),
            TABLE + SLOPE: table_tensor(unit, pair.slope),
        }
    execute_program(program, machine, memory)
    return out


def tables(machine):
    return table_pair("matched", segments=machine.flex_sfu.segments, degree=machine.flex_sfu.degree)


def activation(machine):
    pair = tables(machine)

    def look_up(z, table):
        return flex_sfu(np.ascontiguousarray(z).view(np.uint32), table).view(np.float32)

    def both(z):
        t = look_up(z, pair.value)
        return t, look_up(z, pair.slope) if machine.flex_sfu.banks == 2 else np.float32(1) - t * t

    return both


@pytest.mark.parametrize(
    ("machine", "orbits"),
    [(TWO, 5), (TWO, 33), (ONE, 3), (NARROW, 6)],
    ids=["two", "two-33", "one", "narrow"],
)
def test_bits(machine, orbits):
    net = network()
    x = np.random.default_rng(7).normal(0, 2, (4, orbits)).astype(np.float32)
    work = GeneratingStepWork(sizes=SIZES, orbits=orbits, steps=2, iterations=2, angle=True)
    wanted = x
    for got in executed(work, machine, net, x):
        wanted = step_bits(Products.of(net), wanted, activation(machine), iterations=2, angle=True)
        assert np.array_equal(got.view(np.uint32), wanted.view(np.uint32))


def test_the_baseline_computes_tanh_to_fp32s_accuracy():
    """Against the same step in float64: what remains is the sums' rounding."""
    net = network()
    x = np.random.default_rng(8).normal(0, 2, (4, 20)).astype(np.float32)
    work = GeneratingStepWork(sizes=SIZES, orbits=20, steps=1, iterations=4)
    got = executed(work, NONE, net, x)[0]
    wanted = implicit_step(net.double(), torch.from_numpy(x.T).double(), 4).T.numpy()
    assert np.abs(got - wanted).max() < 2e-6


def test_weights_are_loaded_anew_and_results_land_in_their_places(monkeypatch):
    from lanewise.mapping.workloads.lsnn import step_work

    net = network()
    x = np.random.default_rng(9).normal(0, 1, (4, 3)).astype(np.float32)
    work = GeneratingStepWork(sizes=SIZES, orbits=3, steps=3, iterations=1)
    whole = executed(work, TWO, net, x)
    monkeypatch.setattr(step_work, "MOST_ACCESSES", 50)  # two steps at a time
    assert np.array_equal(executed(work, TWO, net, x), whole)


def test_turned():
    angles = np.array([-0.1, 0.0, 3.0, 6.2, 6.4, 40.0, -40.0], np.float32)
    got = turned(angles)
    assert np.abs(got - np.mod(angles.astype(np.float64), 2 * np.pi)).max() < 5e-6


def test_clocks_near_the_multiply_adds():
    work = GeneratingStepWork(sizes=PAPER_SIZES, orbits=32, steps=2, iterations=3)
    cycles, bound = price(work.program(TWO), TWO).cycles, work.macs / TWO.vector.lanes
    print(cycles, bound, cycles / bound)
    assert bound <= cycles < 1.2 * bound
    assert cycles < price(work.program(NONE), NONE).cycles


def test_assembles_and_is_legal(check_stream):
    for machine in (TWO, NONE):
        work = GeneratingStepWork(sizes=SIZES, orbits=3, steps=2, iterations=1, angle=True)
        check_stream(work.program(machine), machine)


def test_works_are_checked():
    with pytest.raises(ValueError, match="sizes must be at least three, the first even and the last 1"):
        GeneratingStepWork(sizes=(3, 4, 1), orbits=1, steps=1, iterations=1)
    with pytest.raises(ValueError, match="steps must be at least 1, not 0"):
        GeneratingStepWork(sizes=SIZES, orbits=1, steps=0, iterations=1)


def test_cases_at_the_papers_shapes():
    cases = {(case.name, case.shape): case for case in step_cases(MachineConfig(), small=True)}
    first = next(iter(cases.values()))
    assert first.work.sizes == PAPER_SIZES
    for case in cases.values():
        assert case.cost.cycles < case.baseline.cycles
    by_name = {name: case.cost.cycles for (name, shape), case in cases.items() if shape.startswith("4-200")}
    large = by_name["two partitions by one large step, FP32 vector kernel"]
    assert by_name["two partitions by small steps, FP32 vector kernel"] > 90 * large


def test_the_traced_step_is_the_networks():
    from lanewise.mapping.user import trace

    graph = trace(ImplicitStep((4, 8, 6, 1), 2), torch.zeros(3, 4))
    products = 4 * 8 + 8 * 6 + 6 * 8 + 8 * 4
    assert graph.macs == 3 * products * 3
