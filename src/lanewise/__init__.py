"""lanewise: from a real network to a speedup and area report of a vector unit with Flex-SFU and INT4 MACs."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lanewise.mapping.user import simulate as simulate
    from lanewise.mapping.user import trace as trace

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """``simulate`` and ``trace``, imported when they are first asked for."""
    if name not in ("simulate", "trace"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("lanewise.mapping.user"), name)
