"""Sizes and constants of the spiking networks: the paper's, and a small one."""

from dataclasses import dataclass
from math import exp

KINDS = ("lif", "sb", "gs")
"""Leaky integrate-and-fire; stochastic, Bernoulli; stochastic, Gumbel-softmax."""
THETA = {"sb": 0.4, "gs": 0.1, "lif": 0.4}
"""Firing rate above which the regulariser pushes; of LIF ours."""


@dataclass(frozen=True, kw_only=True)
class SpsnConfig:
    """A network of spiking layers and a layer that does not fire, and how it is trained.

    Raises:
        ValueError: A size is not positive, or a decay is not between 0 and 1.
    """

    channels: int = 700
    """Inputs; SHD's cochlea has 700."""
    hidden: tuple[int, ...] = (128, 128, 128)
    """Neurons of each spiking layer."""
    classes: int = 20
    steps: int = 100
    """Of a sample; ours: the source has no number for SHD."""
    current_decay: float = exp(-1 / 5)
    """a; ours, as is"""
    voltage_decay: float = exp(-1 / 10)
    """b."""
    train: int = 2000
    """Samples."""
    test: int = 1000
    batch: int = 64
    epochs: int = 20
    rate: float = 1e-3
    """Adamax's learning rate."""

    def __post_init__(self) -> None:
        for name in ("channels", "classes", "steps", "train", "test", "batch", "epochs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if not self.hidden or min(self.hidden) < 1:
            raise ValueError(f"hidden must be sizes of at least 1, not {self.hidden}")
        for name in ("current_decay", "voltage_decay"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} must be between 0 and 1, not {getattr(self, name)}")

    @property
    def sizes(self) -> tuple[int, ...]:
        """Inputs, spiking layers, classes."""
        return (self.channels, *self.hidden, self.classes)

    @property
    def name(self) -> str:
        """Sizes with dashes between.

        >>> PAPER.name
        '700-128-128-128-20'
        """
        return "-".join(map(str, self.sizes))


PAPER = SpsnConfig()
"""SHD's shape (Yarga and Wood 2023), batch 64, Adamax 1e-3."""
SMALL = SpsnConfig(
    channels=80,
    hidden=(64, 64, 64),
    classes=10,
    steps=60,
    train=2400,
    test=500,
    epochs=14,
    rate=1.5e-2,
    batch=25,
)
"""Learned in seconds."""
