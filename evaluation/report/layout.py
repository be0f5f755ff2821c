"""How a page is made of a template: one file that loads nothing."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup, escape

from dosewright.evaluation.answer import number
from dosewright.evaluation.report import cells
from dosewright.evaluation.report.checklists import AUTHORS


def page(template: str, **values: Any) -> str:
    """Return a page as one self-contained HTML text.

    Templates extend ``base.html``, which has the head, the question, the answer, the checklists and where the
    numbers come from, and take what several pages show from ``parts.html``.

    Parameters
    ----------
    template
        File of this package.
    values
        What the template asks for; a name that it lacks is an error.
    """
    return _pages().get_template(template).render(**values)


@cache
def _pages() -> Environment:
    package = files("dosewright.evaluation.report")
    pages = Environment(
        loader=FunctionLoader(lambda name: (package / name).read_text(encoding="utf-8")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.globals.update(
        css=Markup((package / "report.css").read_text(encoding="utf-8")),
        authors=AUTHORS,
        count="{:,}".format,
        estimate=cells.estimate_cell,
        difference=cells.difference_cell,
        level=number,
        time=cells.time_cell,
        ratio=cells.ratio_cell,
        needed=cells.needed_cell,
        rate=cells.rate_cell,
        gap=cells.gap_cell,
        p=cells.p_words,
    )
    pages.filters["marked"] = _marked
    return pages


def _marked(words: str) -> Markup:
    """Words in which names stand between backticks, as scenario files write them."""
    return Markup(re.sub("`(.+?)`", r"<code>\1</code>", str(escape(words))))
