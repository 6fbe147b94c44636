"""Documents of anybody are bounded, and a wrong value is named with its file and its field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from ptr_common.documents import Fields, parse_json, parse_yaml, read_json, read_yaml
from ptr_common.errors import PtrError

VALUES: dict[str, Any] = {
    "text": "a",
    "texts": ["a", "b"],
    "whole": 3,
    "part": 0.5,
    "parts": [1, 2.5],
    "flag": True,
    "table": {"x": 1},
    "tables": [{"x": 1}],
}


def _take(fields: Fields) -> tuple[Any, ...]:
    return (
        fields.text("text", filled=True),
        fields.texts("texts"),
        fields.integer("whole", 1, 5),
        fields.number("part", 0.0, 1.0),
        fields.numbers("parts", 2),
        fields.flag("flag"),
        fields.table("table").integer("x", 0, 1),
        fields.tables("tables"),
    )


def test_values_of_the_right_kind_are_taken() -> None:
    taken = ("a", ("a", "b"), 3, 0.5, (1.0, 2.5), True, 1, [{"x": 1}])
    assert _take(Fields(VALUES, "f.json", PtrError)) == taken


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, None) for name in VALUES),
        *((name, float("nan")) for name in VALUES),
        *((name, [["x"]]) for name in VALUES),
        *((name, {1: 2}) for name in VALUES),
        ("text", " "),
        ("text", 5),
        ("texts", "ab"),
        ("whole", True),
        ("whole", 3.0),
        ("whole", "3"),
        ("whole", 6),
        ("whole", 10**400),
        ("part", float("inf")),
        ("part", "0.5"),
        ("parts", [1]),
        ("parts", [1, float("inf")]),
        ("flag", 1),
        ("tables", [{"x": 1}, 2]),
    ],
)
def test_wrong_value_is_refused_by_file_and_field(name: str, value: Any) -> None:
    fields = Fields({**VALUES, name: value}, "f.json", PtrError, remedy="copy it again")
    with pytest.raises(
        PtrError, match=rf"f\.json: {name} is .*expected .*\(copy it again\)"
    ):
        _take(fields)


@pytest.mark.parametrize("name", VALUES)
def test_missing_value_is_named(name: str) -> None:
    values = {key: value for key, value in VALUES.items() if key != name}
    with pytest.raises(PtrError, match=rf"f\.json is incomplete: it lacks {name}"):
        _take(Fields(values, "f.json", PtrError))


def test_nested_field_is_named_with_its_table() -> None:
    fields = Fields({"camera": {"width": 0}}, "f.json", PtrError)
    with pytest.raises(PtrError, match=r"f\.json: camera\.width is 0; expected a whole"):
        fields.table("camera").integer("width", 1, 9)
    with pytest.raises(PtrError, match="the document is 5; expected a table"):
        Fields(5, "f.json", PtrError)


def test_document_that_is_nested_too_deep_is_refused() -> None:
    with pytest.raises(ValueError, match="nested too deep"):
        parse_json("[" * 100_000)
    with pytest.raises(yaml.YAMLError, match="nested deeper"):
        parse_yaml("[" * 1000 + "]" * 1000)
    with pytest.raises(yaml.YAMLError, match="nested deeper"):
        parse_yaml("- " * 50_000)
    assert parse_yaml("[" * 60 + "]" * 60) is not None


def test_aliases_are_counted_written_out() -> None:
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    for level in range(1, 8):
        many = ", ".join([f"*a{level - 1}"] * 10)
        levels.append(f"a{level}: &a{level} [{many}]")
    with pytest.raises(yaml.YAMLError, match="its aliases written out"):
        parse_yaml("\n".join(levels))
    assert parse_yaml("\n".join(levels[:3]))["a2"][9][9] == ["x"] * 10
    with pytest.raises(yaml.YAMLError):
        parse_yaml("a: &a [*a]")


@pytest.mark.parametrize(
    "text", ["a: 2001-99-99", "? [1]\n: 2", "a: !!python/name:os.system"]
)
def test_value_that_cannot_be_built_is_no_document(text: str) -> None:
    with pytest.raises(yaml.YAMLError):
        parse_yaml(text)


def test_file_is_named_in_every_error(tmp_path: Path) -> None:
    with pytest.raises(PtrError, match=r"x\.json cannot be read: No such file"):
        read_json(tmp_path / "x.json", PtrError)
    (tmp_path / "x.json").write_bytes(b"\xff{")
    with pytest.raises(PtrError, match=r"x\.json is truncated or not JSON"):
        read_json(tmp_path / "x.json", PtrError)
    with pytest.raises(PtrError, match=r"x\.json cannot be read"):
        read_yaml(tmp_path / "x.json", PtrError)


def test_unknown_entry_is_named_with_its_table_and_the_nearest_name() -> None:
    fields = Fields({"inner": {"hight": 1}}, "file", PtrError).table("inner")
    with pytest.raises(PtrError, match=r"entry inner\.hight; did you mean height"):
        fields.refuse_unknown(("height", "width"))
    fields.refuse_unknown(("hight",))
