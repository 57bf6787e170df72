"""What the numbers of the hardware's chain are multiples of: powers of two, so that FP16 neither overflows nor runs dry."""

from dataclasses import dataclass

from lanewise.models.deconvolution.config import DeconvolutionConfig
from lanewise.models.deconvolution.forward import ForwardModel


@dataclass(frozen=True, kw_only=True, slots=True)
class Scales:
    """Factors of what is stored."""

    psf: float = 16.0
    """The point spread function's sum."""
    frames: float = 0.25
    """Of intensities."""
    slope: float = 2.0**-6
    """Of the slope by the psf times the wave."""

    def intensity(self, model: ForwardModel) -> float:
        """What |W|**2 is multiplied by."""
        return self.psf / model.power

    @property
    def transfer(self) -> float:
        """Of S: the psf's, and 2 of the transform of two real planes."""
        return 2 * self.psf

    @property
    def spectra(self) -> float:
        """Of I, likewise."""
        return 2 * self.frames

    def sigma(self, config: DeconvolutionConfig) -> float:
        """The regulariser beside sum |S|**2 as it is stored."""
        return config.sigma * self.transfer**2

    def phase_slope(self, model: ForwardModel) -> float:
        """What Im(A B) is multiplied by to be the loss's slope by the phase, in the units of :meth:`ForwardModel.estimate`."""
        config = model.config
        count = config.frames * config.pixels**4
        return 4 / (count * model.power) * self.transfer / (self.spectra**2 * self.slope)
