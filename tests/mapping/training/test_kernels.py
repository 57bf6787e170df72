"""Kernels of a training step as Programs: never faster than the machine allows, everything read and written, scratchpad never overrun."""

import dataclasses
from math import ceil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lanewise.config import DmaConfig, MachineConfig, OperandPathConfig, ScratchpadConfig, VectorConfig
from lanewise.mapping.kernels.adamw import AdamWWork
from lanewise.mapping.kernels.epilogue import Step
from lanewise.mapping.kernels.matmul import MatmulWork
from lanewise.mapping.kernels.movement import FillWork
from lanewise.mapping.kernels.operand import CLIPPINGS, PeakWork, QuantiseWork, SampleWork
from lanewise.mapping.kernels.price import price
from lanewise.mapping.kernels.row_gradients import ColumnSumsWork, RowGradientsWork
from lanewise.mapping.kernels.turn_back import TURN_BACK
from lanewise.sim.engine import Run

MACHINE = MachineConfig()
SMALL = dataclasses.replace(
    MACHINE, scratchpad=ScratchpadConfig(size_kib=256, banks=64), dma=DmaConfig(bytes_per_clk=8), operand_path=OperandPathConfig(lanes=8),
    vector=VectorConfig(lanes=8, vlen_bits=512),
)  # fmt: skip
MACHINES = st.sampled_from([MACHINE, MACHINE.baseline(), SMALL])


def clocks(work, config=MACHINE) -> Run:
    program = work.program(config)
    bank = config.scratchpad.bank_bytes
    assert sum(ceil(size / bank) for size in program.buffers_bytes.values()) <= config.scratchpad.banks
    result = price(program, config)
    assert result.cycles >= result.loaded_bytes / config.dma.bytes_per_clk
    assert result.cycles >= result.stored_bytes / config.dma.bytes_per_clk
    return result


@settings(max_examples=60)
@given(elements=st.integers(1, 60_000), bits=st.sampled_from([4, 8]), flags=st.booleans(), config=MACHINES)
def test_quantiser(elements, bits, flags, config):
    result = clocks(QuantiseWork(elements=elements, block=8, bits=bits, flags=flags), config)
    assert result.loaded_bytes == 2 * elements
    assert result.stored_bytes >= elements * (bits + flags) / 8
    assert result.cycles >= elements / config.operand_path.lanes


def test_long_tensors_go_through_the_operand_path_at_its_rate():
    result = clocks(QuantiseWork(elements=1 << 20, block=64))
    assert (1 << 20) / MACHINE.operand_path.lanes / result.cycles > 0.98


@settings(max_examples=40)
@given(elements=st.integers(1, 40_000), config=MACHINES)
def test_largest_magnitude(elements, config):
    result = clocks(PeakWork(elements=elements), config)
    assert result.loaded_bytes == 2 * elements
    assert (
        result.busy_clk["vector_alu"] >= 2 * 16 * elements / config.vector.bits_per_clk
    )  # magnitude, maximum


@settings(max_examples=40)
@given(rows=st.integers(1, 300), length=st.integers(2, 5000), config=MACHINES)
def test_row_norms_come_with_the_quantiser(rows, length, config):
    result = clocks(QuantiseWork(elements=rows * length, bits=8, row=length), config)
    assert result.loaded_bytes == 2 * rows * length
    assert result.stored_bytes >= rows * (length + 8)
    assert result.busy_clk["operand_path"] >= rows * ceil(length / config.operand_path.lanes)


@settings(max_examples=30)
@given(rows=st.integers(1, 20_000), factors=st.integers(1, 2), config=MACHINES)
def test_sampling(rows, factors, config):
    result = clocks(SampleWork(rows=rows, factors=factors), config)
    assert result.busy_clk["row_sampler"] == rows
    assert result.loaded_bytes >= 4 * rows * (factors + CLIPPINGS + 1)
    assert result.stored_bytes >= 4 * rows * (1 + CLIPPINGS + 2)


def test_a_list_that_the_sampler_s_numbers_do_not_hold_is_refused():
    with pytest.raises(ValueError, match=r"^operand_path\.row_bits must hold 70000 rows, not 16 bits$"):
        SampleWork(rows=70_000).program(MACHINE)


@settings(max_examples=25)
@given(
    rows=st.integers(1, 200), width=st.sampled_from([32, 96, 512]), block=st.sampled_from([1, 8, 32]), k=st.integers(1, 400), config=MACHINES
)  # fmt: skip
def test_turning_back_behind_a_product(rows, width, block, k, config):
    steps = (Step(function=TURN_BACK, constant=float(block)), Step(function="add", operand="tensor"))
    result = clocks(MatmulWork(m=rows, k=k, n=width, weights=False, row_scales=True, steps=steps), config)
    elements, levels = rows * width, block.bit_length() - 1
    assert result.stored_bytes == 2 * elements
    assert (
        result.loaded_bytes >= 4 * elements + elements / 2 + elements / 8
    )  # what it is added to, x, q, flags
    assert result.busy_clk["vector_fma"] >= (4 + levels) * 16 * elements / config.vector.bits_per_clk
    assert result.busy_clk["vector_alu"] >= levels * elements / config.vector.lanes
    assert result.macs >= elements * k


@given(elements=st.integers(1, 100_000), config=MACHINES)
def test_zeros(elements, config):
    result = clocks(FillWork(elements=elements), config)
    assert (result.stored_bytes, result.loaded_bytes) == (2 * elements, 0)


@settings(max_examples=40)
@given(
    function=st.sampled_from(["softmax", "layer_norm", "rms_norm"]), rows=st.integers(1, 200), length=st.integers(1, 3000), config=MACHINES
)  # fmt: skip
def test_row_gradients(function, rows, length, config):
    result = clocks(RowGradientsWork(function=function, rows=rows, length=length), config)
    assert result.loaded_bytes >= 4 * rows * length
    assert result.stored_bytes == 2 * rows * length
    passes = {"softmax": 3, "layer_norm": 6, "rms_norm": 5}[function]
    assert result.busy_clk["vector_fma"] >= passes * 16 * rows * length / config.vector.bits_per_clk


@settings(max_examples=40)
@given(
    rows=st.integers(1, 500),
    columns=st.integers(1, 3000),
    norm=st.booleans(),
    peak=st.booleans(),
    config=MACHINES,
)
def test_column_sums(rows, columns, norm, peak, config):
    result = clocks(ColumnSumsWork(rows=rows, columns=columns, norm=norm, peak=peak), config)
    assert result.busy_clk["vector_alu"] >= 2 * 16 * rows * columns * peak / config.vector.bits_per_clk
    assert result.loaded_bytes >= 2 * rows * columns * (1 + norm)
    assert result.stored_bytes >= 4 * columns * (1 + norm)
    assert (
        result.busy_clk["vector_fma"] >= 16 * rows * columns * (1 + norm) / config.vector.bits_per_clk * 7 / 8
    )


@settings(max_examples=20)
@given(elements=st.integers(1, 20_000), config=MACHINES)
def test_adamw(elements, config):
    result = clocks(AdamWWork(elements=elements), config)
    assert result.loaded_bytes == 14 * elements
    assert result.stored_bytes == 14 * elements


def test_a_function_without_a_gradient_is_refused():
    with pytest.raises(
        ValueError, match=r"^function must be one of softmax, layer_norm, rms_norm, not 'max'$"
    ):
        RowGradientsWork(function="max", rows=1, length=1)
