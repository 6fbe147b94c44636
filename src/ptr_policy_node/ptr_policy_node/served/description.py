"""`served.yaml`: a policy that runs behind a server, described as a bundle describes its own.

It stands wherever a bundle's folder may. Only `protocol`, `url`, `tasks` and `camera` must be
there; `docs/design.md` lists the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from ptr_common.action_space import CONTROL_RATE
from ptr_common.documents import Fields, parse_yaml, read_document
from ptr_policy_node.bundle_info import (
    MAX_PIXELS,
    MAX_WINDOW,
    BundleError,
    BundleInfo,
    CameraSpec,
)

SUFFIXES = (".yaml", ".yml")
"""How the name of a description ends; a bundle is a folder."""

SCHEMES = {"openpi": ("ws", "wss"), "openvla": ("http", "https")}
"""The protocols, and how their addresses begin."""

MAX_SAMPLES = 64
"""Most answers that are asked for at one observation."""

MAX_DEADLINE = 60_000.0
"""Longest time in which an answer may come [ms]; in-process evaluation can wait that long."""

UNIT = (1e-6, 1e6)
"""Range of a unit [m or rad]."""

ENTRIES = (
    *("protocol", "url", "token_file", "tasks", "camera", "image", "rate", "execute"),
    *("deadline_ms", "observation", "action", "unnorm_key", "metadata", "rerank"),
)


@dataclass(frozen=True)
class Keys:
    """Names of what an observation of openpi's protocol holds."""

    image: str = "image"
    state: str = "state"
    prompt: str = "prompt"


@dataclass(frozen=True)
class Units:
    """What the numbers of an answered action mean."""

    translation: float = 1.0  # [m] of one unit
    rotation: float = 1.0  # [rad] of one unit
    closed: float = 0.0  # gripper value of a closed gripper
    open: float = 1.0  # of an open one


@dataclass(frozen=True)
class Rerank:
    """The critic that chooses among several answers to one observation."""

    bundle: Path
    sha256: str  # full name that the bundle must have; empty: any
    samples: int
    record: Path | None  # table of all samples


@dataclass(frozen=True)
class Served:
    """A policy behind a server: what is asked where, and how its answers are read.

    Attributes:
        info: What a bundle would say; its image is the camera's.
        protocol: One of `SCHEMES`.
        url: Address of the server.
        token_file: File with the word that the server wants; None: it wants none.
        deadline: Longest time in which an answer may come [s].
        size: Height and width of the image that is sent [pixels].
        pad: Keep the ratio of its sides and add black ones, rather than stretch it.
        keys: Names of what is sent.
        units: Of what is answered.
        unnorm_key: Name of the statistics that OpenVLA scales its actions by; empty: none.
        metadata: What the server must say of itself.
        rerank: Chooses among several answers; None: the only answer is taken.
    """

    info: BundleInfo
    protocol: str
    url: str
    token_file: Path | None
    deadline: float
    size: tuple[int, int]
    pad: bool
    keys: Keys
    units: Units
    unnorm_key: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    rerank: Rerank | None = None

    def token(self) -> str:
        """Return the word that the server wants; empty: none.

        Raises:
            BundleError: If its file cannot be read.
        """
        if self.token_file is None:
            return ""
        return read_document(self.token_file, BundleError).decode(errors="replace").strip()


def is_served(path: Path) -> bool:
    """Return whether a path is that of a description, rather than of a bundle's folder."""
    return path.suffix in SUFFIXES and not path.is_dir()


