"""Training configuration: typed dataclasses, a YAML preset over their defaults, `--set` over both.

A preset may name another one as its `base` and then holds only what differs, so that an
ablation is a few lines.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import yaml

from ptr_common.documents import parse_yaml, read_yaml
from ptr_common.names import did_you_mean
from ptr_training.agents import AGENTS
from ptr_training.agents.agent import AgentConfig
from ptr_training.errors import TrainingError
from ptr_training.models.config import NetworkConfig

from .loggers import WANDB_MODES
from .stage_config import FinetuneConfig, PretrainConfig, check_stage

_PACKAGE = Path(__file__).resolve().parents[1]
PRESET_FOLDERS = (
    (_PACKAGE / "../../../config/train").resolve(),
    (_PACKAGE / "../../../../share/ptr_training/train").resolve(),
)
"""Folders of presets: in the source tree, or installed (by pip or colcon) beside
lib/python3.x/site-packages."""

_LARGEST_SEED = 2**64 - 2  # fine-tuning draws its batches from the seed after it

_LEAST_AND_LARGEST: dict[str, tuple[float, float]] = {
    "augment.shift": (0, math.inf),
    "pretrain.steps": (1, math.inf),
    "pretrain.checkpoint_every": (1, math.inf),
    "pretrain.keep": (0, math.inf),
    "pretrain.holdout": (0, math.inf),
    "pretrain.evaluate_every": (0, math.inf),
    "finetune.steps": (1, math.inf),
    "finetune.checkpoint_every": (1, math.inf),
    "finetune.keep": (0, math.inf),
    "finetune.holdout": (0, math.inf),
    "finetune.evaluate_every": (0, math.inf),
    "batch_size": (1, math.inf),
    "reserve": (0, math.inf),
    "rewarded_steps": (0, math.inf),
    "min_action_std": (0, math.inf),
    "log_every": (1, math.inf),
    "seed": (0, _LARGEST_SEED),
    "threads": (0, 1024),
}
"""Range of numbers, both ends included, by their keys."""

T = TypeVar("T")


@dataclass(frozen=True)
class AugmentConfig:
    """Image augmentation, drawn separately for s and for s'."""

    shift: int = 4  # pixels
    jitter: bool = True


@dataclass(frozen=True)
class DataConfig:
    """What of the stores is learnt from."""

    # episodes with the outcome failure: ignore, or use: agents with a critic learn from them
    # as episodes without reward; clones never do
    failures: str = "ignore"

    def __post_init__(self) -> None:
        if self.failures not in ("ignore", "use"):
            raise TrainingError(
                f"data.failures is {self.failures!r}; it must be ignore or use"
            )


