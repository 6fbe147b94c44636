"""A GPU that has no memory left: one sentence says what takes it and what to lower."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from ptr_common.cli import main
from ptr_training.agents import CQL


@pytest.mark.parametrize(
    ("replay", "advice"),
    [
        ("mapped", "--set batch_size=4, a smaller network.encoder"),
        ("device", "--set replay=mapped, then --set batch_size=4, a smaller"),
    ],
)
def test_memory_that_runs_out_is_explained(
    tmp_path: Path,
    preset: str,
    make_store,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    replay: str,
    advice: str,
) -> None:
    def run_out(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(CQL, "learn", run_out)
    where = ["--data", str(make_store("prior")), "--out", str(tmp_path / "run")]
    settings = ["--set", f"replay={replay}", "--set", "batch_size=8"]
    assert main(["pretrain", "--config", preset, *where, *settings]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    size = r"[\d.e-]+ GiB"
    assert re.search(
        rf"cpu has no memory left: frames {size} \(replay={replay}\), network {size}, its "
        rf"gradients and optimisers {size} \(network.encoder=small\), "
        rf"16 images of \d+x\d+ {size} \(batch_size=8\)",
        said,
    )
    assert advice in said
    assert ("frames 0 GiB" in said) == (replay == "mapped")


def test_frames_that_do_not_fit_are_named(
    tmp_path: Path, preset: str, make_store, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    def run_out(*_: object) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr("ptr_training.data.replay.Replay.to_device", run_out)
    where = ["--data", str(make_store("prior")), "--out", str(tmp_path / "run")]
    assert main(["pretrain", "--config", preset, *where, "--set", "replay=device"]) == 2
    assert "Lower it with --set replay=mapped, then" in capsys.readouterr().err
