"""The judge of the ordered topic, with made-up histories (docs/ORDERED.md, docs/adr/017)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from qbft.core import InstanceId
from qbft.ordered import Position
from qbft_server.chaos.checker import Checker, Promise
from qbft_server.chaos.history import Acknowledged, Appending, Entered, Event, Reading, Told


class Story:
    """A history in the making; requests are letters, their values the same in capitals."""

    def __init__(self) -> None:
        self.checker = Checker(0, lambda age, down: 10.0)

    def see(self, event: Event) -> None:
        """Let it happen."""
        self.checker.see(event)

    def append(self, requests: str) -> None:
        """Clients are about to append these."""
        for request in requests:
            self.see(Appending(1.0, request.encode(), request.upper().encode()))

    def acknowledge(self, request: str, height: int, index: int = 0) -> None:
        """A client is told where its entry stands."""
        self.see(Acknowledged(2.0, request.encode(), Position(height, index)))

    def read(self, reader: str, *batches: str, begin: int = 0) -> None:
        """A reader gets these batches; what it has met already in one of them is void."""
        met: set[str] = set()
        for height, batch in enumerate(batches, begin):
            for index, request in enumerate(batch):
                self.enter(reader, Position(height, index), request, is_void=request in met)
                met.add(request)

    def begin(self, *readers: str) -> None:
        """These are there from now on."""
        for reader in readers:
            self.see(Reading(1.0, reader))

    def enter(
        self, reader: str, position: Position, request: str, *, is_void: bool = False
    ) -> None:
        """A reader gets one entry."""
        value = request.upper().encode()
        self.see(Entered(3.0, reader, position, request.encode(), value, is_void))

    @property
    def broken(self) -> list[str]:
        """What was seen of what is broken, at the end."""
        self.checker.finish(9.0)
        violations = self.checker.violations
        assert {violation.promise for violation in violations} <= {Promise.LOG}
        return [violation.seen for violation in violations]


def test_a_good_history_passes() -> None:
    """Batches, a repetition that is void, a reader that comes back, one that comes late."""
    story = Story()
    story.begin("one", "another")
    story.append("abcd")
    story.acknowledge("b", 0, 1)
    story.read("one", "ab", "ca")
    story.acknowledge("c", 1)
    story.acknowledge("a", 0)
    story.acknowledge("a", 0)
    story.read("one", "d", begin=2)
    story.read("another", "ab", "ca", "d")
    story.acknowledge("d", 2)
    assert story.broken == []
    assert (story.checker.log.acknowledged, story.checker.log.reads) == (4, 10)
    assert story.checker.log.end == Position(2, 0)


def acknowledged_twice(story: Story) -> None:
    """The same request at two positions."""
    story.acknowledge("a", 0)
    story.acknowledge("a", 1)


def acknowledged_elsewhere(story: Story) -> None:
    """Where another entry was read."""
    story.read("one", "b", "a")
    story.acknowledge("a", 0)


def read_elsewhere(story: Story) -> None:
    """It counts where its client was not told."""
    story.acknowledge("a", 0)
    story.read("one", "b", "a")


def counts_twice(story: Story) -> None:
    """A repetition that is not void."""
    story.enter("one", Position(0, 0), "a")
    story.enter("one", Position(1, 0), "a")


def readers_differ(story: Story) -> None:
    """Two readers, two logs."""
    story.read("one", "a", "b")
    story.read("another", "b", "a")


def one_finds_it_void(story: Story) -> None:
    """Two readers do not agree on what counts."""
    story.read("one", "a")
    story.enter("another", Position(0, 0), "a", is_void=True)


def a_height_is_left_out(story: Story) -> None:
    """A reader of a gap."""
    story.read("one", "a")
    story.read("one", "b", begin=2)


def an_entry_is_left_out(story: Story) -> None:
    """A reader of a batch without its beginning."""
    story.enter("one", Position(0, 1), "a")


def out_of_order(story: Story) -> None:
    """A reader that goes back."""
    story.read("one", "a", "b")
    story.enter("one", Position(1, 0), "b")


def never_appended(story: Story) -> None:
    """An entry that nobody wanted."""
    story.read("one", "x")


def lost(story: Story) -> None:
    """Acknowledged, and nobody gets it."""
    story.acknowledge("a", 0)


@pytest.mark.parametrize(
    ("breaks", "seen"),
    [
        (acknowledged_twice, "a was told to stand at 0.0, and later at 1.0"),
        (acknowledged_elsewhere, "a was told to stand at 0.0, where a reader got another"),
        (read_elsewhere, "a was told to stand at 0.0, and counts at 1.0"),
        (counts_twice, "a counts at 0.0 and at 1.0"),
        (readers_differ, "readers got different entries at 0.0"),
        (one_finds_it_void, "readers got different entries at 0.0"),
        (a_height_is_left_out, "reader one got 2.0 after 0.0"),
        (an_entry_is_left_out, "reader one got 0.1 after nothing"),
        (out_of_order, "reader one got 1.0 after 1.0"),
        (never_appended, "x stands at 0.0, and was never appended so"),
        (lost, "a was told to stand at 0.0, and no reader got it"),
    ],
)
def test_each_broken_promise_is_found(breaks: Callable[[Story], None], seen: str) -> None:
    """One history for each way to break one."""
    story = Story()
    story.append("ab")
    breaks(story)
    assert seen in story.broken


@pytest.mark.parametrize(
    ("got", "after"), [((), "its beginning"), (("a",), "0.0"), (("a", "b"), "1.0")]
)
def test_a_reader_that_falls_silent_is_found(got: tuple[str, ...], after: str) -> None:
    """In the end every one has all that was acknowledged; another that has it is no excuse.

    It is told of once: when the time to get it is over, or else at the end.
    """
    story = Story()
    story.begin("one", "another")
    story.append("abc")
    story.read("one", "a", "b", "c")
    story.read("another", *got)
    assert not story.checker.has_readers_behind
    for height, request in enumerate("abc"):
        story.acknowledge(request, height)
    assert story.checker.has_readers_behind
    story.checker.settle(8.0)
    assert len(story.checker.violations) == 1
    assert story.broken == [f"reader another got nothing after {after}, and 2.0 stands"]


def test_a_copy_behind_the_last_acknowledged_entry_need_not_have_come() -> None:
    """A batch may be decided once more, at any time; readers get its void entries when they do."""
    story = Story()
    story.begin("one", "another")
    story.append("a")
    story.acknowledge("a", 0)
    story.read("one", "a", "a")
    story.read("another", "a")
    assert not story.checker.has_readers_behind
    assert story.broken == []


def test_every_client_is_answered_in_the_end() -> None:
    """An append that was never acknowledged is a violation, as an instance that stays open is."""
    story = Story()
    story.append("a")
    assert story.broken == ["a was never acknowledged"]


def test_a_batch_needs_no_proposer() -> None:
    """Nodes make it; its entries are judged one by one."""
    story = Story()
    story.see(Told(1.0, InstanceId("log", 0), b"batch", is_batch=True))
    assert story.broken == []
