"""The telescope's pupil and the Karhunen-Loeve modes of Kolmogorov turbulence on it."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from lanewise.models.deconvolution.config import DeconvolutionConfig
from lanewise.models.deconvolution.zernike import covariance, zernike

Float = npt.NDArray[np.float64]

SPARE = 3
"""Zernike polynomials that the modes are made of, of the modes' number."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Pupil:
    """Aperture and modes on the corner ``box`` x ``box`` of the grid."""

    aperture: Float
    """0 or 1, shape ``(box, box)``."""
    modes: Float
    """Phase of each mode in rad, of variance 1 over the disc, 0 outside; shape ``(modes, box, box)``."""
    variances: Float
    """Of the modes' coefficients for D / r0 = 1, rad**2, the largest first; shape ``(modes,)``."""


@lru_cache(maxsize=8)
def pupil(config: DeconvolutionConfig) -> Pupil:
    """Aperture and modes.

    The modes diagonalise the covariance of Noll's polynomials, of which ``SPARE`` times as many are taken: statistically independent, the most
    variance first. The first two are tip and tilt, but for the little coma that goes with them.
    """
    centre = (config.box - 1) / 2
    axis = (np.arange(config.box) - centre) / (config.pupil / 2)
    y, x = np.meshgrid(axis, axis, indexing="ij")
    aperture = (np.hypot(x, y) <= 1).astype(float)
    matrix = covariance(SPARE * config.modes + 1)
    variances, vectors = np.linalg.eigh(matrix)
    order = np.argsort(-variances, kind="stable")[: config.modes]
    chosen = vectors[:, order].T
    places = np.abs(chosen).argmax(1)
    chosen *= np.sign(np.take_along_axis(chosen, places[:, None], 1))  # an eigenvector's sign is anyone's
    polynomials = np.stack([zernike(j, x, y) for j in range(2, SPARE * config.modes + 2)])
    modes = np.einsum("kj,jyx->kyx", chosen, polynomials) * aperture
    return Pupil(aperture=aperture, modes=modes, variances=variances[order])
