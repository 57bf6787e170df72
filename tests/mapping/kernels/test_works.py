"""Works as Programs: never faster than the machine allows, nothing loaded or stored less than needed, scratchpad never overrun."""

import dataclasses
from math import ceil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lanewise.config import DmaConfig, MachineConfig, MatrixConfig, ScratchpadConfig
from lanewise.mapping.kernels.copies import Copy, Level
from lanewise.mapping.kernels.elementwise import ElementwiseWork
from lanewise.mapping.kernels.epilogue import Step
from lanewise.mapping.kernels.matmul import MatmulWork
from lanewise.mapping.kernels.matmul_nest import Nest
from lanewise.mapping.kernels.movement import MovementWork
from lanewise.mapping.kernels.price import price
from lanewise.mapping.kernels.rows import RowsWork
from lanewise.mapping.kernels.window_axes import Axis
from lanewise.mapping.kernels.windows import WindowsWork
from lanewise.sim.program import Program

MACHINE = MachineConfig()
SMALL = dataclasses.replace(
    MACHINE,
    matrix=MatrixConfig(rows=8, columns=4),
    scratchpad=ScratchpadConfig(size_kib=32, banks=32),
    dma=DmaConfig(bytes_per_clk=8),
)
INT8 = dataclasses.replace(MACHINE, matrix=MatrixConfig(operand_bits=8))
MACHINES = st.sampled_from([MACHINE, MACHINE.baseline(), SMALL, INT8])
STEPS = st.lists(
    st.sampled_from(
        [Step(function="gelu"), Step(function="relu"), Step(function="add", operand="tensor"), Step(function="multiply", operand="channel")]
    ),
    max_size=2, unique=True,
).map(tuple)  # fmt: skip
OUTPUTS = st.sampled_from([("fp16",), ("quantised",), ("fp16", "quantised")])


def used_bytes(program: Program, config: MachineConfig) -> int:
    bank = config.scratchpad.bank_bytes
    return sum(ceil(size / bank) * bank for size in program.buffers_bytes.values())


def result_bytes(elements: int, outputs: tuple[str, ...], config: MachineConfig) -> float:
    return sum(elements * (16 if form == "fp16" else config.matrix.operand_bits) / 8 for form in outputs)


@settings(max_examples=150, deadline=None)
@given(
    m=st.integers(1, 300), k=st.integers(1, 700), n=st.integers(1, 300), batch=st.integers(1, 3), steps=STEPS, outputs=OUTPUTS,
    weights=st.booleans(), config=MACHINES,
)  # fmt: skip
def test_matmul_never_beats_the_roofline(m, k, n, batch, steps, outputs, weights, config):
    work = MatmulWork(m=m, k=k, n=n, batch=batch, steps=steps, outputs=outputs, weights=weights)
    program = work.program(config)
    result = price(program, config)
    tiles = ceil(m / config.matrix.rows) * ceil(n / config.matrix.columns)
    assert result.macs == batch * tiles * k * config.matrix.macs_per_clk
    assert result.cycles >= work.macs / config.matrix.macs_per_clk
    operands = batch * (m + n) * k * config.matrix.operand_bits / 8
    assert result.loaded_bytes >= operands
    assert result.cycles >= result.loaded_bytes / config.dma.bytes_per_clk
    assert result.stored_bytes >= result_bytes(batch * m * n, outputs, config)
    elements = batch * tiles * config.matrix.rows * config.matrix.columns
    arithmetic = sum(step.operand != "" for step in steps) + (len(steps) > 0 or len(outputs) > 1) * (
        "quantised" in outputs
    )
    assert result.busy_clk["vector_fma"] >= batch * m * n * 16 * arithmetic / config.vector.bits_per_clk
    assert result.busy_clk["vector_fma"] <= 40 * (elements + 2048 * batch * tiles) / config.vector.lanes
    assert used_bytes(program, config) <= config.scratchpad.bytes


def test_a_large_product_keeps_the_array_busy():
    result = price(MatmulWork(m=4096, k=4096, n=4096).program(MACHINE), MACHINE)
    assert 4096**3 / MACHINE.matrix.macs_per_clk / result.cycles > 0.99


