"""The learning algorithms, by the name a configuration uses."""

from .agent import Agent, AgentConfig, Metrics
from .autoregressive import AutoregressiveBC
from .awbc import AWBC
from .bc import BC
from .bet import BeT
from .calql import CalQL
from .cql import CQL
from .flow import Flow
from .iql import IQL
from .macaw import MACAW
from .mae import MAE
from .weighted import WeightedCQL

AGENTS: dict[str, type[Agent]] = {
    "cql": CQL,
    "cql_weighted": WeightedCQL,
    "calql": CalQL,
    "iql": IQL,
    "bc": BC,
    "awbc": AWBC,
    "autoregressive": AutoregressiveBC,
    "bet": BeT,
    "flow": Flow,
    "macaw": MACAW,
    "mae": MAE,
}

__all__ = [
    "AGENTS",
    "AWBC",
    "BC",
    "CQL",
    "IQL",
    "MACAW",
    "MAE",
    "Agent",
    "AgentConfig",
    "AutoregressiveBC",
    "BeT",
    "CalQL",
    "Flow",
    "Metrics",
    "WeightedCQL",
]
