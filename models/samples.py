"""Numbers from a user's file."""

from pathlib import Path

import numpy as np

from lanewise.errors import UserError
from lanewise.models.functions import Reals


def load_samples(path: Path) -> Reals:
    """Numbers of a text file, separated by white space or commas, or of a ``.npy`` file, flattened.

    Raises:
        UserError: The file is missing or has something else in it.
    """
    try:
        if path.suffix == ".npy":
            return np.asarray(np.load(path, allow_pickle=False), np.float64).reshape(-1)
        words = path.read_text(encoding="utf-8").replace(",", " ").split()
        return np.array([float(word) for word in words])
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}; expected a file of numbers") from None
    except (ValueError, TypeError, EOFError) as error:
        raise UserError(f"{path}: is no file of numbers: {error}") from None
