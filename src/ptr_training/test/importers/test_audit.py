"""The audit of an import: one status for every record, and the text for a terminal."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from prior_data import (
    FOLDER,
    Demonstration,
    example,
    import_request,
    rlds_features,
    rlds_payloads,
    write_raw,
    write_shard,
)

from ptr_training.data.store import EpisodeStore
from ptr_training.importers.audit import audit_text
from ptr_training.importers.base import ImportOptions
from ptr_training.importers.import_store import import_store

OPTIONS = ImportOptions()


def test_every_record_has_one_status_and_they_add_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = rlds_payloads(3)
    black = cv2.imencode(".jpg", np.zeros((24, 32, 3), np.uint8))[1].tobytes()
    other = f"/x/{FOLDER}_in_sink/train/out.npy".encode()
    records = [
        *good,
        good[1],
        *rlds_payloads(
            1,
            **{
                "steps/observation/image_0": [black] * 4,
                "episode_metadata/episode_id": [50],
            },
        ),
        *rlds_payloads(1, **{"episode_metadata/file_path": [other]}),
        example(
            rlds_features(Demonstration.make(7, seed=9), 2)
        ),  # not the one that has this name
        example({"actions": [1.0]}),
        example(rlds_features(Demonstration.make(4), 60)),
        example(rlds_features(Demonstration.make(4), 61)),
    ]
    file = write_shard(tmp_path / "prior/x.tfrecord", records)
    options = replace(OPTIONS, exclude=("in_sink",))
    audit = import_store(
        import_request(tmp_path, file, options=options, skip_bad=True, limit=4)
    )
    assert audit["fates"] == {
        "used": 4,
        "bad": 2,
        "duplicate": 1,
        "without this camera": 1,
        "excluded": 1,
        "over the limit": 1,
    }
    assert sum(audit["fates"].values()) == audit["total"] == len(records)
    assert [entry["fate"] for entry in audit["records"]].count("used") == len(
        EpisodeStore.open(tmp_path / "store")
    )
    printed = audit_text(audit)
    assert "10 records: 4 used, 2 bad" in printed
    assert (
        f"x.tfrecord#6 is bad: another record is {FOLDER}/train/out.npy#2 too, with other content"
        in printed
    )
    assert "x.tfrecord#7 is bad: no RLDS episode of BridgeData" in printed
    assert (tmp_path / "store/audit.json").read_text() == json.dumps(audit, indent=1) + "\n"


def test_folders_that_hold_several_tasks_are_named(tmp_path: Path) -> None:
    for number, language in enumerate(("put it here", "put it there", "Put it_there")):
        write_raw(
            tmp_path / "prior",
            Demonstration.make(2, seed=number),
            number,
            language=language,
        )
    audit = import_store(import_request(tmp_path, tmp_path / "prior", format="bridge-raw"))
    assert (
        "1 of the tasks have several instructions ('put carrot on plate': 2): --task-from language"
        in audit_text(audit)
    )
    by_language = replace(OPTIONS, task_from="language")
    audit = import_store(
        import_request(
            tmp_path,
            tmp_path / "prior",
            format="bridge-raw",
            out=tmp_path / "b",
            options=by_language,
        )
    )
    assert EpisodeStore.open(tmp_path / "b").tasks == ("put it here", "put it there")
    assert "several instructions" not in audit_text(audit)


def test_long_tables_are_cut(tmp_path: Path) -> None:
    entries = [
        {
            "record": f"r{n}",
            "fate": "used",
            "task": f"t{n}",
            "named": f"t{n}",
            "steps": 1,
            "language": [],
        }
        for n in range(30)
    ] + [{"record": f"b{n}", "fate": "bad", "reason": "x"} for n in range(30)]
    audit = {
        "records": entries,
        "steps": 30,
        "clipped": 0,
        "total": 60,
        "fates": {},
        "notes": {},
        "task_from": "folder",
    }
    printed = audit_text(audit | {"task_map": {}}).splitlines()
    assert len(printed) < 60
    assert "… and 10 more tasks" in [line.strip() for line in printed]
    assert "… and 10 more, see audit.json" in printed
