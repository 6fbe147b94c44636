"""`ptr import` after a stop: the same command goes on, to the same bytes."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from prior_data import (
    DATED,
    Demonstration,
    example,
    folder_contents,
    import_request,
    rlds_payloads,
    write_raw,
    write_rlds,
    write_shard,
)

from ptr_training.data.episode import StoreError
from ptr_training.data.store import EpisodeStore
from ptr_training.errors import TrainingError
from ptr_training.importers.formats import FORMATS
from ptr_training.importers.import_store import import_store


def stop_at(tmp_path: Path, number: int, count: int = 5) -> Path:
    """Import a shard with a damaged record, so that those before are kept; return it, repaired."""
    file = write_rlds(tmp_path, count)
    whole, bad = file.read_bytes(), bytearray(file.read_bytes())
    bad[FORMATS["rlds"].find([file])[number].offset + 200] ^= 1
    file.write_bytes(bad)
    with pytest.raises(TrainingError, match=f"record {number}: the checksum of its data"):
        import_store(import_request(tmp_path, file))
    file.write_bytes(whole)
    return file


def test_stopped_import_goes_on_to_equal_bytes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import_store(
        import_request(tmp_path, write_rlds(tmp_path), out=tmp_path / "whole" / "store")
    )
    file = stop_at(tmp_path, 3)
    assert "3 records are kept in" in capsys.readouterr().err
    bad = bytearray(file.read_bytes())
    bad[200] ^= 1  # whether the import begins again shows in whether it meets this
    file.write_bytes(bad)
    import_store(import_request(tmp_path, file))
    assert folder_contents(tmp_path / "store") == folder_contents(tmp_path / "whole/store")


def test_killed_import_goes_on_to_equal_bytes(tmp_path: Path) -> None:
    for number in range(12):
        write_raw(tmp_path / "prior", Demonstration.make(2, seed=number), number)
    options = ["--image-size", "8", "--workers", "1"]
    command = [
        sys.executable,
        "-m",
        "ptr_common.cli",
        "import",
        "bridge-raw",
        str(tmp_path / "prior"),
        *options,
    ]
    assert (
        subprocess.run(
            [*command, "--out", str(tmp_path / "whole/store")], check=False, timeout=60
        ).returncode
        == 0
    )
    gate = tmp_path / "prior" / DATED / "raw/traj_group0/traj9/policy_out.pkl"
    content = gate.read_bytes()
    gate.unlink()
    os.mkfifo(gate)  # the import stops here until somebody writes
    process = subprocess.Popen(
        [*command, "--out", str(tmp_path / "store")], stderr=subprocess.DEVNULL
    )
    with gate.open("wb"):
        process.send_signal(signal.SIGKILL)
        assert process.wait(60) == -signal.SIGKILL
    gate.unlink()
    gate.write_bytes(content)
    journal = (tmp_path / ".store.partial/journal.jsonl").read_text().splitlines()
    assert (
        len(journal) == 1 + 8
    )  # of what the process was given at a time, the first part was done
    assert not (tmp_path / "store").exists()
    assert (
        subprocess.run(
            [*command, "--out", str(tmp_path / "store")], check=False, timeout=60
        ).returncode
        == 0
    )
    assert folder_contents(tmp_path / "store") == folder_contents(tmp_path / "whole/store")
    EpisodeStore.open(tmp_path / "store").check_pixels()


def test_other_options_or_sources_do_not_go_on(tmp_path: Path) -> None:
    file = stop_at(tmp_path, 3)
    with pytest.raises(
        StoreError,
        match=r"\.store\.partial was begun with image_size \[8, 8\], now it is \[16, 16\]",
    ):
        import_store(
            import_request(tmp_path, file, info={"image_height": 16, "image_width": 16})
        )
    file.rename(file.with_name("y.tfrecord"))
    with pytest.raises(
        StoreError,
        match=r"begun with record 0 being x\.tfrecord-00000-of-00001#0 \(\d+ bytes\), now it is y",
    ):
        import_store(import_request(tmp_path, file.with_name("y.tfrecord")))
    write_shard(file, rlds_payloads(2))
    with pytest.raises(
        StoreError,
        match=r"record 2 being x\.\S+#2 \(\d+ bytes\), now it is missing; restore the sources",
    ):
        import_store(import_request(tmp_path, file))


def test_skipped_bad_records_stay_bad_for_who_does_not_skip_them(
    tmp_path: Path, full_disk: Callable[[], contextlib.AbstractContextManager[None]]
) -> None:
    good = rlds_payloads(12)
    file = write_shard(
        tmp_path / "prior/x.tfrecord", [good[0], example({"x": [1]}), *good[1:]]
    )
    with pytest.raises(OSError, match="File too large"), full_disk():
        import_store(import_request(tmp_path, file, skip_bad=True))
    assert (tmp_path / ".store.partial").is_dir()
    with pytest.raises(TrainingError, match="record 1: no RLDS episode"):
        import_store(import_request(tmp_path, file))
    assert import_store(import_request(tmp_path, file, skip_bad=True))["fates"] == {
        "used": 12,
        "bad": 1,
    }
