"""Training and test data: pairs of states a time apart, from our integrator."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lanewise.models.lsnn.config import STEP
from lanewise.models.lsnn.integrator import integrate
from lanewise.models.lsnn.systems import System


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """States of a partition and those ``steps`` small steps later, float64, shape ``(samples, 4)``."""

    start: Tensor
    end: Tensor

    @classmethod
    def of(cls, system: System, *, samples: int, steps: int, seed: int) -> "Pairs":
        """One pair of each of ``samples`` orbits of the system's family, at a random phase.

        A first partition as long as the body's period has every phase, so these are its states, of many orbits.
        """
        states = integrate(system.velocity, system.orbits(samples, seed), step=STEP, steps=steps)
        return cls(start=torch.from_numpy(states[0]), end=torch.from_numpy(states[-1]))

    @property
    def mixed(self) -> Tensor:
        """``(q, P)``: what F is a function of."""
        return torch.cat([self.start[:, :2], self.end[:, 2:]], 1)

    @property
    def increments(self) -> Tensor:
        """``(p - P, Q - q)``: what F's gradient must be. The paper's loss, ``MSE(h grad F + [P; q], [p; Q])``, is its distance from it."""
        return torch.cat([self.start[:, 2:] - self.end[:, 2:], self.end[:, :2] - self.start[:, :2]], 1)
