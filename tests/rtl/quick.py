"""Which of a bench's cases `make test` runs, and which `make test-full` adds."""

from lanewise.config import FlexSfuConfig, MachineConfig
from lanewise.verify import Bench, Case
from lanewise.verify.sfu_tables import ALL_FORMATS

EVERYTHING = FlexSfuConfig(segments=8, lanes=2, degree=2, formats=ALL_FORMATS, double_buffered=True)
"""A Flex-SFU with all that there is, and few segments: one build for the benches of random tables and of functions."""


def quick_and_full(bench: Bench, machine: MachineConfig, *labels: str) -> tuple[list[Case], list[Case]]:
    """The cases of the bench's own quick set with these labels, and all others that it has for the machine.

    A design takes seconds to be built: `make test` has those alone that do most for it.

    Raises:
        KeyError: The quick set has no case of that label.
    """
    own, wide = bench.cases(machine, False), bench.cases(machine, True)
    named = {case.label: case for case in own}
    quick = [named[label] for label in labels]
    labels_wide = {case.label for case in wide}
    return quick, [
        case for case in (*wide, *(c for c in own if c.label not in labels_wide)) if case not in quick
    ]
