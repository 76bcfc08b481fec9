"""The gate's sockets: cameras, scorer and who of them is connected."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import zmq

from edge.sockets import HIGH_WATER_IMAGES, Context, PeerWatch, Socket, bind_router
from pipeline.line_keys import line_keys

if TYPE_CHECKING:
    from pipeline.config import Config


@dataclass(frozen=True, slots=True)
class GateSockets:
    """The gate's two ROUTER sockets and the watch over the scorer's."""

    notices: Socket
    inspections: Socket
    scorers: PeerWatch

    @classmethod
    def bind(cls, config: Config, context: Context) -> GateSockets:
        """Bind at the line's endpoints.

        Raises:
            EndpointError: An endpoint cannot be bound.
            KeysError: The keys of the line cannot be read.
        """
        keys = line_keys(config)
        notices = bind_router(context, config.endpoint("notices"), keys=keys)
        inspections = bind_router(
            context, config.endpoint("inspections"), HIGH_WATER_IMAGES, keys=keys
        )
        return cls(notices, inspections, PeerWatch(inspections))

    def register(self, poller: zmq.Poller) -> None:
        """Have a poller wake up for what arrives and for who comes and goes."""
        for socket in (self.notices, self.inspections, self.scorers.monitor):
            poller.register(socket, zmq.POLLIN)

    def close(self) -> None:
        """Close all."""
        self.scorers.close()
        self.notices.close()
        self.inspections.close()
