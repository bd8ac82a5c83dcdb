"""A configuration store over an ordered topic: get, set, compare and set, watch.

Every reader applies the same changes in the same order, so all have the same settings at the same
position. A setting's version is the position of the change that made it.

    qbft init mycluster --ordered config/     # and start its nodes, see the README
    python config_store.py mycluster/cluster.toml set limits/rate 100
    python config_store.py mycluster/cluster.toml get limits/rate
    python config_store.py mycluster/cluster.toml watch limits/
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import sys
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from qbft.client import Client
from qbft.ordered import LogEntry, Position

TOPIC = "config/all"
ANY = "any"
"""As the version that is expected: whatever it is now."""


@dataclass(frozen=True)
class Setting:
    """A value and its version; a setting that was never set, or was removed, has neither."""

    value: str | None = None
    version: Position | None = None


class Settings:
    """The state: what follows from the changes, in their order, and from nothing else."""

    def __init__(self) -> None:
        self._settings: dict[str, Setting] = {}

    def __getitem__(self, key: str) -> Setting:
        return self._settings.get(key, Setting())

    def apply(self, entry: LogEntry) -> str | None:
        """Take the next change; gives the key that it has changed.

        One that expects another version than there is changes nothing, for no reader.
        """
        try:
            change = json.loads(entry.value)
            key, value, expected = str(change["key"]), change["value"], change["expected"]
        except (ValueError, TypeError, LookupError, RecursionError):
            return None  # who may append may append anything: all readers pass over it alike
        version = self[key].version
        if expected not in (ANY, None if version is None else str(version)):
            return None
        if value is None:
            self._settings.pop(key, None)
        else:
            self._settings[key] = Setting(str(value), entry.position)
        return key


class ConfigStore:
    """The settings of one topic."""

    def __init__(self, client: Client, topic: str = TOPIC) -> None:
        self._client = client
        self._topic = topic

    async def set(self, key: str, value: str | None, expected: str | None = ANY) -> bool:
        """Set a setting, or remove it (None); whether it was done.

        `expected` is the version that it has to have, None for none: of several that have read the
        same version one wins, and the others are told.
        """
        name = secrets.token_bytes(16)
        change = json.dumps({"key": key, "value": value, "expected": expected}).encode()
        await self._client.append(self._topic, change, name)
        async for entry, changed in self._changes(Settings()):
            if entry.request_id == name:
                return changed is not None
        raise AssertionError("unreachable: the log has no end")

    async def get(self, key: str) -> Setting:
        """Read a setting, with every change that was made before this call."""
        settings, name = Settings(), secrets.token_bytes(16)
        await self._client.append(self._topic, b"{}", name)  # what is before it was made before
        async for entry, _ in self._changes(settings):
            if entry.request_id == name:
                break
        return settings[key]

    async def watch(self, prefix: str = "") -> AsyncGenerator[tuple[str, Setting], None]:
        """Follow the settings whose keys begin so: as they are, and then each change."""
        settings = Settings()
        async for _, key in self._changes(settings):
            if key is not None and key.startswith(prefix):
                yield key, settings[key]

    async def _changes(
        self, settings: Settings
    ) -> AsyncGenerator[tuple[LogEntry, str | None], None]:
        """Apply the log from its beginning; gives each entry, and the key that it has changed."""
        async with contextlib.aclosing(self._client.watch_entries(self._topic)) as entries:
            async for entry in entries:
                yield entry, settings.apply(entry)


def printable(text: str | None) -> str:
    """What a terminal takes: JSON may hold halves of characters, and anybody may set such."""
    return str(text).encode(errors="replace").decode()


async def main(cluster_file: str, what: str, key: str = "", *value: str) -> None:
    """One of: set KEY VALUE [EXPECTED], remove KEY, get KEY, watch [PREFIX]."""
    async with Client(cluster_file) as client:
        store = ConfigStore(client)
        match what:
            case "set":
                print("set" if await store.set(key, *value) else "not set: it has changed")
            case "remove":
                print("removed" if await store.set(key, None) else "not removed")
            case "get":
                setting = await store.get(key)
                print(printable(setting.value), setting.version)
            case "watch":
                async for changed, setting in store.watch(key):
                    print(printable(changed), printable(setting.value), setting.version, flush=True)
            case _:
                sys.exit(main.__doc__)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
