"""Holds a key or a password so that nothing shows it by accident."""

from __future__ import annotations

from typing import Generic, NoReturn, Self, TypeVar

T = TypeVar("T", bound=str | bytes)


class Secret(Generic[T]):
    """A secret text or key. Code that uses it calls `reveal`, and keeps the result in no attribute.

    It shows nothing in `repr`, `str`, a format, a dump of attributes or a log line with local variables, and it cannot
    be pickled. It is a value: equal secrets are equal, and a copy is the same object.
    """

    __slots__ = ("_value",)

    def __init__(self, value: T) -> None:
        self._value = value

    def reveal(self) -> T:
        """Return the secret itself."""
        return self._value

    def __repr__(self) -> str:
        """Show that there is a secret, and nothing about it."""
        return "Secret(hidden)"

    def __bool__(self) -> bool:
        """Whether it is not empty."""
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        """Compare two secrets."""
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        """Return a hash, so that a secret may be a key of a dict."""
        return hash(self._value)

    def __copy__(self) -> Self:
        """Return itself."""
        return self

    def __deepcopy__(self, memo: object) -> Self:
        """Return itself."""
        return self

    def __reduce__(self) -> NoReturn:
        """Raise TypeError, because a pickle would contain the secret in clear text."""
        raise TypeError("A secret cannot be pickled, because it would be readable in the pickle.")
