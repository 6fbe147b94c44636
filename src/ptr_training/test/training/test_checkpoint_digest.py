"""A checkpoint carries its own digest: whatever bit is changed, it is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ptr_training.training import checkpoint
from ptr_training.training.checkpoint import CheckpointError, load_checkpoint

VALUES = {"weights": torch.arange(500, dtype=torch.float32), "format_version": 0}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    file = tmp_path_factory.mktemp("digest") / "plain.pt"
    torch.save(VALUES, file)
    checkpoint._write_with_digest(file, memoryview(file.read_bytes()))
    return file.read_bytes()


def test_pytorch_reads_a_file_with_its_digest(written: bytes, tmp_path: Path) -> None:
    (tmp_path / "step_1.pt").write_bytes(written)
    values = torch.load(tmp_path / "step_1.pt", weights_only=True)
    assert torch.equal(values["weights"], VALUES["weights"])
    with pytest.raises(CheckpointError, match="format_version is 0"):
        load_checkpoint(tmp_path / "step_1.pt")  # the digest itself is right


def test_any_changed_bit_is_refused_by_the_name_of_the_file(
    written: bytes, tmp_path: Path
) -> None:
    file = tmp_path / "step_1.pt"
    places = [*range(0, len(written), 97), *range(len(written) - 100, len(written))]
    for place in places:
        content = bytearray(written)
        content[place] ^= 0x40
        file.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"step_1\.pt(:| is).*use an earlier one"):
            checkpoint._check_digest(file)


@pytest.mark.parametrize("size", [0, 1, 50, 2000])
def test_truncated_file_is_refused(written: bytes, tmp_path: Path, size: int) -> None:
    (tmp_path / "step_1.pt").write_bytes(written[:size])
    with pytest.raises(CheckpointError, match="truncated or not a checkpoint"):
        load_checkpoint(tmp_path / "step_1.pt")


def test_file_of_before_digests_is_read(tmp_path: Path) -> None:
    torch.save(VALUES, tmp_path / "step_1.pt")
    checkpoint._check_digest(tmp_path / "step_1.pt")
