"""Fixtures for every test: running a bench on Verilator."""

from collections.abc import Callable
from pathlib import Path

import pytest

from lanewise.verify import Case, TestResult, run_case

BUILDS = Path(__file__).parents[1] / "build" / "verify"
SEED = 1


@pytest.fixture
def run_bench() -> Callable[[str, Case], list[TestResult]]:
    """``run_bench(name, case)``: build the case, run its bench, fail with every failure's text."""

    def run(name: str, case: Case) -> list[TestResult]:
        print(f"seed {SEED}")
        results = run_case(name, case, seed=SEED, folder=BUILDS)
        failures = [f"{result.name}: {result.message}" for result in results if not result.passed]
        assert results, "the bench ran no test"
        assert not failures, "\n".join(failures)
        return results

    return run
