"""Peak signal to noise ratio of images."""

import torch


def psnr_db(images: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """10 log10 of the truth's range squared over the mean squared error, in dB.

    Args:
        images, truth: Shape ``(batch, pixels, pixels)``.

    Returns:
        Shape ``(batch,)``.

    >>> truth = torch.tensor([[[0.0, 1.0], [1.0, 0.0]]])
    >>> psnr_db(truth + 0.1, truth).round().tolist()
    [20.0]
    """
    span = truth.amax((1, 2)) - truth.amin((1, 2))
    return 10 * torch.log10(span**2 / ((images - truth) ** 2).mean((1, 2)))
