"""Bounds are never more than the engine's clocks, and the search that they prune finds what a search of everything finds."""

from dataclasses import replace
from math import ceil

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lanewise.config import (
    DmaConfig,
    FlexSfuConfig,
    MachineConfig,
    MatrixConfig,
    ScratchpadConfig,
    VectorConfig,
)
from lanewise.mapping.kernels.bounds import least_clocks
from lanewise.mapping.kernels.builder import Register, VectorKernel
from lanewise.mapping.kernels.candidate import Candidate, Choice, Family, family, quickest
from lanewise.mapping.kernels.elementwise import Strip
from lanewise.mapping.kernels.epilogue import Step
from lanewise.mapping.kernels.matmul import MatmulWork
from lanewise.mapping.kernels.matmul_nest import Nest
from lanewise.mapping.kernels.matmul_parts import K_PARTS, in_parts, least_in_parts
from lanewise.mapping.kernels.patches import Patches
from lanewise.mapping.kernels.price import price
from lanewise.mapping.kernels.rows import FUNCTIONS, RowsWork, _Row
from lanewise.mapping.kernels.strips import best_kernel

PATCHES = Patches(
    images=1, channels=2, size=(4, 4), kernel=(3, 3), stride=(1, 1), dilation=(1, 1), padding=(1, 1), groups=1
)
STEPS = (
    *(
        Step(function=name)
        for name in ("relu", "gelu", "silu", "sigmoid", "hardswish", "sqrt", "exp", "negate")
    ),
    *(Step(function=name, operand="tensor") for name in ("add", "multiply", "divide", "less")),
    Step(function="add", operand="channel"),
    Step(function="multiply", operand="scalar", constant=0.5),
)


@st.composite
def machines(draw: st.DrawFn) -> MachineConfig:
    lanes = draw(st.sampled_from((1, 4, 8, 16)))
    sfu = FlexSfuConfig(lanes=lanes, enabled=draw(st.booleans()), segments=draw(st.sampled_from((8, 32))))
    dma = DmaConfig(latency_clk=draw(st.integers(5, 200)), descriptor_clk=draw(st.integers(1, 20)))
    vector = VectorConfig(lanes=lanes, vlen_bits=draw(st.sampled_from((512, 1024, 2048))))
    matrix = MatrixConfig(operand_bits=draw(st.sampled_from((4, 8, 16))))
    return MachineConfig(flex_sfu=sfu, vector=vector, dma=dma, matrix=matrix)


bodies = st.builds(
    Strip,
    steps=st.lists(st.sampled_from(STEPS), max_size=3).map(tuple),
    outputs=st.sampled_from((("fp16",), ("quantised",), ("fp16", "quantised"))),
    inverse_step=st.just(1.0),
)
rows = st.builds(
    _Row,
    work=st.builds(
        RowsWork,
        function=st.sampled_from(FUNCTIONS),
        rows=st.just(1),
        length=st.integers(2, 200),
        affine=st.booleans(),
        exponential=st.sampled_from(("direct", "reduced")),
    ),
    resident=st.booleans(),
)


