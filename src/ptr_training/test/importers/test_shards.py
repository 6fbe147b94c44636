"""Imports in shards, merged: the same store to the byte; missing, foreign and damaged shards."""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from prior_data import (
    Demonstration,
    folder_contents,
    import_request,
    write_raw,
    write_rlds,
)

from ptr_common import cli
from ptr_common.errors import PtrError
from ptr_training.data.episode import StoreError
from ptr_training.errors import TrainingError
from ptr_training.importers.import_store import Request, import_store
from ptr_training.importers.shards import (
    Shard,
    find_shards,
    import_shard,
    merge_shards,
)


def shards_of(request: Request, count: int) -> list[Path]:
    """Read an import in so many shards, the last one first."""
    order = reversed(range(count))
    return [import_shard(request, Shard(index, count)) for index in order][::-1]


def with_repeats(root: Path) -> Path:
    """Write raw folders of which the second and the fifth are equal; return the folder."""
    for number, seed in enumerate((0, 1, 2, 3, 1, 4)):
        write_raw(root, Demonstration.make(3, seed=seed), number)
    return root


@pytest.mark.parametrize("count", [1, 2, 3, 5, 9])
def test_merged_store_is_equal_to_the_byte_for_any_number_of_shards(
    tmp_path: Path, count: int
) -> None:
    file = write_rlds(tmp_path, 5)
    request = import_request(tmp_path, file, out=tmp_path / "whole" / "store")
    audit = import_store(request)
    apart = replace(request, out=tmp_path / "apart" / "store")
    shards_of(apart, count)
    assert merge_shards(apart.out) == json.loads(json.dumps(audit))
    assert folder_contents(apart.out) == folder_contents(request.out)


def test_shards_that_two_processes_read_at_once_give_the_store_of_one(
    tmp_path: Path,
) -> None:
    source = with_repeats(tmp_path / "prior")
    options = ["--image-size", "8", "--workers", "1", "--out"]
    command = [sys.executable, "-m", "ptr_common.cli", "import", "bridge-raw", str(source)]
    out = str(tmp_path / "store")
    both = [
        subprocess.Popen([*command, *options, out, "--shard", f"{index}/2"])
        for index in (0, 1)
    ]
    assert [process.wait(timeout=60) for process in both] == [0, 0]
    assert cli.main(["merge", out]) == 0
    whole = tmp_path / "whole" / "store"
    assert cli.main([*command[3:], *options, str(whole)]) == 0
    assert folder_contents(tmp_path / "store") == folder_contents(whole)


def test_what_repeats_in_another_shard_is_decided_about_when_they_are_merged(
    tmp_path: Path,
) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    file = write_rlds(first, 4)
    second.mkdir()
    (second / file.name).write_bytes(file.read_bytes())
    request = import_request(tmp_path, first, out=tmp_path / "store")
    request = replace(request, sources=(first, second))
    shards_of(request, 3)
    audit = merge_shards(request.out)
    assert audit["fates"] == {"used": 4, "duplicate": 4}


def test_stopped_shard_goes_on(tmp_path: Path) -> None:
    source = with_repeats(tmp_path / "prior")
    request = Request("bridge-raw", (source,), tmp_path / "store", workers=1)
    gate = sorted(source.rglob("policy_out.pkl"))[4]
    content = gate.read_bytes()
    gate.write_bytes(b"")
    with pytest.raises(TrainingError, match="--skip-bad leaves damaged records out"):
        import_shard(request, Shard(1, 2))
    gate.write_bytes(content)
    import_shard(request, Shard(1, 2))
    import_shard(request, Shard(0, 2))
    merge_shards(request.out)
    whole = replace(request, out=tmp_path / "whole" / "store")
    import_store(whole)
    assert folder_contents(request.out) == folder_contents(whole.out)


@pytest.fixture
def request_(tmp_path: Path) -> Request:
    """Return a request of five records."""
    return import_request(tmp_path, write_rlds(tmp_path, 5), out=tmp_path / "store")


def test_missing_shard_is_named_with_the_command_that_reads_it(request_: Request) -> None:
    import_shard(request_, Shard(0, 3))
    with pytest.raises(
        TrainingError, match=r"3 shards 2 are missing.*: 1, 2; .*--shard 1/3"
    ):
        merge_shards(request_.out)
    assert not request_.out.exists()


def test_without_shards_the_option_that_makes_them_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"no shards.*--shard I/N"):
        find_shards(tmp_path / "store")


def test_shards_of_two_imports_are_refused(request_: Request) -> None:
    import_shard(request_, Shard(0, 2))
    import_shard(request_, Shard(1, 3))
    with pytest.raises(TrainingError, match="several imports, 1 of 2 and 1 of 3"):
        find_shards(request_.out)


def test_shards_with_other_options_are_refused(request_: Request) -> None:
    import_shard(request_, Shard(0, 2))
    licensed = {**request_.info, "licence": "CC BY 4.0"}
    import_shard(replace(request_, info=licensed), Shard(1, 2))
    with pytest.raises(StoreError, match="different imports: their info differs"):
        merge_shards(request_.out)


def test_a_limit_is_refused_with_a_shard(request_: Request) -> None:
    with pytest.raises(PtrError, match="--limit is 2"):
        import_shard(replace(request_, limit=2), Shard(0, 2))


@pytest.mark.parametrize("name", ["frames.npy", "steps.part", "journal.jsonl"])
@pytest.mark.parametrize("damage", ["flip", "flip at the start", "cut", "remove"])
def test_damaged_shard_is_refused(request_: Request, name: str, damage: str) -> None:
    shards_of(request_, 2)
    file = Shard(1, 2).folder(request_.out) / name
    data = bytearray(file.read_bytes())
    if damage == "remove":
        file.unlink()
    elif damage == "cut":
        file.write_bytes(data[:-10])
    else:
        data[180 if "start" in damage else -40] ^= 1
        file.write_bytes(data)
    with pytest.raises(PtrError, match=r"read the shard again"):
        merge_shards(request_.out)
    assert not request_.out.exists()


def test_wrong_value_in_a_journal_is_named(request_: Request) -> None:
    (folder,) = shards_of(request_, 1)
    journal = folder / "journal.jsonl"
    first, second, *rest = journal.read_text().splitlines()
    line = json.loads(second)
    line["note"]["picture"] = "large"
    made_of = {name: line[name] for name in ("episodes", "note")}
    before = json.dumps(json.loads(first)["made of"]) + json.dumps(made_of)
    line["digests"][2] = hashlib.sha256(before.encode()).hexdigest()
    journal.write_text("\n".join([first, json.dumps(line), *rest]) + "\n")
    with pytest.raises(StoreError, match=r"line 2: note\.picture is 'large'"):
        merge_shards(request_.out)


@pytest.mark.parametrize("text", ["", "1", "2/2", "-1/2", "0/0", "1/2/3", "a/b", "0/10000"])
def test_texts_that_name_no_shard_are_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="I from 0 to N - 1"):
        Shard.parse(text)


def test_parts_of_shards_hold_every_record_once() -> None:
    for total in range(12):
        for count in range(1, 8):
            parts = [
                range(total)[Shard(index, count).part(total)] for index in range(count)
            ]
            assert [number for part in parts for number in part] == list(range(total))
