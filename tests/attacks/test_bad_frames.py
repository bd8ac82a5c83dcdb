"""Each bad frame is refused for its own reason, and nothing of it is left (SCENARIOS C and F)."""

from __future__ import annotations

from pathlib import Path

import pytest
from attacks.bad_frames import BAD_FRAMES
from attacks.liar import Liar

from qbft.wire import RejectReason, decode_frame
from qbft_server.initialise import init_cluster

pytestmark = pytest.mark.real_clock


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cluster of four that does not run."""
    made = tmp_path_factory.mktemp("attack") / "cluster"
    init_cluster(made, 4, name="attacked", base_port=17_000)
    return made


@pytest.mark.parametrize("name", list(BAD_FRAMES))
async def test_a_bad_frame_says_what_it_is_meant_to_say(directory: Path, name: str) -> None:
    """F1 to F10: what its shape refuses, the codec refuses, for that very reason.

    What only a signature refuses passes the codec whole.
    """
    bad = BAD_FRAMES[name]
    liar = Liar(directory / "node-3")
    decoded = decode_frame(bad.make(liar), liar.validator, liar.roster)
    if bad.reason in list(RejectReason):
        assert decoded.rejects == (bad.reason,)
    else:
        assert not decoded.rejects
        assert decoded.frame is not None
