"""Training configuration: typed dataclasses, a YAML preset over their defaults, `--set` over both.

A preset may name another one as its `base` and then holds only what differs, so that an
ablation is a few lines.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import yaml

from ptr_training.agents import AGENTS
from ptr_training.agents.agent import AgentConfig
from ptr_training.errors import TrainingError
from ptr_training.models.config import NetworkConfig

_PARENTS = Path(__file__).resolve().parents
PRESET_FOLDERS = (
    _PARENTS[4] / "config" / "train",
    _PARENTS[5] / "share" / "ptr_training" / "train",
)
"""Where presets are: in the source tree, or installed (by pip or colcon) beside lib/python3.x/site-packages."""

T = TypeVar("T")


@dataclass(frozen=True)
class AugmentConfig:
    """Image augmentation, drawn anew for s and for s'."""

    shift: int = 4  # pixels
    jitter: bool = True


@dataclass(frozen=True)
class StageConfig:
    """How long a stage of training runs and what it keeps."""

    steps: int = 160_000
    checkpoint_every: int = 20_000
    keep: int = 2  # newest checkpoints kept; 0 keeps all


@dataclass(frozen=True)
class FinetuneConfig(StageConfig):
    """The second stage."""

    keep: int = 0  # `ptr select` compares them all
    mix: float = 0.9  # fraction of prior transitions in a batch (paper §4.1: τ)
    holdout: int = 3  # target demonstrations kept from training, for `ptr select`


