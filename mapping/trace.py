"""Tracing a PyTorch network into a graph, on the meta device: shapes only, no weights, no network access.

Every ATen call under a dispatch mode becomes an operator. In-place calls make new values; an in-place call through a view
updates the tensor that it is a view of. What depends on no input (position tables, masks) is a constant: computed once,
before the network runs. Traces are cached; a warm one imports no PyTorch.
"""

import gzip
import hashlib
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lanewise.errors import UserError
from lanewise.files import atomic_write, cache_folder
from lanewise.mapping.canonical import CREATIONS, Canonical, canonical
from lanewise.mapping.graph import Graph, Operator, Value

if TYPE_CHECKING:
    import torch

TRACED_LIBRARIES = ("torch", "timm", "transformers")


def library_versions() -> dict[str, str]:
    """Installed versions of the libraries that a trace depends on, without importing them."""
    found = {}
    for name in TRACED_LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def trace_model(
    model: str,
    *,
    batch: int = 1,
    sequence: int = 128,
    resolution: int | None = None,
    cache: Path | None = None,
    progress: Callable[[str], None] | None = None,
) -> Graph:
    """The graph of a named network (see :mod:`lanewise.mapping.networks`), from the cache if it is there.

    Raises:
        UserError: There is no such network, or it cannot be built or run with these options.
    """
    folder = cache if cache is not None else cache_folder() / "traces"
    tracer = b"".join((Path(__file__).parent / f"{name}.py").read_bytes() for name in ("canonical", "graph", "networks", "trace"))
    key = repr((model, batch, sequence, resolution, sorted(library_versions().items()), hashlib.sha256(tracer).hexdigest()))
    path = folder / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.json.gz"
    if path.exists():
        try:
            return Graph.from_json(gzip.decompress(path.read_bytes()).decode())
        except (ValueError, OSError, EOFError, gzip.BadGzipFile) as error:
            print(f"lanewise: {path}: unreadable trace ({error}); tracing anew", file=sys.stderr)
    if progress is not None:
        progress(f"tracing {model}")
    from lanewise.mapping.networks import load

    module, inputs = load(model, batch=batch, sequence=sequence, resolution=resolution)
    graph = trace(module, inputs, model=model)
    with atomic_write(path) as stream:
        stream.write(gzip.compress(graph.to_json().encode(), mtime=0))
    return graph


def trace(module: "torch.nn.Module", inputs: "Sequence[torch.Tensor] | Mapping[str, torch.Tensor]", *, model: str = "module") -> Graph:
    """Run ``module`` once and record it.

    Args:
        module: Any network; run in evaluation mode, without gradients. Its training flags are put back.
        inputs: Positional tensors, or tensors by keyword; on the module's device (``meta`` costs nothing).

    Raises:
        UserError: The network raises on these inputs.
    """
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    recorder = _recorder(module, inputs)
    training = [m for m in module.modules() if m.training]
    module.eval()
    hooks = [part.register_forward_pre_hook(recorder.enter(name)) for name, part in module.named_modules()]
    hooks += [part.register_forward_hook(recorder.leave, always_call=True) for part in module.modules()]
    try:
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), recorder:
            if isinstance(inputs, Mapping):
                module(**inputs)
            else:
                module(*inputs)
    except Exception as error:  # noqa: BLE001 - whatever a user's network raises is reported, not ours
        lines = str(error).strip().splitlines() or [""]
        raise UserError(f"{model}: cannot be run on its inputs: {type(error).__name__}: {lines[0]}") from error
    finally:
        for hook in hooks:
            hook.remove()
        for part in training:
            part.training = True
    return recorder.graph(model)


