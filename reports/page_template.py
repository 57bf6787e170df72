"""The pages' templates: HTML in ``templates/``, strict about names, with the filters that pages share."""

from collections.abc import Callable
from importlib.resources import files

from jinja2 import Environment, StrictUndefined, Template


def page_template(name: str, **filters: Callable[..., str]) -> Template:
    """The template ``name`` with ``count`` (whole numbers in groups of three digits) and the page's own filters."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["count"] = lambda value: f"{value:,.0f}"
    environment.filters.update(filters)
    return environment.from_string(
        (files("lanewise.reports") / "templates" / name).read_text(encoding="utf-8")
    )
