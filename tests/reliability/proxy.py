"""A TCP line that can be cut, slowed, left half open, or made to corrupt what goes up it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from random import Random

from .crash import obey


class Line:
    """Forwards ``port`` to ``target``. Modes: ok, cut, half_open, delay, corrupt."""

    def __init__(self, target: int, seed: int) -> None:
        self.mode, self.delay_s = "ok", 0.0
        self._target, self._random = target, Random(seed)
        self._open: set[asyncio.StreamWriter] = set()

    def set(self, mode: str, delay_s: float = 0.0) -> None:
        self.mode, self.delay_s = mode, delay_s
        if mode == "cut":
            for writer in self._open:
                writer.transport.abort()

    async def accept(self, near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        try:
            if self.mode == "cut":
                return
            far, up = await asyncio.open_connection("127.0.0.1", self._target)
            self._open |= {up, back}
            try:
                both = [self._carry(near, up, up=True), self._carry(far, back, up=False)]
                tasks = [asyncio.ensure_future(one) for one in both]
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in tasks:
                    task.cancel()
            finally:
                self._open -= {up, back}
                up.transport.abort()
        except OSError:
            pass
        finally:
            back.transport.abort()

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, up: bool
    ) -> None:
        loop = asyncio.get_running_loop()
        with suppress(OSError):
            while data := await reader.read(65_536):
                while self.mode == "half_open":  # what was sent is gone, and nobody is told
                    await asyncio.sleep(0.05)
                    data = b""
                if self.mode == "corrupt" and up:
                    data = self._spoiled(data)
                if self.mode == "delay":
                    loop.call_later(self.delay_s, writer.write, data)
                else:
                    writer.write(data)
                    await writer.drain()

    def _spoiled(self, data: bytes) -> bytes:
        """One byte of some pieces leaves ASCII, so that no reader can take it for what it was."""
        if self._random.random() > 0.2:
            return data
        at = self._random.randrange(len(data))
        return data[:at] + bytes([data[at] | 0x80]) + data[at + 1 :]


def run(folder: str, name: str, port: int, target: int, seed: int) -> None:
    """Serve until killed."""

    async def serve() -> None:
        line = Line(target, seed)
        loop = asyncio.get_running_loop()
        server = await asyncio.start_server(line.accept, "127.0.0.1", port)
        obey(
            Path(folder) / f"{name}.sock",
            {"set": lambda **how: loop.call_soon_threadsafe(lambda: line.set(**how))},
        )
        await server.serve_forever()

    asyncio.run(serve())
