"""Everything that knows a socket, a topic or an address."""
