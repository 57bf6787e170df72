"""vl and vtype as a Program with ``vsetvli`` leaves them at every instruction: what it runs under, on every way through its loops."""

import dataclasses
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanewise.config import MachineConfig, VectorConfig
from lanewise.isa.legality import check_legal
from lanewise.isa.operations import OPERATIONS, Rate, Width
from lanewise.isa.vtype import Vtype
from lanewise.mapping.kernels.adamw import AdamWWork
from lanewise.mapping.kernels.elementwise import ElementwiseWork
from lanewise.mapping.kernels.epilogue import Step
from lanewise.mapping.kernels.matmul import MatmulWork
from lanewise.mapping.kernels.movement import FillWork
from lanewise.mapping.kernels.operand import PeakWork, SampleWork
from lanewise.mapping.kernels.row_gradients import ColumnSumsWork, RowGradientsWork
from lanewise.mapping.kernels.rows import RowsWork
from lanewise.mapping.kernels.turn_back import TURN_BACK
from lanewise.mapping.kernels.window_axes import Axis
from lanewise.mapping.kernels.windows import WindowsWork
from lanewise.sim.program import Instruction, Loop, Node, Program, Rotate, flatten_once
from lanewise.sim.vector_type import need, weight, with_vector_types

CONFIG = MachineConfig()
VLEN = CONFIG.vector.vlen_bits


def executed(body: tuple[Node, ...], most: int = 3) -> list[Instruction]:
    """In order, loops run up to ``most`` times."""
    seen: list[Instruction] = []
    for node in body:
        if isinstance(node, Loop):
            for _ in range(min(most, node.count)):
                seen += executed(node.body, most)
        elif isinstance(node, Instruction):
            seen.append(node)
    return seen


def lmul(sew_bits: int, vl: int) -> Fraction:
    """As the host chooses it: the least that holds ``vl`` elements, and at least SEW / 32."""
    least = Fraction(sew_bits, 32)
    while least * VLEN / sew_bits < vl:
        least *= 2
    return least


def check(program: Program) -> int:
    """Every vector instruction runs under what it needs; returns how many ``vsetvli`` were executed."""
    typed = with_vector_types(program, CONFIG)
    bare = [i for i in executed(typed.body) if i.opcode != "vsetvli"]
    assert bare == executed(program.body)
    sets, state = 0, None
    for instruction in executed(typed.body):
        if instruction.opcode == "vsetvli":
            vtype = Vtype(
                instruction.sew_bits, lmul(instruction.sew_bits, instruction.vl)
            )  # refuses what RVV does
            assert vtype.vlmax(VLEN) >= instruction.vl
            sets, state = sets + 1, (vtype, instruction.vl)
            continue
        operation = OPERATIONS.get(instruction.opcode)
        if operation is None:
            continue
        assert state is not None
        vtype, vl = state
        assert vl == instruction.vl
        if operation.eew_bits:
            if operation.vd is not None:
                assert Fraction(1, 8) <= vtype.emul(Width.EEW, operation.eew_bits) <= 8
        elif operation.rate is not Rate.MASK:
            double = Width.DOUBLE in (operation.vd, operation.vs2)
            assert vtype.sew_bits << double == instruction.sew_bits
            assert vtype.sew_bits in operation.sews
            assert all(
                vtype.emul(width) <= 8 for width in (operation.vd, operation.vs2, operation.vs1) if width
            )
    return sets


OPCODES = [
    ("vadd.vv", 8), ("vfadd.vv", 16), ("vfadd.vv", 32), ("vfncvt.f.f.w", 32), ("vfwmul.vv", 32), ("vle8.v", 16), ("vse32.v", 16),
    ("vle16.v", 16), ("vmand.mm", 8), ("sfu.coefficients", 32), ("dma.load", 16),
]  # fmt: skip


def nodes() -> st.SearchStrategy[Node]:
    instruction = st.builds(
        lambda op, vl: Instruction(opcode=op[0], sew_bits=op[1], vl=vl), st.sampled_from(OPCODES), st.sampled_from([1, 8, 64, 200])
    )  # fmt: skip
    leaf = st.one_of(instruction, instruction, st.just(Rotate(names=("@a", "@b"))))
    return st.recursive(
        leaf,
        lambda inner: st.builds(
            lambda n, b: Loop(n, tuple(b)), st.integers(0, 3), st.lists(inner, min_size=1, max_size=5)
        ),
        max_leaves=12,
    )


@given(st.lists(nodes(), max_size=5))
def test_random_programs_run_under_what_they_need(body):
    program = Program(body=tuple(body), buffers_bytes={"@a": 1, "@b": 1})
    sets = check(program)
    needs = [wanted for i in executed(program.body) if (wanted := need(i)) is not None]
    assert sets <= len(needs)


WORKS = [
    MatmulWork(m=128, k=64, n=96, steps=(Step(function="gelu"),), outputs=("fp16", "quantised")),
    *(
        MatmulWork(m=64, k=64, n=64, steps=(Step(function=name),))
        for name in ("exp", "log", "sin", "mish", "elu", "softplus")
    ),
    MatmulWork(m=64, k=64, n=64, steps=(Step(function=TURN_BACK, constant=32.0),)),
    MatmulWork(
        m=64,
        k=64,
        n=64,
        steps=(Step(function="multiply", operand="channel"), Step(function="add", operand="tensor")),
    ),
    WindowsWork(function="max", axes=(Axis(size=14, kernel=3, padding=1),) * 2, channels=96),
    WindowsWork(function="depthwise", axes=(Axis(size=14, kernel=7, padding=3),) * 2, channels=96),
    FillWork(elements=9000),
    PeakWork(elements=20_000),
    ElementwiseWork(
        elements=10_000, steps=(Step(function="divide", operand="tensor"), Step(function="sqrt"))
    ),
    RowsWork(function="softmax", rows=64, length=128),
    RowsWork(function="layer_norm", rows=64, length=768, affine=True),
    RowsWork(function="softmax", rows=8, length=5000),
    RowGradientsWork(function="layer_norm", rows=16, length=768),
    ColumnSumsWork(rows=256, columns=256, norm=True, peak=True),
    SampleWork(rows=4096, factors=2),
    AdamWWork(elements=10_000),
]