def read_served(path: Path) -> tuple[Served, bytes]:
    """Return what a description says, and its content; nothing is asked of the server.

    Paths in it are relative to its folder.

    Raises:
        BundleError: If the file cannot be read, or a value is missing, unknown or not of its
            kind; the message names it.
    """
    content = read_document(path, BundleError)
    try:
        fields = Fields(parse_yaml(content), path, BundleError)
    except yaml.YAMLError as error:
        raise BundleError(f"{path} cannot be read: {error}") from error
    fields.refuse_unknown(ENTRIES)
    protocol = fields.text("protocol", allowed=tuple(SCHEMES))
    info, image = _info(fields, protocol), _table(fields, "image", "width", "height", "fit")
    token = fields.text("token_file", "")
    served = Served(
        info=info,
        protocol=protocol,
        url=_url(fields, protocol),
        token_file=path.parent / Path(token).expanduser() if token else None,
        deadline=fields.number("deadline_ms", 1.0, MAX_DEADLINE, 150.0) / 1000.0,
        size=(
            image.integer("height", 1, MAX_PIXELS, info.camera.height),
            image.integer("width", 1, MAX_PIXELS, info.camera.width),
        ),
        pad=image.text("fit", "stretch", allowed=("stretch", "pad")) == "pad",
        keys=_keys(fields),
        units=_units(fields),
        unnorm_key=fields.text("unnorm_key", ""),
        metadata=fields.table("metadata", {}).values,
        rerank=_rerank(fields, path.parent) if "rerank" in fields.values else None,
    )
    return served, content


def _table(fields: Fields, name: str, *entries: str) -> Fields:
    """Return a table that may be left out, with no other entries than these."""
    table = fields.table(name, {})
    table.refuse_unknown(entries)
    return table


def _info(fields: Fields, protocol: str) -> BundleInfo:
    """Return what the bundle of the policy would say."""
    camera = fields.table("camera")
    camera.refuse_unknown(("name", "width", "height"))
    spec = CameraSpec(
        camera.text("name", filled=True),
        camera.integer("width", 1, MAX_PIXELS),
        camera.integer("height", 1, MAX_PIXELS),
    )
    tasks = fields.texts("tasks")
    if not tasks or not all(tasks) or len(set(tasks)) < len(tasks):
        fields.refuse("tasks", "different names, at least one")
    highest = 1 if protocol == "openvla" else MAX_WINDOW  # it answers one action
    return BundleInfo(
        agent=f"served by {protocol}",
        camera=spec,
        image_height=spec.height,
        image_width=spec.width,
        rate=fields.number("rate", 0.01, 1000.0, CONTROL_RATE),
        tasks=tasks,
        command="requested",
        data={},
        checkpoint={"path": fields.text("url", filled=True)},
        code_version="",
        execute=fields.integer("execute", 1, highest, 1),
    )


def _url(fields: Fields, protocol: str) -> str:
    url = fields.text("url", filled=True)
    schemes = SCHEMES[protocol]
    try:
        parts = urlsplit(url)
        fits = parts.scheme in schemes and parts.hostname and parts.port != 0
    except ValueError:  # a port that is no number
        fits = False
    if not fits:
        beginnings = " or ".join(f"{scheme}://HOST:PORT" for scheme in schemes)
        fields.refuse("url", f"an address of {protocol}, {beginnings}")
    return url


def _keys(fields: Fields) -> Keys:
    names = _table(fields, "observation", "image", "state", "prompt")
    usual = Keys()
    return Keys(
        names.text("image", usual.image, filled=True),
        names.text("state", usual.state, filled=True),
        names.text("prompt", usual.prompt, filled=True),
    )


def _units(fields: Fields) -> Units:
    action = _table(fields, "action", "translation", "rotation", "gripper")
    usual = Units()
    closed, opened = usual.closed, usual.open
    if "gripper" in action.values:
        closed, opened = action.numbers("gripper", 2)
    if closed == opened:
        action.refuse("gripper", "two different values: [closed, open]")
    return Units(
        action.number("translation", *UNIT, usual.translation),
        action.number("rotation", *UNIT, usual.rotation),
        closed,
        opened,
    )


def _rerank(fields: Fields, folder: Path) -> Rerank:
    table = _table(fields, "rerank", "bundle", "sha256", "samples", "record")
    record = table.text("record", "")
    return Rerank(
        folder / Path(table.text("bundle", filled=True)).expanduser(),
        table.text("sha256", ""),
        table.integer("samples", 2, MAX_SAMPLES),
        folder / Path(record).expanduser() if record else None,
    )
