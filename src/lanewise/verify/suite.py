"""Run benches and proofs by name and add up what they compared and proved."""

import dataclasses
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lanewise.config import MachineConfig
from lanewise.errors import UserError
from lanewise.rtl.toolchain import require_tools
from lanewise.verify.formal.proofs import proofs, run_proofs
from lanewise.verify.registry import NAMES, PROOFS, find_bench
from lanewise.verify.runner import TestResult, failure, run_case


@dataclass(frozen=True, kw_only=True)
class VerifyResult:
    """Outcome of a verification run."""

    tests: tuple[TestResult, ...]
    seed: int

    @property
    def passed(self) -> int:
        """Number of tests that passed."""
        return sum(test.passed for test in self.tests)

    @property
    def failed(self) -> int:
        """Number of tests that failed."""
        return len(self.tests) - self.passed

    @property
    def values_compared(self) -> int:
        """Values of the RTL held against a golden model."""
        return sum(test.values_compared for test in self.tests)

    @property
    def clocks_compared(self) -> int:
        """Clock counts of the RTL held against the simulator."""
        return sum(test.clocks_compared for test in self.tests)

    @property
    def programs_compared(self) -> int:
        """Programs of which the start and end of every instruction in the RTL were held against the simulator."""
        return sum(test.programs_compared for test in self.tests)

    @property
    def instructions_compared(self) -> int:
        """Instructions of these programs."""
        return sum(test.instructions_compared for test in self.tests)

    @property
    def properties_proved(self) -> int:
        """Properties of the RTL that were proved for every input."""
        return sum(test.properties_proved for test in self.tests)

    def as_dict(self) -> dict[str, Any]:
        """The keys of ``lanewise verify --json``."""
        return {
            "passed": self.passed, "failed": self.failed, "values_compared": self.values_compared,
            "clocks_compared": self.clocks_compared, "programs_compared": self.programs_compared,
            "instructions_compared": self.instructions_compared, "properties_proved": self.properties_proved, "seed": self.seed,
            "tests": [dataclasses.asdict(test) for test in self.tests],
        }  # fmt: skip


def verify(
    names: Sequence[str], config: MachineConfig, *, full: bool = False, seed: int = 1, waves: bool = False,
    folder: Path = Path("build/verify"), progress: Callable[[str], object] = str,
) -> VerifyResult:  # fmt: skip
    """Run the benches of some blocks, or of all, on designs made for a machine; and the proofs.

    Args:
        names: Names of benches, or ``proofs``; none means all.
        full: The slower, wider set of configurations and stimuli.
        seed: Seeds every random choice; the same seed gives the same run.
        folder: Builds and logs; a build is used again while its Verilog is the same.
        progress: Called with one line before each case.
        waves: Record ``dump.vcd`` in each run's folder.

    Raises:
        UserError: A name is unknown, a system tool is missing, or the folder cannot be written.
    """
    names = list(dict.fromkeys(names or NAMES))
    benches = {name: find_bench(name) for name in names if name != PROOFS}
    if benches:
        require_tools()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        reason = f"{error.strerror}; expected a folder for builds and logs"
        raise UserError(f"{folder}: cannot be written: {reason}") from None
    tests: list[TestResult] = []
    for name, bench in benches.items():
        for case in (*bench.cases(config, full), *(bench.drawn(seed) if full else ())):
            progress(f"{name}[{case.label}]")
            try:
                tests += run_case(name, case, seed=seed, folder=folder, waves=waves)
            except RuntimeError as error:  # a build that fails: a failure like any other
                tests.append(failure(f"{name}[{case.label}]", 0.0, str(error)))
    if PROOFS in names:
        tests += run_proofs(proofs(config, full), folder=folder, progress=progress)
    return VerifyResult(tests=tuple(tests), seed=seed)