@dataclass(frozen=True)
class Config:
    """One experiment; the defaults are the official launch settings."""

    agent: AgentConfig  # the Config of one of AGENTS, chosen by `name`
    agent_name: str = "cql"
    network: NetworkConfig = field(default_factory=NetworkConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    pretrain: StageConfig = field(default_factory=StageConfig)
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    batch_size: int = 64
    reserve: int = 4  # free task ids for targets not yet named
    rewarded_steps: int = 0  # at the end of a demonstration (paper: 3, in the ablation 1); 0: as its store says
    min_action_std: float = (
        0.0  # action dimensions that vary less (scale -1..1) are not learnt
    )
    balance_actions: bool = (
        False  # weigh the dimensions of the cloning loss by their inverse variance
    )
    log_every: int = 100
    seed: int = 0
    device: str = "auto"  # auto, cpu, cuda
    threads: int = 0  # of the CPU; 0 leaves the choice to PyTorch
    bf16: bool = False  # encoders in bfloat16
    tf32: bool = True  # GPU: products of float32 with the mantissa of TF32, as TPUs round to bfloat16
    compile: bool = False  # encoders through torch.compile, which takes a minute at the start and pays on a GPU
    replay: str = "auto"  # frames: mapped from disk, on the device, or auto: on the device where they fit

    def __post_init__(self) -> None:
        mix = self.finetune.mix
        if not 0.0 <= mix < 1.0:
            raise TrainingError(
                f"finetune.mix is {mix}; it must be in [0, 1): the fraction of prior transitions"
            )
        if self.replay not in ("auto", "mapped", "device"):
            raise TrainingError(
                f"replay is {self.replay!r}; it must be auto, mapped or device"
            )
        if self.rewarded_steps < 0:
            raise TrainingError(
                f"rewarded_steps is {self.rewarded_steps}; it must be at least 0"
            )
        counts = {"batch_size": self.batch_size, "log_every": self.log_every}
        for stage in ("pretrain", "finetune"):
            counts |= {
                f"{stage}.{name}": getattr(getattr(self, stage), name)
                for name in ("steps", "checkpoint_every")
            }
        for name, value in counts.items():
            if value < 1:
                raise TrainingError(f"{name} is {value}; it must be at least 1")

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as `from_dict` reads them."""
        values = asdict(self)
        name = values.pop("agent_name")
        return {"agent": {"name": name, **values.pop("agent")}, **_plain(values)}

    def to_yaml(self) -> str:
        """Return the resolved configuration as YAML, which is a preset itself."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False)


def from_dict(values: dict[str, Any]) -> Config:
    """Return the configuration described by nested plain values.

    Raises:
        TrainingError: For an unknown key (naming the nearest), an unknown agent or a value
        of the wrong type.
    """
    values = dict(values)
    agent = dict(values.pop("agent", {}))
    name = agent.pop("name", "cql")
    if name not in AGENTS:
        raise TrainingError(
            f"unknown agent {name!r}; there are: {', '.join(sorted(AGENTS))}"
        )
    return _build(
        Config,
        {
            **values,
            "agent": _build(AGENTS[name].Config, agent, "agent."),
            "agent_name": name,
        },
        "",
    )


def load_config(
    preset: str | Path,
    overrides: Sequence[str] = (),
    instead: Mapping[str, str] | None = None,
) -> Config:
    """Read a preset and apply `key=value` overrides.

    Args:
        preset: A YAML file, or the name of one in config/train.
        overrides: Changes, see `override`.
        instead: Presets to take in place of others, wherever `preset` builds on them.
    """
    values, used = _read(preset, instead or {})
    if instead and not set(used) & set(instead):
        raise TrainingError(
            f"preset {preset} builds on {' and '.join(used)}; --base names only {', '.join(instead)}"
        )
    return from_dict(_overridden(values, overrides))


def preset_chain(preset: str | Path) -> tuple[str, ...]:
    """Return the name of a preset, of its base, of its base's base, and so on."""
    return _read(preset, {})[1]


def override(config: Config, overrides: Sequence[str]) -> Config:
    """Return the configuration with `key=value` overrides applied; keys are dotted, values are YAML."""
    return from_dict(_overridden(config.to_dict(), overrides))


def _read(
    preset: str | Path, instead: Mapping[str, str], above: tuple[str, ...] = ()
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the values of a preset over those of its base, and the names of both and of what is below."""
    named = str(preset)
    if named in above:
        raise TrainingError(
            f"preset {named} is its own base: {' -> '.join([*above, named])}"
        )
    values = _read_file(instead.get(named, preset))
    base = values.pop("base", None)
    if base is None:
        return values, (*above, named)
    below, used = _read(base, instead, (*above, named))
    return _merged(below, values), used


def _merged(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return nested values with changes; another agent takes nothing over from the one it replaces."""
    merged = dict(values)
    for key, change in changes.items():
        old = merged.get(key)
        if (
            key == "agent"
            and isinstance(change, dict)
            and change.get("name", _name(old)) != _name(old)
        ):
            old = None
        merged[key] = (
            _merged(old, change)
            if isinstance(old, dict) and isinstance(change, dict)
            else change
        )
    return merged


def _name(agent: Any) -> Any:
    return agent.get("name", "cql") if isinstance(agent, dict) else None


def _read_file(preset: str | Path) -> dict[str, Any]:
    path = Path(preset)
    presets = {
        file.stem: file
        for folder in reversed(PRESET_FOLDERS)
        for file in folder.glob("*.yaml")
    }
    if not path.is_file():
        path = presets.get(str(preset), path)
    if not path.is_file():
        there = ", ".join(sorted(presets)) or "none found"
        raise TrainingError(
            f"no configuration {str(preset)!r}; give a YAML file or the name of a preset: {there}"
        )
    try:
        values = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise TrainingError(f"{path}: {error}") from error
    if not isinstance(values, dict):
        raise TrainingError(
            f"{path} holds {type(values).__name__}, expected sections such as agent and network"
        )
    return values


def _overridden(values: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    values = _plain(values)
    for each in overrides:
        key, equals, text = each.partition("=")
        if not equals:
            raise TrainingError(
                f"--set {each!r}: write key=value, for example agent.alpha=5"
            )
        *sections, last = key.strip().split(".")
        place = values
        for section in sections:
            place = place.setdefault(section, {})
            if not isinstance(place, dict):
                raise TrainingError(f"--set {each!r}: {section} is a value, not a section")
        place[last] = yaml.safe_load(text)
    return values


def _plain(value: Any) -> Any:
    """Copy nested values, tuples as lists."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, (list, tuple)) else value


def _build(kind: type[T], values: dict[str, Any], prefix: str) -> T:
    hints = get_type_hints(kind)
    for key in values:
        if key not in hints:
            near = difflib.get_close_matches(key, hints, 1)
            hint = (
                f"did you mean {prefix}{near[0]}?" if near else f"known: {', '.join(hints)}"
            )
            raise TrainingError(f"unknown configuration key {prefix}{key}; {hint}")
    return kind(
        **{key: _convert(hints[key], value, prefix + key) for key, value in values.items()}
    )


def _convert(kind: Any, value: Any, key: str) -> Any:
    if dataclasses.is_dataclass(kind) and isinstance(value, dict):
        return _build(kind, value, key + ".")  # type: ignore[arg-type]
    if get_origin(kind) is tuple and isinstance(value, list):
        return tuple(_convert(get_args(kind)[0], each, key) for each in value)
    if kind is float and isinstance(value, (int, str)) and not isinstance(value, bool):
        try:
            return float(value)  # YAML reads 1e-3 as text
        except ValueError:
            pass
    if isinstance(kind, type) and (
        type(value) is kind or (isinstance(value, AgentConfig) and isinstance(value, kind))
    ):
        return value
    raise TrainingError(f"{key} is {value!r}; expected {getattr(kind, '__name__', kind)}")
