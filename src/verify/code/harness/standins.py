# Small stand-ins for what test files import and a machine may lack: the parts of pytest that decide whether a test passes.

import math
import types


class Raises:
    def __init__(self, kinds, match=None):
        self.kinds, self.match, self.value, self.type = kinds, match, None, None

    def __enter__(self):
        return self

    def __exit__(self, kind, error, _trace):
        if kind is None:
            raise AssertionError("did not raise")
        if not issubclass(kind, self.kinds):
            return False
        self.value, self.type = error, kind
        if self.match is not None and not re.search(self.match, str(error)):
            raise AssertionError("another text")
        return True


def raises(kinds, *args, match=None, **kwargs):
    context = Raises(kinds, match)
    if not args:
        return context
    with context:
        args[0](*args[1:], **kwargs)
    return context


class Approx:
    """Equal within a tolerance: numbers, and lists and dicts of them."""

    def __init__(self, expected, rel=None, abs=None, nan_ok=False):
        self.expected, self.rel, self.abs, self.nan_ok = expected, rel, abs, nan_ok

    def near(self, actual, expected):
        if isinstance(expected, dict):
            return type(actual) is dict and actual.keys() == expected.keys() and all(
                self.near(actual[key], expected[key]) for key in expected
            )
        if isinstance(expected, (list, tuple)):
            return isinstance(actual, (list, tuple)) and len(actual) == len(expected) and all(map(self.near, actual, expected))
        if actual == expected:
            return True
        if not isinstance(actual, (int, float, complex)) or not isinstance(expected, (int, float, complex)):
            return False
        if expected != expected:
            return self.nan_ok and actual != actual
        if isinstance(expected, float) and math.isinf(expected):
            return False
        absolute = 1e-12 if self.abs is None else self.abs
        relative = 1e-6 if self.rel is None else self.rel
        if self.abs is not None and self.rel is None:
            relative = 0.0
        return abs(actual - expected) <= max(absolute, relative * abs(expected))

    def __eq__(self, actual):
        if is_proxy(actual):
            opaque()
        return self.near(actual, self.expected)

    __hash__ = None


def marked(*args, **kwargs):
    return args[0] if len(args) == 1 and callable(args[0]) and not kwargs else (lambda function: function)


class Marks:
    def parametrize(self, names, values, **_kwargs):
        listed = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)

        def mark(function):
            sets = [dict(zip(listed, values_of(value, len(listed)))) for value in values]
            function.thinkloom_sets = [dict(a, **b) for a in getattr(function, "thinkloom_sets", [{}]) for b in sets]
            return function

        return mark

    def __getattr__(self, _name):
        return marked


def values_of(value, count):
    if isinstance(value, Parameter):
        return value.values
    return (value,) if count == 1 else tuple(value)


class Parameter:
    def __init__(self, *values, **_kwargs):
        self.values = values


def fixture(*args, **_kwargs):
    def mark(function):
        function.thinkloom_fixture = True
        return function

    return mark(args[0]) if args and callable(args[0]) else mark


class Skipped(Exception):
    pass


def skip(*_args, **_kwargs):
    raise Skipped


def fail(reason="", *_args, **_kwargs):
    raise AssertionError(reason)


def pytest_module(run):
    module = types.ModuleType("pytest")
    module.raises, module.approx, module.mark, module.fixture = raises, Approx, Marks(), fixture
    module.skip, module.fail, module.param, module.main = skip, fail, Parameter, run
    return module


STANDINS = frozenset(("pytest",))
