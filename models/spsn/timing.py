"""Time of a layer on this processor: step by step with a reset, and without one by FFT."""

import time
from collections.abc import Callable, Sequence

import torch

from lanewise.models.one_thread import one_thread
from lanewise.models.spsn.filters import by_fft
from lanewise.models.spsn.neurons import bernoulli, lif


def layer_seconds(
    lengths: Sequence[int], *, neurons: int = 128, batch: int = 1, repeats: int = 3
) -> list[tuple[float, float]]:
    """Processor seconds of LIF and of SPSN (SB) for each length, one thread, the fastest of some repeats."""
    generator, seconds = torch.Generator().manual_seed(0), []
    with one_thread(), torch.no_grad():
        for steps in lengths:
            x = torch.randn(steps, batch, neurons, generator=generator)
            stepped = _fastest(lambda x=x: lif(x, 0.8, 0.9), repeats)  # type: ignore[misc]
            filtered = _fastest(lambda x=x: bernoulli(by_fft(x, 0.8, 0.9), generator), repeats)  # type: ignore[misc]
            seconds.append((stepped, filtered))
    return seconds


def _fastest(run: Callable[[], object], repeats: int) -> float:
    took = []
    for _ in range(repeats):
        began = time.process_time()
        run()
        took.append(time.process_time() - began)
    return min(took)
