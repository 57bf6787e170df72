"""A picture of a workload's page."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """A file that ``draw`` of a workload has written, and what it shows."""

    path: Path
    """An ``.svg`` or a ``.png``."""
    caption: str
