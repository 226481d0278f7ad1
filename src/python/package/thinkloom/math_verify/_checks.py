"""Errors that name the argument, its type or value, and what is expected."""


def check_timeout(name: str, seconds: object) -> None:
    """Raises TypeError unless a timeout is a number or None."""
    if seconds is not None and (isinstance(seconds, bool) or not isinstance(seconds, (int, float))):
        raise TypeError(f"{name} is {type_name(seconds)}, expected a number of seconds or None")


def check_type(name: str, value: object, expected: type, expected_name: str) -> None:
    # A bool is an int to isinstance.
    if not isinstance(value, expected) or (isinstance(value, bool) and expected is not bool):
        raise TypeError(f"{name} is {type_name(value)}, expected {expected_name}")


def check_choice(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} is {value!r}, expected {' or '.join(map(repr, allowed))}")


def type_name(value: object) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def unicode_text(text: str) -> str:
    """Returns a text in which halves of surrogate pairs, which are no characters, are replacement characters."""
    return text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
