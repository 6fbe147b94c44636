"""What a graph of nodes is made of: its arguments, its nodes with their parameters. No ROS."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ptr_common.errors import PtrError

BRINGUP, POLICY = "widowx_bringup", "ptr_policy_node"

BOOLEAN = ("true", "false")
"""Values of an argument that is a switch."""


class GraphError(PtrError):
    """The graph asked for does not exist or an argument has an impossible value."""


@dataclass(frozen=True)
class Argument:
    """One launch argument. Values are text, as on the command line."""

    name: str
    description: str
    default: str | None = None  # None: must be given
    choices: tuple[str, ...] = ()
    kind: Callable[[str], object] = (
        str  # raises ValueError for a text that cannot be its value
    )

    def check(self, value: str) -> None:
        """Raise GraphError if `value` is impossible."""
        if self.choices and value not in self.choices:
            raise GraphError(
                f"{self.name}:={value} is not possible; choose from: {', '.join(self.choices)}"
            )
        try:
            self.kind(value)
        except ValueError as error:
            raise GraphError(
                f"{self.name}:={value} is not possible ({self.description}): {error}"
            ) from error


@dataclass(frozen=True)
class NodeSpec:
    """One node to start."""

    package: str
    executable: str
    config: str = ""  # file below config/; empty: the node has none
    parameters: Mapping[str, Any] = field(default_factory=dict)  # on top of the file's
    remappings: tuple[tuple[str, str], ...] = ()
    namespace: str = ""
    grace: float = 6.0  # longest time it may take to end [s]
    name: str = ""  # where it is not the executable's

    @property
    def reports(self) -> bool:
        """Whether the node is one of ours, which all put their state on /diagnostics."""
        return self.package in (BRINGUP, POLICY) and self.executable != "driver_keeper"

    @property
    def full_name(self) -> str:
        """The node's name in the ROS graph."""
        return "/".join(
            ["", *filter(None, self.namespace.split("/")), self.name or self.executable]
        )


@dataclass(frozen=True)
class Graph:
    """A set of nodes that run together.

    Attributes:
        name: What `ptr up` calls it.
        description: One sentence.
        arguments: Everything that can be chosen.
        nodes: Makes the nodes from a complete set of values.
    """

    name: str
    description: str
    arguments: tuple[Argument, ...]
    nodes: Callable[[Mapping[str, str]], list[NodeSpec]]

    def resolve(self, given: Mapping[str, str]) -> dict[str, str]:
        """Complete the values given with the defaults.

        Raises:
            GraphError: If an argument is unknown, missing or not one of its choices.
        """
        known = {argument.name: argument for argument in self.arguments}
        for name in given:
            if name not in known:
                raise GraphError(
                    f"{self.name} has no argument {name!r}; there are: {', '.join(known)}"
                )
        values = {
            name: given.get(name, argument.default) for name, argument in known.items()
        }
        for name, value in values.items():
            if value is None:
                raise GraphError(
                    f"{self.name} needs {name}:=…  ({known[name].description})"
                )
            known[name].check(value)
        return {name: value for name, value in values.items() if value is not None}