@pytest.mark.parametrize(
    "work", WORKS, ids=lambda work: f"{type(work).__name__} {getattr(work, 'function', '')}"
)
@pytest.mark.parametrize("config", [CONFIG, CONFIG.baseline()], ids=["machine", "baseline"])
def test_kernels_run_under_what_they_need(work, config):
    program = work.program(config)
    sets = check(program)
    assert 0 < sets < 0.56 * sum(need(i) is not None for i in executed(program.body))


def _count(operation) -> int:
    """Vector operands without the mask."""
    return (operation.vs2 is not None) + (operation.vs1 is not None) + operation.reads_vd


def fields(instruction: Instruction) -> dict[str, int]:
    """Register numbers of an instruction word."""
    operation = OPERATIONS[instruction.opcode]
    if operation.eew_bits:
        data = instruction.reads if operation.stores else instruction.writes
        return {"vd": int(data[0][1:])} if operation.vd is not None else {}
    sources = [int(name[1:]) for name in instruction.operands]
    if operation.vm == 0 or (operation.vm is None and len(sources) > _count(operation)):
        assert sources.pop() == 0
    target = int(instruction.writes[0][1:])
    if operation.reads_vd:
        assert sources.pop(0) == target
    order = ("vs1", "vs2") if operation.multiply_adds else ("vs2", "vs1")
    names = [name for name in order if getattr(operation, name) is not None]
    return {"vd": target} | dict(zip(names, sources, strict=True))


@pytest.mark.parametrize(
    "work", WORKS, ids=lambda work: f"{type(work).__name__} {getattr(work, 'function', '')}"
)
@pytest.mark.parametrize("config", [CONFIG, CONFIG.baseline()], ids=["machine", "baseline"])
def test_kernels_have_no_register_that_rvv_reserves(work, config):
    vtype = None
    for instruction in executed(with_vector_types(work.program(config), config).body, 1):
        if instruction.opcode == "vsetvli":
            vtype = Vtype(instruction.sew_bits, lmul(instruction.sew_bits, instruction.vl))
        elif (operation := OPERATIONS.get(instruction.opcode)) is not None:
            assert vtype is not None
            vm = 0 if operation.vm == 0 else 1
            check_legal(operation, vtype, vm=vm, **fields(instruction))


def vector(opcode: str, vl: int, sew_bits: int = 16) -> Instruction:
    return Instruction(opcode=opcode, vl=vl, sew_bits=sew_bits)


def typed(*body: Node) -> tuple[Node, ...]:
    return with_vector_types(Program(body=body), CONFIG).body


def test_what_does_not_change_in_a_loop_is_set_before_it():
    inner = Loop(5, (vector("vle16.v", 64), vector("vfadd.vv", 64), vector("vse16.v", 64)))
    set_once = vector("vsetvli", 64)
    assert typed(inner) == (set_once, inner)
    assert typed(Loop(3, (inner,))) == (set_once, Loop(3, (inner,)))
    assert typed(vector("vfadd.vv", 64), inner) == (set_once, vector("vfadd.vv", 64), inner)


def test_what_changes_in_a_loop_is_set_at_each_repetition():
    body = (vector("vfadd.vv", 64), vector("vfadd.vv", 64, 32))
    (loop,) = typed(Loop(4, body))
    assert isinstance(loop, Loop)
    assert [node.opcode for node in loop.body] == ["vsetvli", "vfadd.vv", "vsetvli", "vfadd.vv"]
    assert weight((loop,)) == 8


def test_a_load_takes_any_width_or_that_of_what_follows():
    body = typed(
        vector("vfadd.vv", 64), vector("vle32.v", 64), vector("vle8.v", 32), vector("vfmul.vv", 32, 32)
    )
    assert [(node.opcode, node.sew_bits, node.vl) for node in body if node.opcode == "vsetvli"] == [
        ("vsetvli", 16, 64), ("vsetvli", 32, 32),
    ]  # fmt: skip


def test_a_vector_that_no_group_holds_is_refused():
    small = dataclasses.replace(CONFIG, vector=VectorConfig(vlen_bits=256))
    with pytest.raises(
        ValueError, match=r"vlen_bits must be at least the 300 elements of sfu\.coefficients, not 256"
    ):
        with_vector_types(Program(body=(vector("sfu.coefficients", 300, 32),)), small)


def test_what_was_met_before_takes_its_width_from_what_follows_now():
    """A block is remembered by its instructions; what comes behind it, and what is set before it, may be another time."""
    shared = vector("vle16.v", 64)
    narrow, wide = vector("vfadd.vv", 64), vector("vfadd.vv", 64, 32)
    for follows, before, widths in (
        (narrow, (), [16]), (wide, (), [32]), (narrow, (), [16]), (wide, (wide,), [32]), (narrow, (wide,), [32, 16]),
    ):  # fmt: skip
        body = typed(*before, Rotate(names=("@a",)), shared, Loop(3, (follows,)))
        assert [node.sew_bits for node in flatten_once(body) if node.opcode == "vsetvli"] == widths
