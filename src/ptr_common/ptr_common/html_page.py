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
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 68rem; padding: 0 1rem; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { border-bottom: 1px solid #ddd; padding: .3rem .7rem; text-align: left; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
img { max-width: 100%; }
code, pre { background: #f4f4f4; }
.warning { color: #a40000; }
{{ style }}
</style></head>
<body>
<h1>{{ title }}</h1>
{{ body }}
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
    body = Markup(_environment.from_string(template).render(**values))
    page = _environment.from_string(BASE)
    return page.render(title=title, body=body, style=Markup(style))


def data_uri(file: Path) -> str:
    """Return an image file as a data URI, so that the page needs no other file."""
    content = base64.b64encode(file.read_bytes()).decode()
    return f"data:{MEDIA_TYPES[file.suffix]};base64,{content}"
