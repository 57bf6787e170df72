"""Making torchvision importable beside a CPU build of PyTorch; timm and transformers import it."""

import importlib
import sys
from typing import Any

_KEPT: list[Any] = []


def make_importable() -> None:
    """Declare the two operators whose absence breaks the import.

    torchvision gives Python kernels to operators of its own C library. Where that library was built for CUDA and torch was not,
    it does not load, its operators do not exist, and the import fails. No network here needs them: with their schemas
    alone the import passes. A matching pair is left alone.
    """
    try:
        importlib.import_module("torchvision")
    except ImportError:
        return  # not installed: transformers does without it, timm says so
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
    else:
        return
    import torch

    library: Any = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _KEPT.append(library)  # its operators go when it goes
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]  # half-imported
