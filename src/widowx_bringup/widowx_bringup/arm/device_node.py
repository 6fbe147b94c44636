"""A lifecycle node whose callbacks hand their work to a device thread."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError  # builtin from 3.11 on
from typing import Any

from rclpy.task import Future as RosFuture
from std_srvs.srv import Trigger

from ptr_common.errors import PtrError
from ptr_common.managed_node import ManagedNode

from .device_thread import DeviceThread
from .protocol import ArmError

ANSWER_LIMIT = 5.0
"""Longest time that the device may take for a transition [s]."""


class DeviceNode(ManagedNode):
    """Jobs for a device thread: without waiting, with waiting, and as services.

    Attributes:
        device: The thread; a subclass sets it in `configure`.
    """

    device: DeviceThread

    def submit(self, job: Callable[[], object]) -> Future:
        """Hand a job to the device thread; an exception of the job is logged.

        Args:
            job: Called in the device thread.
        """
        future = self.device.submit(job)
        future.add_done_callback(self._log_error)
        return future

    def _log_error(self, future: Future) -> None:
        """Log the exception of a job, if it has one."""
        error = future.exception()
        if error is not None and self.context.ok():  # not at a publication during shutdown
            self.get_logger().error(f"{type(error).__name__}: {error}")

    def wait(self, work: Future) -> None:
        """Wait for a short job of the device thread.

        Args:
            work: What `device.submit` returned for the job.

        Raises:
            ArmError: If the job fails or takes too long.
        """
        try:
            work.result(timeout=ANSWER_LIMIT)
        except FutureTimeoutError:
            raise ArmError(f"the device has not answered for {ANSWER_LIMIT:g} s") from None

    def serve(self, name: str, job: Callable[[], str]) -> None:
        """Offer a Trigger service.

        Args:
            name: Name of the service.
            job: Done in the device thread; returns the message of the response, or raises a
                PtrError with it.
        """

        self.answer(Trigger, name, lambda _: job())

    def answer(self, kind: type, name: str, job: Callable[[Any], str]) -> None:
        """Offer a service whose response has `success` and `message`.

        Args:
            kind: Service class.
            name: Name of the service.
            job: Done in the device thread with the request; returns the message of the
                response, or raises a PtrError with it.
        """

        async def callback(request: Any, response: Any) -> Any:
            """Answer a request of the service."""
            response.success, response.message = await self.ask(lambda: job(request))
            return response

        self.create_service(kind, name, callback)

    async def ask(self, job: Callable[[], str]) -> tuple[bool, str]:
        """Do a job in the device thread without blocking the executor.

        Returns:
            Whether it succeeded, and the text it returned or failed with.
        """
        done = RosFuture()

        def wake(_: Future) -> None:
            """Let the executor see that the job is done."""
            done.set_result(None)
            if self.executor is not None:
                self.executor.wake()

        work = self.device.submit(job)
        work.add_done_callback(wake)
        await done
        try:
            return True, work.result()
        except PtrError as error:
            return False, str(error)
