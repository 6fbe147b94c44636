"""The learning algorithms, by the name a configuration uses."""

from .agent import Agent, Metrics
from .bc import BC
from .cql import CQL

AGENTS: dict[str, type[Agent]] = {"bc": BC, "cql": CQL}

__all__ = ["AGENTS", "BC", "CQL", "Agent", "Metrics"]
