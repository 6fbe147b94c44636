"""Puts another bundle into a running policy node, which stays where it is in the graph."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .connection import START_TIMEOUT, EpisodeError

if TYPE_CHECKING:
    from .connection import GraphConnection

NODE = "policy_node"


class PolicySwitch:
    """Changes the bundle of a graph's policy node, by its life cycle.

    Args:
        graph: Connection to the graph; camera and image size of all bundles are those that it
            was started with.
        loaded: Bundle that the node has; None if that is not known.
    """

    def __init__(self, graph: GraphConnection, loaded: Path | None) -> None:
        from lifecycle_msgs.srv import ChangeState
        from rcl_interfaces.srv import SetParameters

        self._graph = graph
        self._states = graph.client(ChangeState, f"{NODE}/change_state")
        self._parameters = graph.client(SetParameters, f"{NODE}/set_parameters")
        self._bundle = loaded

    def use(self, bundle: Path) -> None:
        """Have the policy node act by a bundle; returns once it is loaded, checked and active.

        Raises:
            EpisodeError: If the node refuses it; its log says why.
        """
        from lifecycle_msgs.msg import Transition

        from ptr_common.topics import TOPIC_POLICY_STATE

        if bundle == self._bundle:
            return
        for transition in (Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP):
            self._change(transition, bundle)
        self._set_bundle(bundle)
        for transition in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
            self._change(transition, bundle)
        self._bundle = bundle
        self._graph.wait_for_message(TOPIC_POLICY_STATE, START_TIMEOUT, fresh=True)
        self._graph.wait_ready()

    def _change(self, transition: int, bundle: Path) -> None:
        from lifecycle_msgs.msg import Transition
        from lifecycle_msgs.srv import ChangeState

        request = ChangeState.Request(transition=Transition(id=transition))
        if not self._graph.call(self._states, request, START_TIMEOUT).success:
            raise EpisodeError(
                f"the policy node does not take {bundle} (transition {transition}); "
                "its log says why"
            )

    def _set_bundle(self, bundle: Path) -> None:
        from rcl_interfaces.srv import SetParameters
        from rclpy.parameter import Parameter

        parameter = Parameter("bundle", value=str(bundle)).to_parameter_msg()
        request = SetParameters.Request(parameters=[parameter])
        (result,) = self._graph.call(self._parameters, request, START_TIMEOUT).results
        if not result.successful:
            raise EpisodeError(f"the policy node does not take {bundle}: {result.reason}")
