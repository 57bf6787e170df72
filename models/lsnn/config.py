"""Shapes and training of the workload's networks."""

from dataclasses import dataclass

PAPER_SIZES = (4, 200, 100, 50, 20, 1)
"""Two-body problem and PCR3BP, step 0.1. Source: Li, Li and Xia, arXiv 2208.14148."""
STANDARD_MAP_SIZES = (2, 500, 500, 200, 20, 1)
"""Standard map. Same source."""
SMALL_SIZES = (4, 32, 32, 1)
"""Ours: trains in seconds on a CPU, and two hidden layers are what piecewise activations can harm."""

STEP = 0.1
"""Time of a small step, Neptune's period being 2 pi. Same source."""
PARTITION_STEPS = 94
"""Small steps of a partition of a PCR3BP series: 9.4, next to the resonant body's period of 3 pi; ours, the paper gives no number."""
TWO_BODY_PARTITION_STEPS = 5
"""Of the two-body problem: half a radian. In Cartesian coordinates the generating function ends where q stops determining Q, near a quarter turn."""


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How a network is trained: full batches in float64, Adam with StepLR x 0.95 as in the paper, then L-BFGS, which is ours.

    Raises:
        ValueError: A number is out of range.
    """

    sizes: tuple[int, ...] = SMALL_SIZES
    """Of F's layers. The plain MLP has the same hidden layers and four outputs."""
    samples: int = 1000
    """Pairs of states, each of an orbit of its own."""
    adam: int = 300
    """Steps of Adam."""
    rate: float = 5e-3
    """Adam's at first."""
    decay_every: int = 5
    """Steps after which the rate is multiplied by 0.95."""
    lbfgs: int = 1000
    """Most iterations of L-BFGS."""

    def __post_init__(self) -> None:
        if len(self.sizes) < 3 or self.sizes[-1] != 1:
            raise ValueError(f"sizes must be at least three and end with 1, not {self.sizes}")
        for name in ("samples", "adam", "decay_every", "lbfgs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if not self.rate > 0:
            raise ValueError(f"rate must be above 0, not {self.rate}")


DEFAULT = TrainingConfig()
QUICK = TrainingConfig(samples=600, adam=100, lbfgs=300)
"""For tests and ``--small``."""
