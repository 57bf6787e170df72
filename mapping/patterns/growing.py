"""Sets of operators that compute one result from one tensor."""

from collections.abc import Callable, Iterator

from lanewise.mapping.graph import Operator
from lanewise.mapping.patterns.rewriter import Rewriter

MOST = 32
"""Operators of the largest set that is looked at."""


def grown(
    rewriter: Rewriter, last: Operator, belongs: Callable[[Operator], bool]
) -> Iterator[tuple[tuple[Operator, ...], int]]:
    """Ever larger sets that end in ``last``: their operators in order, and the one tensor that they read.

    What is computed in between nobody else reads. The set grows by the operator that runs last of those whose results it reads, so that all readers of
    a value are in it, if they ever will be, before the value's own operator.

    Args:
        belongs: Whether an operator may be in a set; of one result.
    """
    members: dict[int, Operator] = {}
    frontier: set[int] = set()
    following: Operator | None = last
    while following is not None and len(members) < MOST:
        members[following.index] = following
        frontier -= set(following.outputs)
        frontier |= {value for value in following.inputs if rewriter.computed(value)}
        if len(frontier) == 1:
            yield tuple(members[index] for index in sorted(members)), next(iter(frontier))
        following = None
        producers = [rewriter.producer(value) for value in frontier]
        found = max((each.index for each in producers if each is not None), default=None)
        if found is None:
            return
        candidate = rewriter.operators[found]
        if len(candidate.outputs) != 1 or not belongs(candidate):
            return
        (value,) = candidate.outputs
        if value in rewriter.results or not rewriter.readers[value] <= members.keys():
            return
        following = candidate
