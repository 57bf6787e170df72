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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The benches first, the core's before all: they take the longest, and should not be what one process ends with alone."""
    items.sort(key=lambda item: ("run_bench" not in getattr(item, "fixturenames", ()), "test_core" not in item.nodeid))  # fmt: skip


@pytest.fixture(scope="session")
def builds() -> Path:
    """Where benches are built and run; what one test has built, no other has to. Labels must be unique."""
    return BUILDS


@pytest.fixture(scope="session")
def synthesis_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for results of synthesis, new in each run and shared by all of its processes."""
    folder = tmp_path_factory.getbasetemp()
    return (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "synthesis"


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
