"""What a paper claims, and what was measured of it."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """One claim of a paper, checked.

    >>> Claim(name="folding", claim="W_eff = sum_j a_j W_j to 1e-5", paper="an identity", measured="2e-7", holds=True).holds
    True
    """

    name: str
    """Short identifier, unique within a workload."""
    claim: str
    """One sentence, with its tolerance."""
    paper: str
    """What the paper says, with its figure; "no figure" if it gives none."""
    measured: str
    """What was found, in the paper's units."""
    holds: bool
