"""Sizes of the study: how large the networks are, how they are trained, how often."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class StudyConfig:
    """Networks of every kernel and expansion, frozen and learned, once for each seed.

    Optimiser and schedule are the paper's: SGD with Nesterov momentum of 0.9, weight decay 1e-2, learning rate 1e-2 falling along a cosine to 0. What is
    ours: the network (three blocks, :class:`~lanewise.models.random_cnn.network.SmallNetwork`), the images (8 x 8 digits), epochs and batch.

    Raises:
        ValueError: A kernel is even, or something is less than 1 (seeds: less than 2, for there is no spread then).
    """

    width: int = 4
    """Channels of the first two blocks; the third has twice as many. Few: with 8 the frozen network of E = 4 learns the digits as well."""
    kernels: tuple[int, ...] = (3, 5, 7, 9)
    expansions: tuple[int, ...] = (1, 4, 16, 64)
    seeds: int = 3
    epochs: int = 15
    batch: int = 64
    learning_rate: float = 1e-2
    momentum: float = 0.9
    weight_decay: float = 1e-2

    def __post_init__(self) -> None:
        if not self.kernels or any(k < 1 or k % 2 == 0 for k in self.kernels):
            raise ValueError(f"kernels must be odd, and one at least, not {self.kernels}")
        if not self.expansions or min(self.expansions) < 1:
            raise ValueError(f"expansions must be at least 1, not {self.expansions}")
        for name, least in (("width", 1), ("seeds", 2), ("epochs", 1), ("batch", 2)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, not {getattr(self, name)!r}")


DEFAULT = StudyConfig()
SMALL = StudyConfig(kernels=(3, 7), expansions=(1, 16), seeds=2, epochs=10)
"""Seconds instead of minutes."""
