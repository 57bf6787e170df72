"""The vector kernels' page says what the code does, and long vectors come near the multiply-add unit's peak."""

import importlib.util
from pathlib import Path

import pytest

from lanewise.mapping.kernels.elementwise import ElementwiseWork
from lanewise.mapping.kernels.epilogue import Step
from lanewise.mapping.kernels.price import price

ROOT = Path(__file__).parents[2]
BY = "made by benchmarks/vector_roofline.py"


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location(
        "vector_roofline", ROOT / "benchmarks" / "vector_roofline.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def case(benchmark, name, bits):
    (found,) = (case for case in benchmark.CASES if (case.name, case.bits) == (name, bits))
    return found


@pytest.mark.parametrize("part", ["listings", "slots", "errors", "roofline"])
def test_page_is_current(benchmark, part):
    page = (ROOT / "docs" / "vector_kernels.md").read_text(encoding="utf-8")
    _, rest = page.split(f"<!-- {part}: {BY} -->\n")
    text, _ = rest.split(f"\n<!-- end of {part} -->")
    assert text == benchmark.PARTS[part]()


@pytest.mark.parametrize("bits", [16, 32])
def test_chains_reach_nine_tenths(benchmark, bits):
    for name in ("axpy, depth 4", "Horner, degree 7"):
        chain = case(benchmark, name, bits)
        for run in (benchmark.resident(chain), benchmark.fed(chain)):
            assert 0.9 <= benchmark.share(run) <= 1


@pytest.mark.parametrize("bits", [16, 32])
@pytest.mark.parametrize("depth", [1, 2, 16])
def test_share_is_the_multiply_adds_own(benchmark, bits, depth):
    run = benchmark.resident(case(benchmark, f"axpy, depth {depth}", bits))
    assert (
        run.busy_clk["vector_fma"]
        == depth * benchmark.ELEMENTS * bits // benchmark.CONFIG.vector.bits_per_clk
    )
    most, unit = benchmark.bound(run)
    assert most == pytest.approx(min(1, depth / 3))
    assert unit == ("memory" if depth < 3 else "fma")


@pytest.mark.parametrize("name", ["GELU", "exp"])
def test_fed_as_the_mapping_feeds(benchmark, name):
    work = ElementwiseWork(elements=benchmark.ELEMENTS, steps=(Step(function=name.lower()),))
    run = price(work.program(benchmark.CONFIG), benchmark.CONFIG)
    assert benchmark.fed(case(benchmark, name, 16)).cycles == run.cycles
