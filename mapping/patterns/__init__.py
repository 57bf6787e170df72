"""Composed forms and the canonical operators that they are.

A network may write GELU as ``x * 0.5 * (1 + erf(x / sqrt(2)))``, softmax as ``exp(x - max) / sum``, a norm as a mean and a square root. Each is found by
what it computes, not by how it is written: the operators between one tensor and one result are evaluated on numbers and compared with the operators that
the machine has kernels for (:mod:`~lanewise.mapping.patterns.activations`, :mod:`~lanewise.mapping.patterns.rows`). What is replaced is equal; what is not
equal stays as it is written.
"""

import torch

from lanewise.mapping.graph import Graph
from lanewise.mapping.patterns.activations import replace_activations
from lanewise.mapping.patterns.attention import gather_scales
from lanewise.mapping.patterns.batches import join_views, split_batches
from lanewise.mapping.patterns.groups import replace_group_norms
from lanewise.mapping.patterns.prepared import leave_out_unread, move_parameters_out
from lanewise.mapping.patterns.rewriter import Rewriter
from lanewise.mapping.patterns.rows import absorb_parameters, replace_rows


def recognised(graph: Graph) -> tuple[Graph, dict[int, int]]:
    """The same network with its composed forms replaced.

    Returns:
        The graph, and for each value of the old one that is left its id in the new one.
    """
    rewriter = Rewriter(graph)
    leave_out_unread(rewriter)
    move_parameters_out(rewriter)
    split_batches(rewriter)
    join_views(rewriter)
    with torch.device("cpu"):  # a network may be traced on another by default
        replace_rows(rewriter)
        replace_activations(rewriter)
    replace_group_norms(rewriter)
    absorb_parameters(rewriter)
    gather_scales(rewriter)
    return rewriter.graph()
