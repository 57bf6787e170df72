"""What a testbench module declares about itself."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lanewise.config import MachineConfig


@dataclass(frozen=True, kw_only=True)
class Case:
    """One design to build and run a bench on."""

    label: str
    """Names the case in results and folders, such as ``8x8x4``; unique within its bench."""
    config: Any
    """The frozen dataclass that the component is made from; the bench gets it as ``Testbench.config``."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """Anything else that the bench wants to know, as JSON values."""
    tests: Sequence[str] = ()
    """Names of the cocotb tests to run; none means all of the module."""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """A testbench: what to build, for which configurations. A bench module defines one as ``BENCH``."""

    component: Callable[[Any], Any]
    """Makes the Amaranth component from a case's config."""
    cases: Callable[[MachineConfig, bool], Sequence[Case]]
    """The cases to run for a machine; the flag asks for the slower, wider set."""
    drawn: Callable[[int], Sequence[Case]] = lambda _: ()
    """Further cases of the wider set, of configurations that the run's seed draws."""
