"""A request that is refused, as the code that finds out says it."""

from __future__ import annotations


class RefusedError(Exception):
    """A request that cannot be answered: an HTTP status, what was found, where, what to do."""

    def __init__(self, status: int, what: str, where: str, remedy: str) -> None:
        super().__init__(what)
        self.status, self.what, self.where, self.remedy = status, what, where, remedy
