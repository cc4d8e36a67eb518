"""The broker in Python, as a child process: `python -m pumpwatch.transports.amqtt_broker PORT`.

For the demo and for tests on a machine without mosquitto. It keeps nothing on disk and speaks
MQTT 3.1.1 only; a town runs a real broker.
"""

from __future__ import annotations

import asyncio
import signal
import sys

from amqtt.broker import Broker
from amqtt.contexts import BrokerConfig, ListenerConfig


async def serve(host: str, port: int) -> None:
    """Listen until SIGTERM or SIGINT."""
    config = BrokerConfig(
        listeners={"default": ListenerConfig(bind=f"{host}:{port}")},
        plugins={
            "amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True},
        },
    )
    broker = Broker(config)
    asked = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, asked.set)
    await broker.start()
    await asked.wait()
    await broker.shutdown()


if __name__ == "__main__":
    asyncio.run(serve("127.0.0.1", int(sys.argv[1])))
