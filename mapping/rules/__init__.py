"""One rule for each aten operator that has a canonical form, by family."""

from collections.abc import Mapping

from lanewise.mapping.canonical import Rule
from lanewise.mapping.rules import elementwise, movement, ordering, products, rows, windows

RULES: Mapping[str, Rule] = {
    name: rule
    for family in (elementwise, movement, ordering, products, rows, windows)
    for name, rule in family.RULES.items()
}
"""By aten name, without the underscore of in-place forms."""