def _recorder(module: "torch.nn.Module", inputs: Any) -> Any:  # noqa: C901 - one class, made here so that torch is imported late
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_flatten, tree_map

    class Recorder(TorchDispatchMode):
        def __init__(self) -> None:
            super().__init__()
            self.values: list[Value] = []
            self.operators: list[Operator] = []
            self.ids: dict[int, int] = {}
            self.keep: list[torch.Tensor] = []  # so that no address is used twice
            self.owner: dict[int, torch.Tensor] = {}  # storage -> the first tensor seen on it
            self.stack: list[str] = [""]
            self.names: dict[str, int] = {}
            for tensor in (*module.parameters(), *module.buffers()):
                self.value(tensor, "parameter")
            for tensor in tree_flatten(inputs)[0]:
                if isinstance(tensor, torch.Tensor):
                    self.value(tensor, "input")

        def enter(self, name: str) -> Callable[..., None]:
            return lambda *_: self.stack.append(name)

        def leave(self, *_: object) -> None:
            self.stack.pop()

        def value(self, tensor: torch.Tensor, origin: str, producer: int | None = None) -> int:
            dtype = str(tensor.dtype).removeprefix("torch.")
            self.values.append(Value(id=len(self.values), shape=tuple(tensor.shape), dtype=dtype, origin=origin, producer=producer))
            self.ids[id(tensor)] = self.values[-1].id
            self.keep.append(tensor)
            self.owner.setdefault(tensor.untyped_storage()._cdata, tensor)
            return self.values[-1].id

        def known(self, tensor: torch.Tensor) -> int:
            if id(tensor) not in self.ids:
                return self.value(tensor, "constant")
            return self.ids[id(tensor)]

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = kwargs or {}
            name = func._schema.name.removeprefix("aten::").removeprefix("prims::")
            tensors = [t for t in tree_flatten((args, kwargs))[0] if isinstance(t, torch.Tensor)]
            sources = [self.known(t) for t in tensors]
            before = {id(t): self.ids[id(t)] for t in tensors}
            result = func(*args, **kwargs)
            results = [t for t in tree_flatten(result)[0] if isinstance(t, torch.Tensor)]
            if not results or name.removesuffix("_") in CREATIONS:
                for tensor in results:
                    self.value(tensor, "constant")
                return result
            origins = {self.values[i].origin for i in sources}
            if not origins & {"input", "operator"}:
                for tensor in results:
                    self.value(tensor, "parameter" if "parameter" in origins else "constant")
                return result
            positions = {id(t): i for i, t in enumerate(tensors)}
            replaced = tree_map(lambda a: ("tensor", positions[id(a)]) if isinstance(a, torch.Tensor) else a, list(args))
            base = name if name.startswith("__") or name in ("_to_copy",) else name.removesuffix("_")
            form = canonical(base, replaced, kwargs, [tuple(t.shape) for t in tensors], tuple(results[0].shape))
            form = self.refined(form, base, tensors, sources)
            operands = sources if form.operands is None else [sources[i] for i in form.operands]
            kept = results[: form.results]
            index = len(self.operators)
            outputs = tuple(self.value(t, "operator", index) for t in kept)
            for tensor in results[len(kept) :]:
                self.value(tensor, "constant")
            operator = Operator(
                index=index, name=self.unique(form), kind=form.kind, function=form.function, inputs=tuple(operands), outputs=outputs,
                attributes=dict(form.attributes),
            )  # fmt: skip
            self.operators.append(operator)
            for tensor, output in zip(kept, outputs):
                if id(tensor) in before and form.function != "view":
                    self.update_owner(tensor, output, before[id(tensor)])
            return result

        def refined(self, form: Canonical, base: str, tensors: list[torch.Tensor], sources: list[int]) -> Canonical:
            """What only the tensors themselves tell."""
            if form.kind == "matmul" and form.operands is not None:
                weight = any(self.values[sources[i]].origin == "parameter" for i in form.operands)
                return Canonical(kind="matmul", attributes={**form.attributes, "weight": weight}, operands=form.operands)
            if base == "_to_copy" or (base == "copy" and len(tensors) == 2):
                source = tensors[-1]
                floats = source.is_floating_point()
                if base == "copy":
                    return Canonical(kind="movement", function="copy", operands=(len(sources) - 1,))
                # a change between floating-point formats is none on a machine that has FP16 alone
                return Canonical(kind="movement", function="view", operands=(0,)) if floats else form
            return form

        def update_owner(self, tensor: torch.Tensor, output: int, old: int) -> None:
            """After an in-place call: if it went through a view, the tensor behind it has a new value, too."""
            owner = self.owner[tensor.untyped_storage()._cdata]
            if owner is tensor or self.values[self.known(owner)].origin == "parameter":
                return
            behind = self.known(owner)
            if tuple(owner.shape) == tuple(tensor.shape):
                self.ids[id(owner)] = output
                return
            index = len(self.operators)
            new = self.value(owner, "operator", index)
            form = Canonical(kind="movement", function="copy")
            self.operators.append(Operator(index=index, name=self.unique(form), kind="movement", function="copy", inputs=(behind, output), outputs=(new,)))

        def unique(self, form: Canonical) -> str:
            path = ".".join(part for part in (self.stack[-1], form.function or form.kind) if part)
            count = self.names[path] = self.names.get(path, 0) + 1
            return path if count == 1 else f"{path}#{count}"

        def graph(self, model: str) -> Graph:
            return Graph(model=model, operators=tuple(self.operators), values=tuple(self.values), versions=library_versions())

    return Recorder()
