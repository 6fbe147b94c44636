"""HTML pages that stand alone in one file: one look for every report."""

from __future__ import annotations

import base64
from pathlib import Path

import jinja2
from markupsafe import Markup

MEDIA_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".svg": "image/svg+xml"}
"""Kinds of image files that a page can hold."""

BASE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{{ title }}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 68rem; padding: 0 1rem;
overflow-wrap: break-word; color: #1d2733; background: #fff; }
h1, h2, h3 { line-height: 1.25; }
table { border-collapse: collapse; margin: 1rem 0; }
caption { text-align: left; font-size: .85rem; color: #51606f; padding-bottom: .3rem; }
th, td { border-bottom: 1px solid #ddd; padding: .3rem .7rem; text-align: left; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
td.number { white-space: nowrap; }
.scroll { overflow-x: auto; }
img, video { max-width: 100%; height: auto; }
code, pre { background: #f4f4f4; overflow-wrap: anywhere; }
pre { white-space: pre-wrap; }
a { color: #0b57a4; }
.warning { color: #a40000; }
{{ style }}
</style></head>
<body>
<main>
<h1>{{ title }}</h1>
{{ body }}
</main>
</body></html>
"""

_environment = jinja2.Environment(
    autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
)


def render_page(title: str, template: str, *, style: str = "", **values: object) -> str:
    """Return a whole page.

    Args:
        title: Title and first heading.
        template: Jinja2 template of the page below the heading; a value is escaped unless it is
            `Markup`.
        style: CSS in addition to that of all pages.
        values: The values that the template names.

    Raises:
        jinja2.UndefinedError: If the template names a value that is missing.
    """
    page = _environment.from_string(BASE)
    body = _scrolling(render_part(template, **values))
    return page.render(title=title, body=body, style=Markup(style))


def render_part(template: str, **values: object) -> Markup:
    """Return a part of a page, for another template; values are escaped as in `render_page`."""
    return Markup(_environment.from_string(template).render(**values))


def _scrolling(body: Markup) -> Markup:
    """Return a page's body in which a table that is wider than a phone scrolls by itself.

    Its box can be reached by keyboard, which scrolls it then.
    """
    opened = body.replace(
        Markup("<table"), Markup('<div class="scroll" tabindex="0"><table')
    )
    return opened.replace(Markup("</table>"), Markup("</table></div>"))


def data_uri(file: Path) -> str:
    """Return an image file as a data URI, so that the page needs no other file."""
    content = base64.b64encode(file.read_bytes()).decode()
    return f"data:{MEDIA_TYPES[file.suffix]};base64,{content}"
