"""Shapes and optics of a burst and of the network that restores it."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class DeconvolutionConfig:
    """A burst of ``frames`` short exposures of ``pixels`` x ``pixels``, and ``steps`` unrolled steps on ``modes`` coefficients a frame.

    Raises:
        ValueError: The pupil does not fit half the grid, which its autocorrelation must not exceed, or there is no tip, tilt and more.
    """

    pixels: int
    frames: int
    modes: int
    """Karhunen-Loeve modes a frame, tip and tilt included."""
    steps: int
    pupil: float
    """Diameter of the pupil on the grid of frequencies; ``pixels`` / 2 is critical sampling."""
    strength: float = 5.0
    """D / r0: the telescope's diameter over Fried's."""
    noise: float = 0.003
    """Standard deviation of the detector's noise, of a mean intensity of 1."""
    contrast: float = 0.12
    """Standard deviation of the object's intensity."""
    wind: float = 0.3
    """Pupil diameters that the screen moves from frame to frame."""
    sigma: float = 2e-3
    """Regulariser of the object: of sum |S|**2, which is ``frames`` at frequency 0."""
    cutoff: float = 0.9
    """Radius of the object's mask, of the diffraction limit."""

    def __post_init__(self) -> None:
        if not 4 <= self.pupil <= self.pixels / 2:
            raise ValueError(f"pupil must be 4 to pixels / 2 = {self.pixels / 2}, not {self.pupil}")
        if self.modes < 3:
            raise ValueError(f"modes must be at least 3, not {self.modes}")

    @property
    def box(self) -> int:
        """Edge of the square of the grid that holds the pupil, in a corner: half the grid."""
        return self.pixels // 2


PAPER = DeconvolutionConfig(pixels=64, frames=12, modes=44, steps=10, pupil=29.0)
"""Patches, frames, modes and steps of the paper. Its optics and seeing are not these: they are ours for both shapes."""

SMALL = DeconvolutionConfig(pixels=32, frames=8, modes=20, steps=5, pupil=14.5)
"""A quarter of the pixels, the same optics: what is trained here."""