BERT_BASE = {
    "projection": MatmulWork(m=512, k=768, n=768),
    "intermediate": MatmulWork(m=512, k=768, n=3072),
    "output": MatmulWork(m=512, k=3072, n=768),
}


@pytest.mark.parametrize("name", BERT_BASE)
def test_bert_base_s_layers_keep_nine_tenths_of_the_array_busy(name):
    work = BERT_BASE[name]
    assert work.macs / MACHINE.matrix.macs_per_clk / price(work.program(MACHINE), MACHINE).cycles >= 0.9


def test_what_leaves_the_output_path_as_it_is_stored_is_not_touched_by_the_vector_unit():
    for outputs in (("fp16",), ("quantised",)):
        result = price(MatmulWork(m=64, k=256, n=64, outputs=outputs).program(MACHINE), MACHINE)
        assert not any(busy for unit, busy in result.busy_clk.items() if unit.startswith("vector"))
    both = price(MatmulWork(m=64, k=256, n=64, outputs=("fp16", "quantised")).program(MACHINE), MACHINE)
    assert both.busy_clk["vector_fma"] > 0


@pytest.mark.parametrize(("k", "outputs"), [(32, ("fp16",)), (64, ("fp16",)), (32, ("quantised",))])
def test_short_tiles_do_not_wait_for_the_buffers_of_their_results(k, outputs):
    """Attention's scores: a tile leaves in 128 clocks, and its results are on their way for longer than two of them."""
    work = MatmulWork(m=128, k=k, n=128, batch=12, weights=False, outputs=outputs)
    alone = price(work.program(MACHINE), MACHINE)
    tiles = 12 * 16
    assert alone.cycles < 128 * tiles + 600
    scaled = dataclasses.replace(work, steps=(Step(function="multiply", operand="scalar", constant=0.25),))
    assert alone.cycles <= price(scaled.program(MACHINE), MACHINE).cycles


def test_long_tiles_have_two_buffers_for_their_results():
    work = MatmulWork(m=256, k=768, n=256)
    assert "@fp16.2" not in work.program(MACHINE).buffers_bytes
    assert not Nest(work, MACHINE).waits


def test_wider_operands_take_passes_and_bytes():
    four, eight = (
        price(
            MatmulWork(m=64, k=256, n=64, left_bits=bits, right_bits=bits, weights=False).program(MACHINE),
            MACHINE,
        )
        for bits in (4, 8)
    )
    assert eight.busy_clk["matrix"] == 4 * four.busy_clk["matrix"]
    constants = 6 * 32
    assert eight.loaded_bytes - constants == 2 * (four.loaded_bytes - constants)


def test_rows_with_scales_of_their_own_load_them():
    own, one = (MatmulWork(m=64, k=256, n=64, row_scales=scales) for scales in (True, False))
    extra = (
        price(own.program(MACHINE), MACHINE).loaded_bytes - price(one.program(MACHINE), MACHINE).loaded_bytes
    )
    assert extra == 4 * 64 * 2  # once for each of two tiles of columns


def test_an_inner_dimension_that_does_not_fit_is_streamed_in_chunks():
    work = MatmulWork(m=32, k=100_000, n=64)
    result = price(work.program(MACHINE), MACHINE)
    assert result.busy_clk["matrix"] == 2 * 100_000
    assert result.cycles < 1.1 * max(result.busy_clk["matrix"], result.busy_clk["dma_load"])


def test_a_scratchpad_without_room_is_refused():
    config = dataclasses.replace(
        MACHINE, matrix=MatrixConfig(rows=64, columns=64), scratchpad=ScratchpadConfig(size_kib=16)
    )
    with pytest.raises(ValueError, match=r"scratchpad\.size_kib must hold two tiles of each operand, not 16"):
        MatmulWork(m=64, k=64, n=64).program(config)


