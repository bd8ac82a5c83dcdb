"""examples/config_store.py, over a log in this process; the log itself is tested elsewhere."""

from __future__ import annotations

import asyncio
import runpy
from pathlib import Path

from pretend_log import PretendLog

EXAMPLE = Path(__file__).parents[2] / "examples" / "config_store.py"


async def test_settings_are_set_read_and_watched() -> None:
    """Issue 7: of several that expect the same version one wins; watchers see each change once."""
    log = PretendLog()
    store = runpy.run_path(str(EXAMPLE))["ConfigStore"](log)
    seen: list[tuple[str, str | None]] = []

    async def watch() -> None:
        async for key, setting in store.watch("limits/"):
            seen.append((key, setting.value))

    watching = asyncio.ensure_future(watch())
    await log.append("config/all", b"no change")
    assert (await store.get("limits/rate")).version is None
    won = await asyncio.gather(*(store.set("limits/rate", v, None) for v in ("1", "2", "3")))
    assert sorted(won) == [False, False, True]
    setting = await store.get("limits/rate")
    assert setting.value == str(won.index(True) + 1)
    assert await store.set("limits/rate", "7", str(setting.version))
    assert not await store.set("limits/rate", "8", str(setting.version))
    assert await store.set("other", "x")
    assert await store.set("limits/rate", None)
    assert (await store.get("limits/rate")).value is None
    assert (await store.get("other")).value == "x"
    watching.cancel()
    rate = "limits/rate"
    assert seen == [(rate, setting.value), (rate, "7"), (rate, None)]
