"""What was calibrated on this machine: one file, `~/.config/ptr/cameras.yaml`, one entry per camera. No ROS."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from ptr_common.camera_latency import camera_latency
from ptr_common.errors import PtrError
from ptr_common.files import atomic_file


class CalibrationError(PtrError):
    """A calibration cannot be read, or could not be made."""


@dataclass(frozen=True)
class CameraCalibration:
    """One entry of the file."""

    latency: float  # by how much a picture's stamp is later than the moment it shows [s]
    uncertainty: float = 0.0  # standard error of it [s]
    correlation: float = 0.0  # of pictures and motion at that latency
    rate: float = 0.0  # of the camera meanwhile [Hz]
    date: str = ""  # UTC, ISO 8601
    device: str = ""  # what the driver says it reads


def calibration_file() -> Path:
    """Return the file of this machine and user, whether it exists or not."""
    return (
        Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
        / "ptr"
        / "cameras.yaml"
    )


def read_calibration(camera: str, file: Path | None = None) -> CameraCalibration | None:
    """Return what is stored of a camera; None if nothing is.

    Args:
        camera: Its name.
        file: Where to look; `calibration_file()` by default.

    Raises:
        CalibrationError: If the file or the camera's entry is damaged.
    """
    file = file or calibration_file()
    entries = _read(file)
    if camera not in entries:
        return None
    entry, names = entries[camera], [field.name for field in fields(CameraCalibration)]
    if (
        not isinstance(entry, dict)
        or "latency" not in entry
        or not set(entry) <= set(names)
    ):
        raise CalibrationError(
            f"{file}: the entry of {camera} is {entry!r}; it must have latency [s], may have {names}"
        )
    try:
        return CameraCalibration(**{**entry, "latency": camera_latency(entry["latency"])})
    except ValueError as error:
        raise CalibrationError(
            f"{file}: {camera}: {error}; correct it, or run `ptr calibrate camera` again"
        ) from error


def write_calibration(camera: str, calibration: CameraCalibration, file: Path) -> None:
    """Store what was found of a camera; the entries of others stay.

    Raises:
        CalibrationError: If the file exists and is damaged.
    """
    entries = {**_read(file), camera: asdict(calibration)}
    with atomic_file(file) as path:
        path.write_text(yaml.safe_dump(entries, sort_keys=False), encoding="utf-8")


def _read(file: Path) -> dict[str, Any]:
    try:
        entries = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CalibrationError(
            f"{file} cannot be read: {error}; correct or remove it"
        ) from error
    if entries is None:
        return {}
    if not isinstance(entries, dict):
        raise CalibrationError(
            f"{file} holds a {type(entries).__name__}; it must map names of cameras to their entries"
        )
    return entries
