"""HTML pages: whole, escaped, without other files."""

from __future__ import annotations

from pathlib import Path

import jinja2
import pytest

from ptr_common.html_page import data_uri, render_page


def test_values_are_escaped_in_title_and_body() -> None:
    page = render_page("a < b", "<p>{{ name }}</p>", name="<script>")
    assert "<title>a &lt; b</title>" in page
    assert "<p>&lt;script&gt;</p>" in page
    assert "<script>" not in page


def test_a_value_that_the_template_lacks_is_an_error() -> None:
    with pytest.raises(jinja2.UndefinedError, match="name"):
        render_page("t", "{{ name }}")


def test_an_image_becomes_part_of_the_page(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"\x89PNG")
    assert data_uri(tmp_path / "x.png") == "data:image/png;base64,iVBORw=="
