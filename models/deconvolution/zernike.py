"""Zernike polynomials in Noll's order and the covariance of their coefficients in Kolmogorov turbulence (Noll, JOSA 66, 207, 1976)."""

from math import factorial, gamma, pi, sqrt

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float64]


def noll(index: int) -> tuple[int, int]:
    """Radial degree n and azimuthal frequency m of Noll's index j, from 1; m is negative for a sine.

    >>> [noll(j) for j in (1, 2, 3, 4, 5, 6, 7, 11)]
    [(0, 0), (1, 1), (1, -1), (2, 0), (2, -2), (2, 2), (3, -1), (4, 0)]
    """
    if index < 1:
        raise ValueError(f"index must be at least 1, not {index}")
    n = 0
    while (n + 1) * (n + 2) // 2 < index:
        n += 1
    place = index - n * (n + 1) // 2 - 1  # within the degree
    m = 2 * ((place + 1 + n % 2) // 2) - n % 2
    return n, m if index % 2 == 0 else -m


def zernike(index: int, x: Float, y: Float) -> Float:
    """Noll's polynomial j at points of the unit disc: of variance 1 over it, for j > 1.

    Args:
        index: Noll's j, from 1.
        x, y: Coordinates, any one shape.
    """
    n, signed = noll(index)
    m = abs(signed)
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    radial = np.zeros_like(radius)
    for k in range((n - m) // 2 + 1):
        weight = (-1) ** k * factorial(n - k)
        weight //= factorial(k) * factorial((n + m) // 2 - k) * factorial((n - m) // 2 - k)
        radial += weight * radius ** (n - 2 * k)
    if m == 0:
        return np.asarray(sqrt(n + 1) * radial)
    wave = np.cos(m * angle) if signed > 0 else np.sin(m * angle)
    return np.asarray(sqrt(2 * (n + 1)) * radial * wave)


def covariance(highest: int) -> Float:
    """Covariance of the coefficients j = 2 .. ``highest`` for D / r0 = 1, in rad**2; it grows with (D / r0)**(5/3).

    Noll's equation 25 from the spectrum 0.0229 r0**(-5/3) f**(-11/3), whose constant is (24/5 gamma(6/5))**(5/6) gamma(11/6)**2 / (2 pi**(11/3)).

    Returns:
        Shape ``(highest - 1, highest - 1)``.

    >>> covariance(4).diagonal().round(3)  # Noll: 1.030 - 0.582, 0.582 - 0.134, 0.134 - 0.111
    array([0.449, 0.449, 0.023])
    """
    constant = gamma(14 / 3) * (24 / 5 * gamma(6 / 5)) ** (5 / 6) * gamma(11 / 6) ** 2 / (2 ** (8 / 3) * pi)
    orders = [noll(j) for j in range(2, highest + 1)]
    made = np.zeros((len(orders), len(orders)))
    for row, (n, m) in enumerate(orders):
        for column, (other, its) in enumerate(orders):
            if m != its:
                continue
            sign = (-1) ** ((n + other - 2 * abs(m)) // 2)
            top = sign * sqrt((n + 1) * (other + 1)) * gamma((n + other - 5 / 3) / 2)
            below = gamma((n - other + 17 / 3) / 2) * gamma((other - n + 17 / 3) / 2) * gamma((n + other + 23 / 3) / 2)  # fmt: skip
            made[row, column] = constant * top / below
    return made
