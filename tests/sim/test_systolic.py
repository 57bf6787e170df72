"""Our array's steps are those of SCALE-Sim's output-stationary dataflow without a mesh's skew, on published topologies, exactly."""

import pytest

from lanewise.config import DmaConfig, MachineConfig, MatrixConfig, ScratchpadConfig
from lanewise.mapping.kernels.matmul import MatmulWork
from lanewise.mapping.simulate import work_cost
from lanewise.mapping.trace import trace_model
from lanewise.sim.mac_array import mac_array_clk
from lanewise.sim.systolic import Gemm, fill_and_drain_clk, mesh_clk, skew_clk, steps_clk, stream_clk
from lanewise.sim.topologies import TOPOLOGIES, bert_base, mobilenet, resnet50

ARRAYS = [(32, 32), (16, 16), (8, 64)]


def distinct(name):
    """Layers of different shape, so that none is run twice."""
    return {(gemm.m, gemm.k, gemm.n): gemm for gemm in TOPOLOGIES[name]()}.values()


def mesh_by_events(gemm, rows, columns):
    """SCALE-Sim's mesh, element by element: the last element's last product, fold after fold; the clock numbers begin with 0."""
    end = -1
    for _ in range(gemm.folds(rows, columns)):
        last = max(row + column + gemm.k - 1 for row in range(rows) for column in range(columns))
        end += last + 1
    return end


@pytest.mark.parametrize("rows", [1, 4, 7])
@pytest.mark.parametrize("columns", [1, 5])
def test_the_meshs_closed_form_is_its_elements_clocks(rows, columns):
    for m, k, n in ((1, 1, 1), (9, 4, 11), (8, 30, 10)):
        gemm = Gemm(name="", m=m, k=k, n=n)
        assert mesh_clk(gemm, rows=rows, columns=columns) == mesh_by_events(gemm, rows, columns)


@pytest.mark.parametrize(
    ("layer", "array", "cycles"),
    [
        ((20, 30, 10), (16, 8), 207),
        ((33, 1, 33), (16, 8), 344),
        ((49, 576, 64), (16, 8), 19_135),
        ((50, 40, 70), (32, 32), 611),
        ((1, 256, 100), (32, 32), 1_271),
        ((64, 768, 96), (32, 32), 4_979),
    ],
)
def test_the_closed_form_is_what_scale_sim_reports(layer, array, cycles):
    """Cycles as SCALE-Sim 3.0.0 reported them (``benchmarks/scalesim.py --scalesim``)."""
    m, k, n = layer
    assert mesh_clk(Gemm(name="", m=m, k=k, n=n), rows=array[0], columns=array[1]) == cycles


@pytest.mark.parametrize("array", ARRAYS, ids=lambda a: f"{a[0]}x{a[1]}")
@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_engine_less_padding_is_the_mesh_less_skew(topology, array):
    rows, columns = array
    machine = ideal(rows, columns)
    for gemm in distinct(topology):
        folds = gemm.folds(rows, columns)
        held = work_cost(MatmulWork(m=gemm.m, k=gemm.k, n=gemm.n), machine).busy_clk["matrix"]
        padding = folds * (-gemm.k % machine.matrix.block_steps)
        mesh = mesh_clk(gemm, rows=rows, columns=columns)
        assert held == stream_clk(gemm, machine.matrix), gemm
        assert held - padding == mesh + 1 - folds * skew_clk(rows, columns), gemm


@pytest.mark.parametrize("array", ARRAYS, ids=lambda a: f"{a[0]}x{a[1]}")
def test_the_arrays_own_clocks_are_its_steps_and_one_fill_and_drain(array):
    rows, columns = array
    matrix = ideal(rows, columns).matrix
    gemm = next(gemm for gemm in resnet50() if gemm.name == "conv5.1 b")
    tiles = [gemm.k] * gemm.folds(rows, columns)
    assert mac_array_clk(tiles, matrix) == steps_clk(gemm, rows=rows, columns=columns) + fill_and_drain_clk(matrix)  # fmt: skip


def ideal(rows, columns):
    """Everything fits, memory is as wide as can be, and results leave a whole row a clock."""
    return MachineConfig(
        matrix=MatrixConfig(rows=rows, columns=columns, output_lanes=64),
        scratchpad=ScratchpadConfig(size_kib=65536),
        dma=DmaConfig(bytes_per_clk=512, latency_clk=5, descriptor_clk=1),
    )


@pytest.mark.parametrize(
    ("layers", "model"), [(resnet50, "timm:resnet50"), (bert_base, "hf:bert"), (mobilenet, "timm:mobilenetv1_100")]
)  # fmt: skip
def test_layers_are_those_of_the_traced_network(layers, model):
    graph = trace_model(model)
    shapes: dict[tuple[int, int, int], int] = {}
    for operator in graph.operators:
        if operator.kind == "matmul":
            key = tuple(operator.number(side) for side in ("m", "k", "n"))
            shapes[key] = shapes.get(key, 0) + operator.number("batch")
        elif operator.kind == "convolution" and operator.attributes["groups"] == 1:
            weight, result = graph.values[operator.inputs[1]].shape, graph.values[operator.outputs[0]].shape
            key = (result[2] * result[3], weight[1] * weight[2] * weight[3], weight[0])
            shapes[key] = shapes.get(key, 0) + 1
    listed: dict[tuple[int, int, int], int] = {}
    for gemm in layers():
        listed[gemm.m, gemm.k, gemm.n] = listed.get((gemm.m, gemm.k, gemm.n), 0) + gemm.count
    assert listed == shapes


def test_layers_of_networks_that_are_not_traced():
    macs = {name: sum(gemm.macs for gemm in TOPOLOGIES[name]()) for name in ("AlexNet", "GoogLeNet")}
    assert macs["AlexNet"] == 724_406_816  # 61 M parameters; 724 M in Sze et al., arXiv 1703.09039, table II
    assert 1.4e9 < macs["GoogLeNet"] < 1.6e9  # "1.5 billion multiply-adds", section 1 there
