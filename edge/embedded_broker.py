"""An MQTT broker inside the box, for the demo and for laptops.

It is amqtt: MQTT 3.1.1, no login, bound to the loopback address only. A plant
runs its own broker; nothing else here depends on which one it is.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from amqtt.broker import Broker
from amqtt.errors import BrokerError as AmqttError

from edge.errors import LineError

if TYPE_CHECKING:
    from collections.abc import Callable

HOST = "127.0.0.1"
POLL_S = 0.05
LAST_CLIENTS_S = 0.3


class EmbeddedBrokerError(LineError):
    """The embedded broker cannot start; the message names its port."""


def serve(port: int, ready: Callable[[], None], stop: Callable[[], bool]) -> None:
    """Run the broker until ``stop``; call ``ready`` once it accepts connections.

    Raises:
        EmbeddedBrokerError: The port is in use or not allowed.
    """
    for name in ("amqtt", "transitions"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    asyncio.run(_serve(port, ready, stop))


class _TidyBroker(Broker):  # type: ignore[misc]  # amqtt has no types
    """Closes the stream of every client; amqtt leaves it open where the client was gone first."""

    async def stream_connected(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, listener_name: str
    ) -> None:
        try:
            await super().stream_connected(reader, writer, listener_name)
        finally:
            writer.close()


async def _serve(port: int, ready: Callable[[], None], stop: Callable[[], bool]) -> None:
    broker = _TidyBroker(
        {
            "listeners": {"default": {"type": "tcp", "bind": f"{HOST}:{port}"}},
            "plugins": {
                "amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}
            },
        }
    )
    try:
        await broker.start()
    except (AmqttError, OSError) as error:
        msg = f"embedded MQTT broker: port {port} on {HOST} cannot be bound: {error}"
        raise EmbeddedBrokerError(msg) from error
    ready()
    while not stop():
        await asyncio.sleep(POLL_S)
    await broker.shutdown()
    # amqtt does not wait for its clients' tasks and streams to end; a loop that ends first leaves
    # them to the garbage collector, which complains.
    if clients := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(clients, timeout=LAST_CLIENTS_S)
    await asyncio.sleep(POLL_S)
