"""Open files: strangers' connections must leave some for the journal (DESIGN, bounds)."""

from __future__ import annotations

import resource

import pytest

from qbft_server import files


@pytest.mark.parametrize(
    ("open_files", "nodes", "expected"),
    [
        (1_024, 4, 812),
        (256, 4, 44),
        (64, 4, files.CLIENT_CONNECTIONS_MIN),
        (1_024, 100, 332),
        (65_536, 4, files.CLIENT_CONNECTIONS_MAX),
        (resource.RLIM_INFINITY, 100, files.CLIENT_CONNECTIONS_MAX),
    ],
)
def test_clients_get_what_the_node_and_its_peers_leave(
    monkeypatch: pytest.MonkeyPatch, open_files: int, nodes: int, expected: int
) -> None:
    """With the last file gone the next segment of the journal could not be opened."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (open_files, open_files))
    assert files.client_connections_max(nodes) == expected


def test_the_limit_of_files_is_raised_as_far_as_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell's 1,024 is not the system's limit; where raising it is refused, it stays."""
    said: list[tuple[int, tuple[int, int]]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1_024, 20_000))
    monkeypatch.setattr(resource, "setrlimit", lambda *limit: said.append(limit))
    files.raise_file_limit()
    assert said == [(resource.RLIMIT_NOFILE, (20_000, 20_000))]

    def refuse(*_: object) -> None:
        raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr(resource, "setrlimit", refuse)
    files.raise_file_limit()
