"""All networks of one system, trained: of the small step, of the large steps, and the rival without structure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lanewise.models.functions import Reals
from lanewise.models.lsnn.config import (
    PARTITION_STEPS,
    STEP,
    TWO_BODY_PARTITION_STEPS,
    TrainingConfig,
)
from lanewise.models.lsnn.data import Pairs
from lanewise.models.lsnn.network import GeneratingNetwork
from lanewise.models.lsnn.plain import PlainMlp
from lanewise.models.lsnn.stepping import Map, enough_iterations, follow, implicit_step
from lanewise.models.lsnn.systems import RestrictedThreeBody, System
from lanewise.models.lsnn.training import train_generating, train_plain

TOLERANCE = 1e-7
"""What P may still change by when the fixed point ends: FP32's last bit."""
_FEWEST = 2
_TRAINING, _TESTING = 10, 1_000_010
"""Seeds of data: of training, and of orbits that no network has seen, plus the run's."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """Networks of one system, float64."""

    system: System
    small: GeneratingNetwork
    """Of a step of :data:`~lanewise.models.lsnn.config.STEP`."""
    plain: PlainMlp
    """Likewise."""
    large: Mapping[int, GeneratingNetwork]
    """From the first partition to each later one, by small steps between them."""
    iterations: Mapping[int, int]
    """Of the fixed point, by small steps, enough for :data:`TOLERANCE` on the training data."""
    seed: int

    @classmethod
    def train(
        cls, system: System, config: TrainingConfig, *, partitions: int, seed: int, progress: Callable[[str], None] = lambda _: None,
    ) -> "Trained":  # fmt: skip
        """Data of our integrator, networks from ``seed``.

        Args:
            partitions: How many later ones large steps lead to.
        """
        length = PARTITION_STEPS if has_angle(system) else TWO_BODY_PARTITION_STEPS
        networks, iterations = {}, {}
        for steps in (1, *(length * k for k in range(1, partitions + 1))):
            pairs = Pairs.of(system, samples=config.samples, steps=steps, seed=_TRAINING + seed)
            networks[steps] = train_generating(pairs, config, seed=seed)
            found = enough_iterations(networks[steps], pairs.start, TOLERANCE, 200)
            iterations[steps] = max(found, _FEWEST)
            progress(f"{system.name}: a step of {steps * STEP:g} is learned; {found} iterations solve it")
        pairs = Pairs.of(system, samples=config.samples, steps=1, seed=_TRAINING + seed)
        plain = train_plain(pairs, config, seed=seed)
        small = networks.pop(1)
        return cls(system=system, small=small, plain=plain, large=networks, iterations=iterations, seed=seed)

    @property
    def angle(self) -> bool:
        """Whether q2 is an angle."""
        return has_angle(self.system)

    def step(self, steps: int = 1, network: GeneratingNetwork | None = None) -> Map:
        """The map of so many small steps; of ``network``, a variant of the trained one, instead."""
        used = network or (self.small if steps == 1 else self.large[steps])
        count = self.iterations[steps]
        return lambda x: implicit_step(used, x, count)

    def unseen(self, count: int) -> Tensor:
        """States of orbits that no network was trained on, shape ``(count, 4)``."""
        return torch.from_numpy(self.system.orbits(count, _TESTING + self.seed))

    def unseen_pairs(self, count: int, steps: int) -> Pairs:
        """The same and where they are ``steps`` small steps later."""
        return Pairs.of(self.system, samples=count, steps=steps, seed=_TESTING + self.seed)

    def orbit(self, step: Map, x: Tensor, steps: int) -> Tensor:
        """See :func:`~lanewise.models.lsnn.stepping.follow`."""
        return follow(step, x, steps, angle=self.angle)

    def energy_errors(self, states: Tensor) -> Reals:
        """``|H - H_0|``, shape ``(steps + 1, batch)``, of states of shape ``(steps + 1, batch, 4)``."""
        energy = self.system.energy(states.double().numpy())
        errors: Reals = abs(energy - energy[0])
        return errors

    def distances(self, got: Tensor, wanted: Tensor) -> Tensor:
        """Largest error of a coordinate, shape ``(batch,)``; of an angle, the shorter way round."""
        error = (got - wanted).double()
        if self.angle:
            error[..., 1] = (error[..., 1] + torch.pi) % (2 * torch.pi) - torch.pi
        return error.abs().amax(-1)


def has_angle(system: System) -> bool:
    """Whether q2 is an angle, which networks learn in [0, 2 pi)."""
    return isinstance(system, RestrictedThreeBody)
