"""Camera calibrations of this machine, in `~/.config/ptr/cameras.yaml`. ROS is not imported."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from ptr_common.documents import parse_yaml
from ptr_common.errors import PtrError
from ptr_common.files import atomic_file
from ptr_common.stamps import camera_latency


class CalibrationError(PtrError):
    """A calibration cannot be read or made."""


@dataclass(frozen=True)
class CameraCalibration:
    """The calibration of one camera: one entry of the file.

    Attributes:
        latency: Header stamp minus time of exposure [s].
        uncertainty: Standard error of the latency [s].
        correlation: Correlation of image change and joint motion at this latency.
        rate: Images per second during the calibration [Hz].
        date: UTC, ISO 8601.
        device: Device that the driver reads, by its own parameters.
    """

    latency: float
    uncertainty: float = 0.0
    correlation: float = 0.0
    rate: float = 0.0
    date: str = ""
    device: str = ""


def calibration_file() -> Path:
    """Return the file of this machine and user, whether it exists or not."""
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return config / "ptr" / "cameras.yaml"


def read_calibration(camera: str, file: Path | None = None) -> CameraCalibration | None:
    """Return the calibration of a camera; None if there is none.

    Args:
        camera: Name of the camera.
        file: File to read; `calibration_file()` by default.

    Raises:
        CalibrationError: If the file or the camera's entry is damaged.
    """
    file = file or calibration_file()
    entries = _read(file)
    if camera not in entries:
        return None
    entry = entries[camera]
    names = [field.name for field in fields(CameraCalibration)]
    is_valid = isinstance(entry, dict) and "latency" in entry and entry.keys() <= set(names)
    if not is_valid:
        raise CalibrationError(
            f"{file}: the entry of {camera} is {entry!r}; "
            f"it must have latency [s], may have {names}"
        )
    try:
        return CameraCalibration(**{**entry, "latency": camera_latency(entry["latency"])})
    except ValueError as error:
        raise CalibrationError(
            f"{file}: {camera}: {error}; correct it, or run `ptr calibrate camera` again"
        ) from error


def write_calibration(camera: str, calibration: CameraCalibration, file: Path) -> None:
    """Write the calibration of a camera; the entries of other cameras stay.

    Args:
        camera: Name of the camera.
        calibration: Its calibration.
        file: File to write; it is made if it does not exist.

    Raises:
        CalibrationError: If the file exists and is damaged.
    """
    entries = {**_read(file), camera: asdict(calibration)}
    with atomic_file(file) as path:
        path.write_text(yaml.safe_dump(entries, sort_keys=False), encoding="utf-8")


def _read(file: Path) -> dict[str, Any]:
    try:
        entries = parse_yaml(file.read_bytes())
    except FileNotFoundError:
        return {}
    except yaml.YAMLError as error:
        raise CalibrationError(
            f"{file} cannot be read: {error}; correct or remove it"
        ) from error
    if entries is None:
        return {}
    if not isinstance(entries, dict):
        raise CalibrationError(
            f"{file} holds a {type(entries).__name__}; "
            "it must map names of cameras to their entries"
        )
    return entries
