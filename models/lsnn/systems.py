"""Hamiltonian systems of the workload: energies, vector fields and initial states. Units: the primary's mass, distance and angular rate are 1."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import pi
from types import MappingProxyType
from typing import Protocol

import numpy as np

from lanewise.models.functions import Reals


class System(Protocol):
    """A Hamiltonian system of two degrees of freedom; a state is ``(q1, q2, p1, p2)``."""

    @property
    def name(self) -> str:
        """Of :data:`SYSTEMS`."""

    def energy(self, x: Reals) -> Reals:
        """H, shape ``(...)``, of states of shape ``(..., 4)``."""

    def velocity(self, x: Reals) -> Reals:
        """``(dH/dp, -dH/dq)``, shape as ``x``."""

    def orbits(self, count: int, seed: int) -> Reals:
        """Initial states of the family of orbits that the networks learn, shape ``(count, 4)``."""


@dataclass(frozen=True, kw_only=True)
class TwoBody:
    """Planar Kepler problem in Cartesian coordinates, ``H = |p|^2 / 2 - 1 / |q|``; orbits of semi-major axis near 1, 2 pi long."""

    name: str = "two-body"

    def energy(self, x: Reals) -> Reals:
        """See :class:`System`."""
        energy: Reals = 0.5 * (x[..., 2] ** 2 + x[..., 3] ** 2) - 1 / np.hypot(x[..., 0], x[..., 1])
        return energy

    def velocity(self, x: Reals) -> Reals:
        """See :class:`System`."""
        pull = -x[..., :2] / np.hypot(x[..., 0], x[..., 1])[..., None] ** 3
        return np.concatenate([x[..., 2:], pull], axis=-1)

    def orbits(self, count: int, seed: int) -> Reals:
        """Semi-major axes in 1 +- 0.02, eccentricities to 0.1, any pericentre and phase."""
        rng = np.random.default_rng(seed)
        axis, eccentricity = rng.uniform(0.98, 1.02, count), rng.uniform(0, 0.1, count)
        pericentre, anomaly = rng.uniform(0, 2 * pi, (2, count))
        radius, angle, radial, momentum = kepler_state(axis, eccentricity, anomaly)
        angle += pericentre
        cos, sin, turning = np.cos(angle), np.sin(angle), momentum / radius
        place = [radius * cos, radius * sin]
        return np.stack([*place, radial * cos - turning * sin, radial * sin + turning * cos], axis=-1)


@dataclass(frozen=True, kw_only=True)
class RestrictedThreeBody:
    """Planar circular restricted three-body problem in the rotating frame, polar coordinates of the barycentre.

    The state is ``(r, phi, p_r, p_phi)``; ``H = (p_r^2 + (p_phi / r)^2) / 2 - p_phi - (1 - mu) / r1 - mu / r2``, the Sun at
    ``-mu`` and Neptune at ``1 - mu`` of the axis ``phi = 0``, Neptune's period 2 pi. The Jacobi constant is ``-2 H``. Polar, for
    the generating function of a long step exists in them: what a Kepler orbit's shear does to the angle alone does not fold the map
    from ``q`` to ``Q`` (docs/workloads/lsnn.md).
    """

    name: str = "pcr3bp"
    mu: float = 5.15e-5
    """Neptune's share of the mass."""
    axis: float = 1.5 ** (2 / 3)
    """Semi-major axis of the 2:3 resonance, in Neptune's: 1.310."""

    def energy(self, x: Reals) -> Reals:
        """See :class:`System`."""
        sun, neptune = self._distances(x)
        turning = x[..., 3] / x[..., 0]
        energy: Reals = (
            0.5 * (x[..., 2] ** 2 + turning**2) - x[..., 3] - (1 - self.mu) / sun - self.mu / neptune
        )
        return energy

    def jacobi(self, x: Reals) -> Reals:
        """The Jacobi constant ``C_J = -2 H``, shape ``(...)``."""
        constant: Reals = -2 * self.energy(x)
        return constant

    def velocity(self, x: Reals) -> Reals:
        """See :class:`System`."""
        r, phi, radial, momentum = (x[..., k] for k in range(4))
        sun, neptune = self._distances(x)
        cos, sin = np.cos(phi), np.sin(phi)
        near, far = (1 - self.mu) / sun**3, self.mu / neptune**3
        along = near * (r + self.mu * cos) + far * (r - (1 - self.mu) * cos)
        across = r * sin * self.mu * (1 - self.mu) * (1 / neptune**3 - 1 / sun**3)
        fields = [radial, momentum / r**2 - 1, momentum**2 / r**3 - along, -across]
        return np.stack(fields, axis=-1)

    def orbits(self, count: int, seed: int) -> Reals:
        """Near the resonance: semi-major axes within 0.003, eccentricities of 0.05 to 0.1, any phase, ``3 lambda - 2 lambda_N - pericentre``
        within 30 degrees of 180, where the encounters with Neptune are far away."""
        rng = np.random.default_rng(seed)
        axis = rng.uniform(self.axis - 0.003, self.axis + 0.003, count)
        eccentricity = rng.uniform(0.05, 0.1, count)
        anomaly = rng.uniform(0, 2 * pi, count)
        resonant = pi + rng.uniform(-pi / 6, pi / 6, count)
        pericentre = (resonant - 3 * anomaly) / 2 + pi * rng.integers(0, 2, count)
        radius, angle, radial, momentum = kepler_state(axis, eccentricity, anomaly)
        return np.stack([radius, (angle + pericentre) % (2 * pi), radial, momentum], axis=-1)

    def cartesian(self, x: Reals) -> Reals:
        """Places in the rotating plane, shape ``(..., 2)``."""
        places: Reals = x[..., :1] * np.stack([np.cos(x[..., 1]), np.sin(x[..., 1])], axis=-1)
        return places

    def _distances(self, x: Reals) -> tuple[Reals, Reals]:
        """To the Sun and to Neptune."""
        r, cos = x[..., 0], np.cos(x[..., 1])
        sun: Reals = np.sqrt(r**2 + 2 * r * self.mu * cos + self.mu**2)
        neptune: Reals = np.sqrt(r**2 - 2 * r * (1 - self.mu) * cos + (1 - self.mu) ** 2)
        return sun, neptune


