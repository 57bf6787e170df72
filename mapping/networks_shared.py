"""What the loaders of networks share: modules without weights, and how they refuse a name."""

from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches

from lanewise.errors import UserError


def unknown_model(model: str, what: str, name: str, known: list[str]) -> UserError:
    """The error for ``name``, which is not among ``known``; ``what`` is whose name was expected."""
    close = get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"; did you mean {', '.join(close)}?" if close else ""
    return UserError(f"{model}: unknown model; expected the name of {what}{hint}")


@contextmanager
def empty_weights() -> Iterator[None]:
    """Modules made inside the block are on the meta device; nothing fills weights that nobody reads."""
    import torch

    names = [name for name in dir(torch.nn.init) if name.endswith("_") and not name.startswith("_")]
    originals = {name: getattr(torch.nn.init, name) for name in names}
    try:
        for name in names:
            setattr(torch.nn.init, name, lambda tensor, *_args, **_kwargs: tensor)
        with torch.device("meta"), torch.no_grad():
            yield
    finally:
        for name, original in originals.items():
            setattr(torch.nn.init, name, original)


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its kind if it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