@settings(max_examples=60, deadline=None)
@given(elements=st.integers(1, 20_000), steps=STEPS, outputs=OUTPUTS, config=MACHINES)
def test_elementwise_reads_and_writes_everything(elements, steps, outputs, config):
    work = ElementwiseWork(elements=elements, steps=steps, outputs=outputs)
    program = work.program(config)
    result = price(program, config)
    tensors = 1 + sum(step.operand == "tensor" for step in steps)
    assert result.loaded_bytes >= 2 * elements * tensors
    assert result.stored_bytes >= result_bytes(elements, outputs, config)
    assert result.cycles >= result.loaded_bytes / config.dma.bytes_per_clk
    assert result.busy_clk["vector_memory"] >= 16 * elements * tensors / config.vector.bits_per_clk


@settings(max_examples=60, deadline=None)
@given(
    function=st.sampled_from(["softmax", "layer_norm", "rms_norm", "sum", "mean", "max"]), rows=st.integers(1, 100),
    length=st.integers(1, 2000), outputs=OUTPUTS, config=st.sampled_from([MACHINE, MACHINE.baseline()]),
)  # fmt: skip
def test_rows_touch_every_element(function, rows, length, outputs, config):
    outputs = ("fp16",) if function in ("sum", "mean", "max") else outputs
    work = RowsWork(
        function=function, rows=rows, length=length, affine=function.endswith("norm"), outputs=outputs
    )
    program = work.program(config)
    result = price(program, config)
    assert result.loaded_bytes >= 2 * rows * length
    assert result.stored_bytes >= result_bytes(rows * work.result_length, outputs, config)
    assert result.busy_clk["vector_memory"] >= 16 * rows * length / config.vector.bits_per_clk
    assert used_bytes(program, config) <= config.scratchpad.bytes


@pytest.mark.parametrize(("exponential", "factors"), [("direct", 1), ("reduced", 2)])
@pytest.mark.parametrize("length", [128, 197, 512, 4096])
def test_softmax_looks_exp_up_for_each_element_and_each_factor(length, exponential, factors):
    work = RowsWork(function="softmax", rows=64, length=length, exponential=exponential)
    result = price(work.program(MACHINE), MACHINE)
    evaluations = factors * 64 * length / MACHINE.flex_sfu.elements_per_clk()
    assert evaluations <= result.busy_clk["flex_sfu"] <= 1.1 * evaluations + 256
    baseline = price(work.program(MACHINE.baseline()), MACHINE.baseline())
    assert baseline.busy_clk["flex_sfu"] == 0
    assert baseline.cycles > result.cycles


@pytest.mark.parametrize("side", [3, 5, 7])
@pytest.mark.parametrize("function", ["max", "average", "depthwise"])
def test_windows_compute_every_tap_and_load_the_input_about_once(function, side):
    axis = Axis(size=14, kernel=side, padding=side // 2)
    work = WindowsWork(function=function, axes=(axis, axis), channels=96)
    program = work.program(MACHINE)
    result = price(program, MACHINE)
    inside = sum(span.stop - span.first for span in map(axis.span, range(14))) ** 2
    elements = 96 * (inside if function == "depthwise" else inside - 196)
    unit = "vector_alu" if function == "max" else "vector_fma"
    assert result.busy_clk[unit] >= elements * 16 / MACHINE.vector.bits_per_clk
    if function == "depthwise":
        assert result.cycles <= 1.5 * result.busy_clk[unit]
    constants = 2 * 96 * (side**2 + 1) * (function == "depthwise")
    assert 2 * 196 * 96 <= result.loaded_bytes - constants <= 2 * 2 * 196 * 96
    assert result.stored_bytes >= 2 * 196 * 96
    assert used_bytes(program, MACHINE) <= MACHINE.scratchpad.bytes


def test_movement_pays_for_short_runs():
    long = price(MovementWork(copies=(Copy(run=32_000),)).program(MACHINE), MACHINE)
    short = price(MovementWork(copies=(Copy(levels=(Level(8000, 9, 4),), run=4),)).program(MACHINE), MACHINE)
    assert long.loaded_bytes >= 64_000
    assert short.cycles > 3 * long.cycles


def test_movement_moves_the_operands_width():
    work = MovementWork(copies=(Copy(run=64_000),), form="quantised")
    assert price(work.program(MACHINE), MACHINE).loaded_bytes == 32_000
    assert price(work.program(INT8), INT8).loaded_bytes == 64_000
