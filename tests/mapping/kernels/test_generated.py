"""Products whose weights are made on chip: the bits and tiles of the same products with these weights in external memory, and no byte of them loaded."""

import dataclasses

import numpy as np
import pytest

from lanewise.config import DmaConfig, MachineConfig, MatrixConfig, ScratchpadConfig, WeightGeneratorConfig
from lanewise.mapping.functional import execute_program
from lanewise.mapping.kernels.generated import Generated
from lanewise.mapping.kernels.matmul import MatmulWork
from lanewise.mapping.kernels.patches import Patches
from lanewise.mapping.kernels.price import price
from lanewise.mapping.simulate import work_cost
from lanewise.models.matrix_layout import column_constants, packed_lines
from lanewise.models.weight_generator import generated_filters

SEED = 11
MACHINE = dataclasses.replace(
    MachineConfig(),
    matrix=MatrixConfig(rows=4, columns=6, output_lanes=2),
    scratchpad=ScratchpadConfig(size_kib=64, banks=64),
    weight_generator=WeightGeneratorConfig(enabled=True, bytes_per_clk=8),
)
PATCHES = Patches(
    images=2, channels=4, size=(5, 6), kernel=(3, 3), stride=(1, 2), dilation=(1, 1), padding=(1, 1)
)
PRODUCT = MatmulWork(m=23, k=21, n=17, multiplier=3, shift=18, generated=Generated(seed=9, lines=6))
WORKS = {
    "product": PRODUCT,
    "small blocks, INT8 input": dataclasses.replace(PRODUCT, left_bits=8, shift=22, generated=Generated(seed=2**32 - 1, lines=2)),
    "several products": dataclasses.replace(PRODUCT, batch=3),
    "one narrow tile": dataclasses.replace(PRODUCT, n=5),
    "convolution": dataclasses.replace(PRODUCT, m=PATCHES.lines, k=36, patches=PATCHES, outputs=("quantised",), n=18),
}  # fmt: skip


def results(work: MatmulWork, memory: dict[str, np.ndarray]) -> np.ndarray:
    (form,) = work.outputs
    size = work.batch * work.m * (work.n // 2 if form == "quantised" else 2 * work.n)
    memory = memory | {form: np.zeros(size, np.uint8)}
    execute_program(work.program(MACHINE), MACHINE, memory)
    return memory[form]


@pytest.mark.parametrize("name", WORKS)
def test_as_if_the_weights_were_loaded(name):
    work, rng = WORKS[name], np.random.default_rng(SEED)
    generated = work.generated
    blocks = generated.blocks(work.n)
    filters = [
        generated_filters(generated.seed, work.n, work.k, lines=generated.lines, first=product * blocks)
        for product in range(work.batch)
    ]
    half = 1 << (work.left_bits or 4) - 1
    shape = (2, 5, 6, 4) if work.patches else (work.batch, work.m, work.k)
    left = packed_lines(rng.integers(-half, half, shape), work.left_bits or 4)
    constants = [
        column_constants(rng.integers(-90, 90, work.n), rng.integers(1, 1 << 14, work.n), MACHINE.matrix)
        for _ in range(work.batch)
    ]
    memory = {"left": left, "constants": np.stack(constants), "zeros": np.zeros(4096, np.uint8)}
    right = np.stack([packed_lines(each, 4) for each in filters])
    made = results(work, memory)
    loaded = results(dataclasses.replace(work, generated=None), memory | {"right": right})
    assert np.array_equal(made, loaded)
    assert made.any()


def test_no_weight_is_loaded_and_clocks_are_no_more():
    with_load = dataclasses.replace(PRODUCT, m=4, k=720, n=600, generated=None)
    work = dataclasses.replace(with_load, generated=PRODUCT.generated)
    made, loaded = work_cost(work, MACHINE), work_cost(with_load, MACHINE)
    assert loaded.loaded_bytes - made.loaded_bytes == 600 * 720 // 2
    assert made.busy_clk["weight_generator"] == 100 * (6 * 360 // 8)
    wide = MachineConfig(  # takes 32 weights a clock, and 8 come from external memory
        dma=DmaConfig(bytes_per_clk=4), weight_generator=WeightGeneratorConfig(enabled=True)
    )
    work = dataclasses.replace(work, generated=Generated(seed=1))
    assert 3.5 * work_cost(work, wide).cycles < work_cost(with_load, wide).cycles


def test_what_cannot_be_generated_is_refused():
    def refused(config=MACHINE, **changes):
        dataclasses.replace(PRODUCT, **changes).program(config)

    with pytest.raises(ValueError, match="right operand must be INT4 weights side by side"):
        refused(right_bits=8)
    with pytest.raises(ValueError, match="right operand must be INT4 weights side by side"):
        refused(weights=False)
    with pytest.raises(ValueError, match="lines of a block must divide a tile's 6 columns, not be 4"):
        refused(generated=Generated(lines=4))
    with pytest.raises(ValueError, match="must hold two tiles of generated weights, 20000 steps each"):
        refused(k=20000)
    with pytest.raises(
        ValueError, match=r"dma.generate needs a machine with weight_generator.enabled = true"
    ):
        price(
            PRODUCT.program(MACHINE), dataclasses.replace(MACHINE, weight_generator=WeightGeneratorConfig())
        )
    with pytest.raises(ValueError, match="seed must be 0 to"):
        Generated(seed=-1)
    with pytest.raises(ValueError, match="lines must be at least 1"):
        Generated(lines=0)