@dataclass(frozen=True)
class Config:
    """One experiment; the defaults are the official launch settings."""

    agent: AgentConfig  # the Config of one of AGENTS, chosen by `name`
    agent_name: str = "cql"
    network: NetworkConfig = field(default_factory=NetworkConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    data: DataConfig = field(default_factory=DataConfig)
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    batch_size: int = 64
    reserve: int = 4  # free task ids, for targets that have no name yet
    # rewarded at the end of a demonstration (paper: 3, in the ablation 1); 0: as its store says
    rewarded_steps: int = 0
    # action dimensions that vary less (scale -1..1) are not learnt
    min_action_std: float = 1e-3
    # weigh the dimensions of the cloning loss by their inverse variance
    balance_actions: bool = False
    log_every: int = 100  # steps
    seed: int = 0
    device: str = "auto"  # auto, cpu, cuda or cuda:N
    threads: int = 0  # of the CPU; 0 leaves the choice to PyTorch
    # encoders in bfloat16; on a CPU with AVX512-BF16 demo_ptr takes 0.88 of the time
    bf16: bool = False
    # GPU: float32 products with the mantissa of TF32, as TPUs round to bfloat16
    tf32: bool = True
    # auto (graph on one GPU, else off), graph (the whole update captured as a CUDA graph, encoders
    # compiled), compile (encoders through torch.compile: a minute at the start) or off
    accelerate: str = "auto"
    # when Q is far outside of the returns that can occur and keeps growing: stop, or warn once
    on_divergence: str = "stop"
    # a run of Weights & Biases beside metrics.csv and TensorBoard: disabled, offline or online
    wandb: str = "disabled"
    # frames mapped from disk, on the device, or auto: on the device where they fit
    replay: str = "auto"

    def __post_init__(self) -> None:
        for key, (least, largest) in _LEAST_AND_LARGEST.items():
            _check_range(key, self._value(key), least, largest)
        mix = self.finetune.mix
        if not 0.0 <= mix < 1.0:
            raise TrainingError(
                f"finetune.mix is {mix}; it must be in [0, 1): the fraction of prior transitions"
            )
        _check_choice("replay", self.replay, "auto", "mapped", "device")
        _check_choice("accelerate", self.accelerate, "auto", "graph", "compile", "off")
        _check_choice("on_divergence", self.on_divergence, "stop", "warn")
        _check_choice("wandb", self.wandb, *WANDB_MODES)
        kind = AGENTS[self.agent_name]
        for name in ("pretrain", "finetune"):
            check_stage(
                name,
                getattr(self, name),
                acts=kind.acts,
                has_critic=kind.selection_rule != "error",
            )
        if not re.fullmatch(r"auto|(cpu|cuda|mps|xpu)(:\d+)?", self.device):
            raise TrainingError(
                f"device is {self.device!r}; it must be auto, cpu, cuda or cuda:N"
            )

    def _value(self, key: str) -> Any:
        """Return the value of a dotted key."""
        value: Any = self
        for name in key.split("."):
            value = getattr(value, name)
        return value

    @property
    def uses_failures(self) -> bool:
        """Whether failed episodes are learnt from."""
        return self.data.failures == "use" and self.agent.learns_from_failures

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as `from_dict` reads them."""
        values = asdict(self)
        name = values.pop("agent_name")
        return {"agent": {"name": name, **values.pop("agent")}, **_plain(values)}

    def to_yaml(self) -> str:
        """Return the resolved configuration as YAML, which is a preset itself."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False)


def _check_choice(key: str, value: str, *allowed: str) -> None:
    if value not in allowed:
        *first, last = allowed
        choices = f"{', '.join(first)} or {last}"
        raise TrainingError(f"{key} is {value!r}; it must be {choices}")


def _check_range(key: str, value: float, least: float, largest: float) -> None:
    if least <= value <= largest:
        return
    allowed = f"at least {least}" if largest == math.inf else f"in {least} to {largest}"
    raise TrainingError(f"{key} is {value}; it must be {allowed}")


def from_dict(values: dict[str, Any]) -> Config:
    """Return the configuration that nested plain values describe.

    Raises:
        TrainingError: For an unknown key (naming the nearest), an unknown agent or a value
        of the wrong type.
    """
    section = values.get("agent", {})
    if not isinstance(section, dict):
        raise TrainingError(f"agent is {section!r}; expected a section with a name")
    agent_values = dict(section)
    name = agent_values.pop("name", "cql")
    if not isinstance(name, str) or name not in AGENTS:
        raise TrainingError(
            f"unknown agent {name!r}; {did_you_mean(str(name), sorted(AGENTS))}"
        )
    agent = _build(AGENTS[name].Config, agent_values, "agent.")
    config = _build(Config, {**values, "agent": agent, "agent_name": name}, "")
    _check_finite(config, "")
    return config


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
        named = ", ".join(instead)
        raise TrainingError(
            f"preset {preset} builds on {' and '.join(used)}; --base names only {named}"
        )
    return from_dict(_overridden(values, overrides))


def preset_chain(preset: str | Path) -> tuple[str, ...]:
    """Return the name of a preset, of its base, of its base's base, and so on."""
    return _read(preset, {})[1]


def override(config: Config, overrides: Sequence[str]) -> Config:
    """Return the configuration with `key=value` overrides applied.

    Args:
        config: What to change.
        overrides: Dotted keys with YAML values, such as `agent.alpha=5`.
    """
    return from_dict(_overridden(config.to_dict(), overrides))


def _read(
    preset: str | Path, instead: Mapping[str, str], above: tuple[str, ...] = ()
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the values of a preset over those of its base, and the names of all presets read.

    Args:
        preset: A YAML file, or the name of one.
        instead: Presets to take in place of others.
        above: Names of the presets that build on this one.
    """
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
    """Return nested values with changes; another agent inherits nothing from the replaced one."""
    merged = dict(values)
    for key, change in changes.items():
        old = merged.get(key)
        if key == "agent" and _is_another_agent(old, change):
            old = None
        both_sections = isinstance(old, dict) and isinstance(change, dict)
        merged[key] = _merged(old, change) if both_sections else change  # type: ignore[arg-type]
    return merged


def _is_another_agent(old: Any, change: Any) -> bool:
    """Return whether a section `agent` names another agent than the section it changes."""
    if not isinstance(change, dict):
        return False
    old_name = old.get("name", "cql") if isinstance(old, dict) else None
    return bool(change.get("name", old_name) != old_name)


def _read_file(preset: str | Path) -> dict[str, Any]:
    """Return the values in one YAML file, without those of its base."""
    path = _preset_path(preset)
    values = read_yaml(path, TrainingError)
    if not isinstance(values, dict):
        raise TrainingError(
            f"{path} holds {type(values).__name__}, expected sections such as agent and network"
        )
    return values


def _preset_path(preset: str | Path) -> Path:
    path = Path(preset)
    if path.is_file():
        return path
    presets = {}
    for folder in reversed(PRESET_FOLDERS):
        for file in folder.glob("*.yaml"):
            presets[file.stem] = file
    if str(preset) in presets:
        return presets[str(preset)]
    raise TrainingError(
        f"no configuration {str(preset)!r}, neither a YAML file nor a preset; "
        f"{did_you_mean(str(preset), sorted(presets))}"
    )


def _overridden(values: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return nested values with `key=value` overrides applied."""
    values = _plain(values)
    for change in overrides:
        key, equals, text = change.partition("=")
        if not equals:
            raise TrainingError(
                f"--set {change!r}: write key=value, for example agent.alpha=5"
            )
        *names, last = key.strip().split(".")
        section = values
        for name in names:
            section = section.setdefault(name, {})
            if not isinstance(section, dict):
                raise TrainingError(f"--set {change!r}: {name} is a value, not a section")
        try:
            section[last] = parse_yaml(text)
        except yaml.YAMLError as error:
            raise TrainingError(f"--set {change!r}: the value is not YAML") from error
    return values


def _plain(value: Any) -> Any:
    """Copy nested values, tuples as lists."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _build(kind: type[T], values: dict[str, Any], prefix: str) -> T:
    """Return a dataclass of plain values.

    Args:
        kind: The dataclass.
        values: Its fields by name.
        prefix: The section that holds them, such as `agent.`, for messages.

    Raises:
        TrainingError: For an unknown key, or a value of the wrong type.
    """
    types = get_type_hints(kind)
    arguments = {}
    for key, value in values.items():
        if key not in types:
            hint = did_you_mean(prefix + str(key), [prefix + known for known in types])
            raise TrainingError(f"unknown configuration key {prefix}{key}; {hint}")
        arguments[key] = _convert(types[key], value, prefix + key)
    return kind(**arguments)


def _check_finite(section: Any, prefix: str) -> None:
    """Refuse numbers that are not finite; what has a range was refused with it before."""
    for name, value in vars(section).items():
        if dataclasses.is_dataclass(value):
            _check_finite(value, f"{prefix}{name}.")
        elif isinstance(value, float) and not math.isfinite(value):
            raise TrainingError(f"{prefix}{name} is {value}; expected a finite number")


def _convert(kind: Any, value: Any, key: str) -> Any:
    """Return a plain value as the type of a field.

    Args:
        kind: The type.
        value: The value, as YAML holds it.
        key: Dotted name of the field, for messages.

    Raises:
        TrainingError: If the value is of another type.
    """
    if dataclasses.is_dataclass(kind) and isinstance(value, dict):
        return _build(kind, value, key + ".")  # type: ignore[arg-type]
    if get_origin(kind) is tuple and isinstance(value, list):
        return tuple(_convert(get_args(kind)[0], item, key) for item in value)
    if kind is float and isinstance(value, (int, str)) and not isinstance(value, bool):
        with contextlib.suppress(ValueError, OverflowError):
            value = float(value)  # YAML reads 1e-3 as text
    if kind is str and value is False:
        return "off"  # so YAML reads the word
    if isinstance(kind, type) and type(value) is kind:
        return value
    if kind is AgentConfig and isinstance(value, AgentConfig):
        return value
    raise TrainingError(f"{key} is {value!r}; expected {getattr(kind, '__name__', kind)}")
