"""Four healthy containers, once for all tests that need them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from containers.compose_project import (
    ComposeProject,
    UnavailableError,
    image_to_test,
    running_project,
)


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComposeProject]:
    """The compose file's four nodes, healthy; each test leaves them so."""
    try:
        image = image_to_test()
    except UnavailableError as reason:
        pytest.skip(f"containers cannot run here: {reason}")
    with running_project(image, tmp_path_factory.mktemp("compose")) as project:
        yield project