def kepler_state(axis: Reals, eccentricity: Reals, anomaly: Reals) -> tuple[Reals, Reals, Reals, Reals]:
    """Radius, angle from the pericentre, radial velocity and angular momentum of Kepler orbits around a mass of 1.

    Args:
        axis: Semi-major axes.
        eccentricity: Below 1.
        anomaly: Mean anomalies, radians.

    >>> [round(float(value), 3) for value in kepler_state(np.array(1.0), np.array(0.1), np.array(0.0))]
    [0.9, 0.0, 0.0, 0.995]
    """
    eccentric = anomaly + eccentricity * np.sin(anomaly)
    for _ in range(30):  # Newton's method
        error = eccentric - eccentricity * np.sin(eccentric) - anomaly
        eccentric = eccentric - error / (1 - eccentricity * np.cos(eccentric))
    radius = axis * (1 - eccentricity * np.cos(eccentric))
    half = np.sqrt((1 + eccentricity) / (1 - eccentricity)) * np.tan(eccentric / 2)
    momentum = np.sqrt(axis * (1 - eccentricity**2))
    angle = 2 * np.arctan(half)
    return radius, angle, eccentricity * np.sin(angle) / momentum, momentum


SYSTEMS: Mapping[str, System] = MappingProxyType({s.name: s for s in (TwoBody(), RestrictedThreeBody())})
"""By name."""

REVOLUTION = 3 * pi
"""Period of the resonant body around the Sun."""
