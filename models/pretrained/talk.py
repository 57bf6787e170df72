"""Half a minute of talk with who speaks when: package pyannote.audio (MIT), read as files."""

import numpy as np
from numpy.typing import NDArray
from scipy.io import wavfile

from lanewise.errors import UserError
from lanewise.models.pretrained.packages import packaged_file

PACKAGE, SOUND, SPEAKERS = "pyannote.audio", "sample.wav", "sample.rttm"
RATE = 16000
"""Samples a second."""


def talk() -> NDArray[np.float64]:
    """The sound, shape ``(samples,)``, -1 to 1.

    Raises:
        UserError: The package is not installed, or is not what it was.
    """
    path = packaged_file(PACKAGE, SOUND)
    rate, sound = wavfile.read(path)
    if rate != RATE or sound.dtype != np.int16 or sound.ndim != 1:
        raise UserError(f"{path}: must have {RATE} samples of 16 bits a second, one channel")
    result: NDArray[np.float64] = sound / 32768
    return result


def turns() -> list[tuple[float, float, str]]:
    """Start and end, in seconds, and speaker of each turn; they may overlap.

    Raises:
        UserError: The package is not installed, or is not what it was.
    """
    lines = packaged_file(PACKAGE, SPEAKERS).read_text(encoding="utf-8").splitlines()
    words = [line.split() for line in lines]
    return [(float(word[3]), float(word[3]) + float(word[4]), word[7]) for word in words]
