"""Fixtures for every test: running a bench on Verilator."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

from lanewise.verify import Case, TestResult, run_case

BUILDS = Path(__file__).parents[1] / "build" / "verify"
SEED = 1

# `make test` tries the same examples everywhere; `make test-full` asks for others (HYPOTHESIS_PROFILE=random), and prints a blob that repeats a failure
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("random", print_blob=True, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


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
