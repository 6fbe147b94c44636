"""The fuzzer finds what is wrong, and some of its inputs of every light format are refused."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fuzz import EVIL, SECONDS, damage_document, outcome_of
from fuzz_formats import FORMATS, Format

from ptr_common.errors import PtrError

LIGHT = ("store", "store-sealed", "run", "raw", "numpy", "rlds")


@pytest.fixture(autouse=True)
def _timer() -> Iterator[None]:
    """Leave the timer of processor time as it was."""
    before = signal.getsignal(signal.SIGPROF)
    signal.signal(signal.SIGPROF, lambda *_: pytest.fail(f"more than {SECONDS} s"))
    yield
    signal.signal(signal.SIGPROF, before)


@pytest.mark.parametrize("format", FORMATS, ids=lambda format: str(format.name))
def test_damaged_files_are_refused_or_read_as_they_were(
    format: Format, tmp_path: Path
) -> None:
    if format.name not in LIGHT:
        pytest.skip("takes seconds: make fuzz")
    format.make(tmp_path)
    expected = format.read(tmp_path)
    for number in range(12):
        assert outcome_of(format, number, tmp_path, expected) == "", number


def _lines(folder: Path) -> list[str]:
    try:
        return (folder / "a.txt").read_text().splitlines()
    except UnicodeDecodeError as error:
        raise PtrError("not text") from error


def test_fuzzer_notices_tracebacks_and_altered_values(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("some text\n" * 5)
    lax = Format("lax", lambda _: None, ("a.txt",), _lines, sealed=True)
    wrong = {outcome_of(lax, number, tmp_path, _lines(tmp_path)) for number in range(20)}
    assert "an altered value was accepted" in wrong
    broken = replace(lax, read=lambda folder: 1 // 0)
    assert outcome_of(broken, 0, tmp_path, None).startswith("ZeroDivisionError")


def test_documents_stay_documents_whatever_value_is_changed() -> None:
    import json

    import numpy as np

    content = json.dumps({"a": [1, {"b": "x"}], "c": None}).encode()
    for seed in range(4 * len(EVIL)):
        json.loads(damage_document(content, ".json", np.random.default_rng(seed)))
