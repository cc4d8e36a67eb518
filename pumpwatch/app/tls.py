"""TLS towards the broker, as the settings say."""

from __future__ import annotations

import ssl

from pumpwatch.app.settings import BrokerSettings
from pumpwatch.domain.errors import InvalidInput


def broker_tls(broker: BrokerSettings) -> ssl.SSLContext | None:
    """None without TLS. Raises `InvalidInput` where ``ca_file`` is of no use."""
    if not broker.tls:
        return None
    try:
        return ssl.create_default_context(cafile=broker.ca_file)
    except OSError as error:
        raise InvalidInput(
            "broker.ca_file",
            f"{broker.ca_file} cannot be used ({error.strerror or error})",
            "give the PEM file of the authority that signed the broker's certificate",
        ) from None
