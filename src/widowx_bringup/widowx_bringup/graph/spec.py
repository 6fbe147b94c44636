"""Parts of a graph description: arguments, and nodes with their parameters. No ROS."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ptr_common.errors import PtrError
from ptr_common.names import did_you_mean

BRINGUP, POLICY = "widowx_bringup", "ptr_policy_node"
"""Names of the two packages whose nodes are ours."""

BOOLEAN = ("true", "false")
"""Values of an argument that is a switch."""


class GraphError(PtrError):
    """The graph does not exist, or an argument has an impossible value."""


@dataclass(frozen=True)
class Argument:
    """One launch argument. Values are text, as on the command line.

    Attributes:
        name: What stands before `:=`.
        description: Its meaning, with unit.
        default: Its value where none is given; None if it must be given.
        choices: All possible values; empty if there are too many to list.
        kind: Converts the text; raises ValueError if the text is no possible value.
    """

    name: str
    description: str
    default: str | None = None
    choices: tuple[str, ...] = ()
    kind: Callable[[str], object] = str

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
    """One node to start.

    Attributes:
        package: Package of the executable.
        executable: Name of the executable.
        config: Parameter file below config/; empty if the node has none.
        parameters: Values that override those of the file.
        remappings: Pairs of a topic's name in the node and its name in the graph.
        namespace: Namespace of the node, without the first slash.
        grace: Longest time between SIGINT and the end of the process [s].
        name: Name of the node where it is not the executable's.
    """

    package: str
    executable: str
    config: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    remappings: tuple[tuple[str, str], ...] = ()
    namespace: str = ""
    grace: float = 6.0
    name: str = ""

    @property
    def reports(self) -> bool:
        """Whether the node is one of ours, which all publish their state on /diagnostics."""
        return self.package in (BRINGUP, POLICY) and self.executable != "driver_keeper"

    @property
    def full_name(self) -> str:
        """The node's name in the ROS graph."""
        return "/" + join_names(self.namespace, self.name or self.executable)


def join_names(*names: str) -> str:
    """Join names and namespaces of ROS with single slashes, without one at either end."""
    parts = "/".join(names).split("/")
    return "/".join(part for part in parts if part)


@dataclass(frozen=True)
class Graph:
    """A set of nodes that run together.

    Attributes:
        name: Its name in `ptr up`.
        description: One sentence.
        arguments: All arguments.
        nodes: Returns the nodes for a complete set of values.
        complete: Fills in the values that others decide, and refuses those that contradict
            them; raises PtrError.
    """

    name: str
    description: str
    arguments: tuple[Argument, ...]
    nodes: Callable[[Mapping[str, str]], list[NodeSpec]]
    complete: Callable[[Mapping[str, str]], dict[str, str]] = dict

    def resolve(self, given: Mapping[str, str]) -> dict[str, str]:
        """Complete the given values with the defaults.

        Args:
            given: Values by the names of their arguments.

        Returns:
            A value for each argument.

        Raises:
            GraphError: If an argument is unknown, missing or has an impossible value.
            PtrError: If the values contradict each other.
        """
        self.check_names(given)
        values = {}
        for argument in self.arguments:
            value = given.get(argument.name, argument.default)
            if value is None or (argument.default is None and not value):
                raise GraphError(
                    f"{self.name} needs {argument.name}:=…  ({argument.description})"
                )
            argument.check(value)
            values[argument.name] = value
        return self.complete(values)

    def check_names(self, given: Iterable[str]) -> None:
        """Refuse names that are no argument of this graph.

        Args:
            given: Names as the user wrote them.

        Raises:
            GraphError: For the first unknown name, with the nearest one.
        """
        names = [argument.name for argument in self.arguments]
        for name in given:
            if name not in names:
                raise GraphError(
                    f"{self.name} has no argument {name!r}; {did_you_mean(name, names)}"
                )
