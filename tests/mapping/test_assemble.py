"""Listings: the GNU assembler makes of them the words that are executed; docs/kernels.md says which kernels are."""

import shutil
from pathlib import Path

import pytest

from lanewise.config import MachineConfig, MatrixConfig, WeightGeneratorConfig
from lanewise.isa.encoding import decode
from lanewise.isa.operations import OPERATIONS
from lanewise.mapping.assemble import CUSTOM_1, listing, words
from lanewise.mapping.functional import execute_program
from lanewise.mapping.kernels.activations import SOFTWARE
from lanewise.mapping.kernels.adamw import AdamWWork
from lanewise.mapping.kernels.copies import Copy, Level
from lanewise.mapping.kernels.elementwise import ElementwiseWork
from lanewise.mapping.kernels.epilogue import Step
from lanewise.mapping.kernels.fft import FftWork
from lanewise.mapping.kernels.fft_columns import ColumnsFftWork
from lanewise.mapping.kernels.generated import Generated
from lanewise.mapping.kernels.matmul import MatmulWork
from lanewise.mapping.kernels.movement import FillWork, LookUpWork, MovementWork
from lanewise.mapping.kernels.operand import QuantiseWork
from lanewise.mapping.kernels.patches import Patches
from lanewise.mapping.kernels.row_gradients import ColumnSumsWork, RowGradientsWork
from lanewise.mapping.kernels.rows import RowsWork
from lanewise.mapping.kernels.scan import ScanWork
from lanewise.mapping.kernels.window_axes import Axis
from lanewise.mapping.kernels.windows import WindowsWork
from lanewise.mapping.workloads.lsnn.step_work import GeneratingStepWork
from lanewise.mapping.workloads.spsn.layer import SpikingLayerWork
from lanewise.models.fft_columns import Columns
from lanewise.sim.program import Instruction, Program, flatten_once, is_complete, priced_only
from lanewise.sim.vector_type import with_vector_types
from lanewise.verify.assembler import TOOLS, assemble
from lanewise.verify.core_kernels import every_operation

MACHINE = MachineConfig(weight_generator=WeightGeneratorConfig(enabled=True))
BASELINE = MACHINE.baseline()
PAGE = Path(__file__).parents[2] / "docs" / "kernels.md"


def steps(*functions: str) -> tuple[Step, ...]:
    return tuple(Step(function=function) for function in functions)


WINDOW = {"axes": (Axis(size=16, kernel=3, stride=2, padding=1),) * 2, "channels": 64}
PATCHES = Patches(
    images=1,
    channels=16,
    groups=2,
    size=(8, 8),
    kernel=(3, 3),
    stride=(1, 1),
    dilation=(1, 1),
    padding=(1, 1),
)
KERNELS = {
    "element-wise: arithmetic, comparisons, logic, selections, rounding": ElementwiseWork(
        elements=9000,
        steps=(*steps("square", "floor", "abs"), Step(function="less", operand="tensor"), *steps("logical_not")),
    ),
    "element-wise: activation functions": ElementwiseWork(elements=9000, steps=steps("gelu")),
    "element-wise: division, square root": ElementwiseWork(
        elements=9000, steps=(Step(function="divide", operand="tensor"), *steps("sqrt"))
    ),
    "element-wise: quantised output": ElementwiseWork(elements=9000, outputs=("fp16", "quantised")),
    "softmax": RowsWork(function="softmax", rows=20, length=197),
    "softmax of long rows": RowsWork(function="softmax", rows=3, length=3000),
    "rows that the scratchpad does not hold": RowsWork(function="layer_norm", rows=2, length=60000, affine=True),
    "layer norm, group norm, instance norm": RowsWork(function="layer_norm", rows=4, length=384, affine=True, groups=2, channels=24),
    "RMS norm": RowsWork(function="rms_norm", rows=20, length=384, affine=True),
    "sums, means, maxima of rows": RowsWork(function="mean", rows=20, length=384),
    "copies, slices, concatenation, padding, repetition": MovementWork(copies=(Copy(levels=(Level(20, 400, 384),), run=384),)),
    "transposition, permutation": MovementWork(copies=(Copy(levels=(Level(197, 64, 1), Level(64, 1, 197))),)),
    "embedding look-up": LookUpWork(rows=20, width=384),
    "fill": FillWork(elements=9000),
    "prefix scans: cumulative sums": ScanWork(operator="linear", rows=40, length=100),
    "FFT": FftWork(batch=4, length=64),
    "layers of spiking neurons: LIF, SPSN": SpikingLayerWork(model="spsn", neurons=32, steps=40),
    "SPSN with spikes by the operand path": SpikingLayerWork(model="spsn", neurons=32, steps=40, generator="quantiser"),
    "steps of a generating-function map, FP32 ([lsnn](workloads/lsnn.md))": GeneratingStepWork(sizes=(4, 10, 5, 1), orbits=3, steps=2, iterations=1),
    "FFT of columns, of complex or pairs of real planes": ColumnsFftWork(columns=Columns(length=32, split=True), planes=2, width=32, sources=("rpc", "rpc")),
    "straight-line arithmetic on several tensors (recipes)": every_operation(),
    "matrix product": MatmulWork(m=64, k=64, n=64, steps=steps("gelu"), outputs=("fp16", "quantised")),
    "matrix product of transposed operands": MatmulWork(m=64, k=64, n=64, left_transposed=True, right_transposed=True, weights=False),
    "matrix product, its rows where numbers say": MatmulWork(m=64, k=64, n=64, row_scales=True),
    "convolution": MatmulWork(m=64, k=144, n=16, batch=2, patches=PATCHES, outputs=("quantised",)),
    "matrix product, convolution, with weights made on chip": MatmulWork(m=64, k=144, n=40, generated=Generated()),
    "matrix product of rows in pieces": MatmulWork(m=64, k=144, n=64, left_runs=3),
    "pooling": WindowsWork(function="max", **WINDOW),
    "depthwise convolution": WindowsWork(function="depthwise", **WINDOW),
    "sums, means, maxima of positions": WindowsWork(function="average", axes=(Axis(size=196, kernel=196),), channels=64),
    "operand path: transform and quantise": QuantiseWork(elements=4096),
    "training: gradients of rows": RowGradientsWork(function="softmax", rows=20, length=197),
    "training: sums of columns": ColumnSumsWork(rows=20, columns=64),
    "training: AdamW": AdamWWork(elements=4096),
}  # fmt: skip


