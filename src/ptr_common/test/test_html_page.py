"""HTML pages: whole, escaped, without other files."""

from __future__ import annotations

from pathlib import Path

import jinja2
import pytest

from ptr_common.html_page import data_uri, render_page, render_part


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


def test_a_table_scrolls_by_itself_and_is_reached_by_keyboard() -> None:
    page = render_page("t", "<table><tr><td>{{ name }}</td></tr></table>", name="<table>")
    assert '<div class="scroll" tabindex="0"><table><tr><td>&lt;table&gt;' in page
    assert page.count('class="scroll"') == 1


def test_a_part_is_markup_for_another_template() -> None:
    part = render_part("<b>{{ name }}</b>", name="a & b")
    assert "<p><b>a &amp; b</b></p>" in render_page("t", "<p>{{ part }}</p>", part=part)