def check(alone: Candidate, candidate: Candidate, rounds: int, ways: int) -> None:
    clocks = candidate.clocks(rounds)
    assert alone.bound.clocks(rounds, ways) <= clocks
    assert candidate.ordered.clocks(rounds) <= clocks
    if rounds % 2 == 0:
        longer = candidate.longer(2)
        assert candidate.bound.clocks(rounds // 2, 2) <= longer.clocks(rounds // 2)
        assert longer.ordered.clocks(rounds // 2) <= longer.clocks(rounds // 2)


@settings(max_examples=40, deadline=None)
@given(machines(), bodies, st.sampled_from((8, 33, 64, 256)), st.integers(1, 40), st.sampled_from((1, 2, 4)))
def test_bounds_of_strips(config: MachineConfig, body: Strip, vl: int, rounds: int, ways: int) -> None:
    try:
        kernels = Family(config, vl, body, body.prepare)
    except ValueError:
        return
    candidate = kernels.interleaved(ways)
    if candidate is not None:
        check(kernels.alone, candidate, rounds, ways)


@settings(max_examples=25, deadline=None)
@given(machines(), rows, st.integers(1, 20), st.sampled_from((1, 2, 4)))
def test_bounds_of_rows(config: MachineConfig, body: _Row, rounds: int, ways: int) -> None:
    try:
        kernels = Family(config, body.work.length, body, body.prepare)
    except ValueError:
        return
    candidate = kernels.interleaved(ways)
    if candidate is not None:
        check(kernels.alone, candidate, rounds, ways)


@settings(max_examples=15, deadline=None)
@given(machines(), bodies, st.integers(1, 3000))
def test_the_pruned_search_finds_the_first_of_the_fewest_clocks(
    config: MachineConfig, body: Strip, elements: int
) -> None:
    choices = []
    for vl in (128, 64, 16):
        try:
            kernels = family(config, min(vl, elements), body, body.prepare)
        except ValueError:
            continue
        choices += [Choice(kernels, ways, ceil(elements / (kernels.vl * ways))) for ways in (1, 2, 4)]
    made = [(choice, choice.family.interleaved(choice.ways)) for choice in choices]
    clocks = [
        (candidate.clocks(choice.rounds), index)
        for index, (choice, candidate) in enumerate(made)
        if candidate
    ]
    found = quickest(choices)
    assert (found is None) == (not clocks)
    if found is not None:
        fewest, index = min(clocks)
        assert found == (fewest, made[index][1])


@st.composite
def products(draw: st.DrawFn, limit: int = 120) -> MatmulWork:
    m, k, n = (draw(st.integers(1, limit)) * 2 for _ in range(3))
    left, right = draw(st.booleans()), draw(st.booleans())
    names = draw(st.sampled_from(((), *((step,) for step in STEPS), (STEPS[8], STEPS[1]))))
    if draw(st.booleans()):
        edge, channels = draw(st.integers(4, 12)), 2 * draw(st.integers(1, 40))
        image = replace(PATCHES, size=(edge, edge), channels=channels)
        return MatmulWork(m=image.lines, k=image.k(16), n=n, patches=image, steps=names)
    return MatmulWork(
        m=m, k=k, n=n, batch=draw(st.sampled_from((1, 3))), left_transposed=left, right_transposed=right,
        weights=draw(st.booleans()), steps=names,
    )  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(machines(), products())
def test_bounds_of_products(config: MachineConfig, work: MatmulWork) -> None:
    for program in Nest(work.on(config), config).whole():
        assert least_clocks(program, config) <= price(program, config).cycles


@settings(max_examples=20, deadline=None)
@given(
    st.sampled_from((1, 8)), st.sampled_from((8, 64)), st.sampled_from((4, 64)), st.integers(8, 60), st.integers(8, 60),
    st.sampled_from(K_PARTS), st.booleans(),
)  # fmt: skip
@example(lanes=1, width=64, wait=4, m=128, n=64, parts=16, turned=False)  # 0.99 of the clocks
@example(lanes=8, width=64, wait=64, m=128, n=64, parts=2, turned=False)
def test_bounds_of_parts(lanes: int, width: int, wait: int, m: int, n: int, parts: int, turned: bool) -> None:
    config = MachineConfig(
        matrix=MatrixConfig(operand_bits=16, rows=8, columns=8), vector=VectorConfig(lanes=lanes),
        flex_sfu=FlexSfuConfig(lanes=lanes), dma=DmaConfig(bytes_per_clk=width, descriptor_clk=wait),
    )  # fmt: skip
    work = MatmulWork(m=m, k=8 * parts, n=n, right_transposed=turned)
    nest = Nest(work, config)
    program = in_parts(nest, parts)
    assert program is not None
    assert max(least_in_parts(nest, parts), least_clocks(program, config)) <= price(program, config).cycles


@pytest.mark.parametrize(("k", "n", "batch"), [(196, 196, 4), (128, 196, 1), (64, 64, 1)])
def test_the_nest_that_promises_most_need_not_be_the_one(k: int, n: int, batch: int) -> None:
    """The fewest clocks are another nest's than the least bound's; or those of several, and the first is taken."""
    config = MachineConfig()
    nest = Nest(MatmulWork(m=32, k=k, n=n, batch=batch, right_transposed=True, weights=False), config)
    programs = nest.whole()
    clocks = [price(program, config).cycles for program in programs]
    least = [least_clocks(program, config) for program in programs]
    assert clocks.index(min(clocks)) != least.index(min(least))
    assert nest.fastest(programs)[0] is programs[clocks.index(min(clocks))]


@settings(max_examples=15, deadline=None)
@given(products(), st.sampled_from((4, 16)), st.booleans())
def test_the_nest_that_is_chosen_is_the_fastest(work: MatmulWork, bits: int, small: bool) -> None:
    config = MachineConfig(
        matrix=MatrixConfig(operand_bits=bits), scratchpad=ScratchpadConfig(size_kib=64 if small else 512)
    )
    nest = Nest(work.on(config), config)
    everything = nest.whole()
    if everything and nest.waits:
        everything += Nest(nest.work, config, ring=3).whole()
    everything = everything or [*nest.whole(staying=1), nest.chunked()]
    for parts in K_PARTS if bits == 16 else ():
        k = ceil(nest.work.k / parts)
        if k >= nest.rows and nest.fits(nest.rows, nest.columns, k):
            everything += [program for program in (in_parts(nest, parts),) if program is not None]
    clocks = [price(program, config).cycles for program in everything]
    chosen, run = work.fastest(config)
    assert chosen == everything[clocks.index(min(clocks))]
    assert run is None or run == price(chosen, config)


def test_what_equal_strips_made_is_kept() -> None:
    config, other = MachineConfig(), replace(MachineConfig(), clock_ns=1.0)
    body, equal = (Strip(steps=STEPS[:1], outputs=("fp16",), inverse_step=1.0) for _ in range(2))
    assert family(config, 64, body, body.prepare) is family(config, 64, equal, equal.prepare)
    assert family(config, 64, body, body.prepare) is not family(other, 64, body, body.prepare)


def test_a_body_that_no_strip_length_fits_says_why() -> None:
    def greedy(kernel: VectorKernel, _: list[Register]) -> None:
        for _place in range(40):
            kernel.allocate()

    with pytest.raises(ValueError, match="vl must leave registers free"):
        best_kernel(MachineConfig(), 64, greedy)
