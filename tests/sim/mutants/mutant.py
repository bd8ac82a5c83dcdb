"""What a mutant is: a patch of one file of `qbft`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """A bug: in this file of `qbft`, `old`, which occurs exactly once, becomes `new`."""

    name: str
    says: str
    file: str
    old: str
    new: str
    hunter: str = "swarm"

    def apply(self, source: str) -> str:
        """Give the source with the bug in it.

        Raises:
            ValueError: the place is not there, or not only once; the code has moved on.
        """
        if source.count(self.old) != 1:
            raise ValueError(
                f"{self.name}: {self.file} has its place {source.count(self.old)} times"
            )
        return source.replace(self.old, self.new)