def table() -> str:
    lines = ["| kernel | |", "|---|---|"]
    for name, work in KERNELS.items():
        missing = priced_only(work.program(MACHINE))
        lines.append(f"| {name} | {'executable' if not missing else 'priced'} |")
    return "\n".join(lines)


def test_the_page_says_which_kernels_are_executable():
    assert table() in PAGE.read_text(encoding="utf-8")


def texts() -> dict[str, tuple]:
    found = {name: (work, MACHINE) for name, work in KERNELS.items()}
    for function in SOFTWARE:
        work = ElementwiseWork(elements=5000, steps=steps(function), outputs=("fp16", "quantised"))
        found[f"{function} in software"] = work, BASELINE
        found[function] = work, MACHINE
    found["softmax in software"] = RowsWork(function="softmax", rows=20, length=1029), BASELINE
    eight = MachineConfig(matrix=MatrixConfig(operand_bits=8))
    found["INT8"] = ElementwiseWork(elements=100, outputs=("quantised",)), eight
    return found


CASES = texts()


@pytest.mark.skipif(not all(map(shutil.which, TOOLS)), reason=f"needs {' and '.join(TOOLS)}")
@pytest.mark.parametrize("name", CASES)
def test_the_assembler_makes_the_same_words(name):
    work, config = CASES[name]
    program = work.program(config)
    wanted = words(program, config)
    assert assemble(listing(program, config)) == wanted
    assert wanted


@pytest.mark.parametrize("name", CASES)
def test_words_are_the_instructions_that_are_priced(name):
    work, config = CASES[name]
    program = work.program(config)
    body = with_vector_types(program, config).body
    complete = [i for i in flatten_once(body) if is_complete(i) or i.opcode not in OPERATIONS]
    for word, instruction in zip(words(program, config), complete, strict=True):
        if word & 127 == CUSTOM_1:
            assert instruction.opcode not in OPERATIONS
            continue
        assert decode(word).operation.mnemonic == instruction.opcode


def test_a_priced_program_is_not_executed():
    program = KERNELS["matrix product of rows in pieces"].program(MACHINE)
    with pytest.raises(ValueError, match=r"must have operands for dma\.load, which are priced and no more"):
        execute_program(program, MACHINE, {})


def test_a_schematic_instruction_is_a_comment():
    text = listing(
        Program(body=(Instruction(opcode="vadd.vv", writes=("v1",), reads=("v2", "v3"), vl=8),)), MACHINE
    )
    assert "# priced only: vadd.vv" in text
    assert text.splitlines()[-1] == "# vadd.vv v1 <- v2, v3 (8 elements): priced only"
