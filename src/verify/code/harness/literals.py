# Values that cannot change, as literals of a message (see `wire`), and what is made of data by name: named tuples, arrays.

import collections
import datetime
import decimal
import fractions
import math
import re
import sys
import types

SCALARS = frozenset((int, str, float, bool, type(None)))
TYPES = {
    kind.__name__: kind
    for kind in (int, str, float, bool, complex, bytes, bytearray, list, tuple, dict, set, frozenset, type, object, range)
}
TYPES["NoneType"] = type(None)


class Breach(Exception):
    """What came is no message."""


def exactly(kinds, *values):
    for value in values:
        if type(value) not in kinds:
            raise Breach(type(value).__name__)


# ---- literals: what cannot change, by tag

def zone_of(seconds):
    if seconds is None:
        return None
    return datetime.timezone(datetime.timedelta(seconds=seconds))


def seconds_of(moment):
    offset = moment.utcoffset()
    return None if offset is None else offset.total_seconds()


def encode_date(x):
    if isinstance(x, datetime.datetime):
        parts = (x.year, x.month, x.day, x.hour, x.minute, x.second, x.microsecond)
        return ["dt", *parts, seconds_of(x)]
    return ["d", x.year, x.month, x.day]


def encode_plain(x):
    # Returns the literal of a value whose type, or a base of it, is plain; None if there is none. Bases in an order in
    # which the narrower comes first. Methods are those of the base: what a subclass makes of them does not matter.
    kind = type(x)
    if issubclass(kind, bool):
        return bool(x)
    if issubclass(kind, int):
        return int.__add__(x, 0)
    if issubclass(kind, float):
        return float.__pos__(x)
    if issubclass(kind, str):
        return "".join(str.__iter__(x))
    if issubclass(kind, (bytes, bytearray)):
        return ["b", bytes(memoryview(x)).decode("latin-1")]
    if issubclass(kind, complex):
        return ["c", complex.__add__(x, 0).real, complex.__add__(x, 0).imag]
    if issubclass(kind, decimal.Decimal):
        return ["D", decimal.Decimal.__str__(x)]
    if issubclass(kind, fractions.Fraction):
        return ["F", hex(x.numerator), hex(x.denominator)]
    if issubclass(kind, datetime.date):
        return encode_date(x)
    if issubclass(kind, datetime.time):
        return ["tm", x.hour, x.minute, x.second, x.microsecond]
    if issubclass(kind, datetime.timedelta):
        return ["td", x.days, x.seconds, x.microseconds]
    if issubclass(kind, memoryview):
        return ["b", bytes(x).decode("latin-1")]
    if type(x) is range:
        return ["R", hex(x.start), hex(x.stop), hex(x.step)]
    if type(x) is slice and {type(x.start), type(x.stop), type(x.step)} <= {int, type(None)}:
        return ["sl", x.start, x.stop, x.step]
    if x is Ellipsis:
        return ["..."]
    if x is NotImplemented:
        return ["N"]
    if type(x) is re.Match:
        spans = [list(x.span(n)) for n in range(x.re.groups + 1)]
        return ["re", x.string, spans, dict(x.re.groupindex)] if type(x.string) is str else None
    if issubclass(kind, type) and (TYPES.get(x.__name__) is x or BUILTIN_ERRORS.get(x.__name__) is x):
        return ["B", x.__name__]
    return None


def decode_number(text):
    exactly((str,), text)
    return int(text, 16)


def decode_bytes(text):
    exactly((str,), text)
    return text.encode("latin-1")


def decode_decimal(text):
    exactly((str,), text)
    return decimal.Decimal(text)


def decode_moment(*parts):
    exactly((int,), *parts[:7])
    exactly((int, float, type(None)), parts[7])
    return datetime.datetime(*parts[:7], tzinfo=zone_of(parts[7]))


def decode_integers(make, *parts):
    exactly((int,), *parts)
    return make(*parts)


def decode_tuple(*parts):
    exactly(SCALARS, *parts)
    return parts


def decode_complex(real, imag):
    exactly((int, float), real, imag)
    return complex(real, imag)


def decode_slice(start, stop, step):
    exactly((int, type(None)), start, stop, step)
    return slice(start, stop, step)


def decode_type(name):
    exactly((str,), name)
    return TYPES[name] if name in TYPES else BUILTIN_ERRORS[name]


class Match:
    """What a regular expression has found, as data."""

    def __init__(self, string, spans, names):
        self.string, self.spans, self.names = string, spans, names
        self.lastindex = max((n for n, span in enumerate(spans) if n and span[0] >= 0), default=None)

    def number(self, key):
        return key if type(key) is int else self.names[key]

    def span(self, key=0):
        return tuple(self.spans[self.number(key)])

    def start(self, key=0):
        return self.span(key)[0]

    def end(self, key=0):
        return self.span(key)[1]

    def __getitem__(self, key):
        start, end = self.span(key)
        return None if start < 0 else self.string[start:end]

    def group(self, *keys):
        found = tuple(self[key] for key in keys or (0,))
        return found[0] if len(found) == 1 else found

    def groups(self, default=None):
        return tuple(default if span[0] < 0 else self[n] for n, span in enumerate(self.spans) if n)

    def groupdict(self, default=None):
        return {name: default if self[n] is None else self[n] for name, n in self.names.items()}

    __class__ = property(lambda self: re.Match)


def decode_match(string, spans, names):
    exactly((str,), string, *names)
    exactly((int,), *names.values())
    for span in spans:
        exactly((int,), *span)
        if len(span) != 2:
            raise Breach("span")
    return Match(string, spans, names)


LITERALS = {
    "i": decode_number,
    "re": decode_match,
    "b": decode_bytes,
    "t": decode_tuple,
    "c": decode_complex,
    "D": decode_decimal,
    "F": lambda n, d: fractions.Fraction(decode_number(n), decode_number(d)),
    "dt": decode_moment,
    "d": lambda *parts: decode_integers(datetime.date, *parts),
    "tm": lambda *parts: decode_integers(datetime.time, *parts),
    "td": lambda *parts: decode_integers(datetime.timedelta, *parts),
    "R": lambda *parts: range(*map(decode_number, parts)),
    "sl": decode_slice,
    "...": lambda: Ellipsis,
    "N": lambda: NotImplemented,
    "B": decode_type,
}
BUILTIN_ERRORS = {
    name: kind
    for name, kind in vars(__builtins__ if isinstance(__builtins__, types.ModuleType) else __import__("builtins")).items()
    if isinstance(kind, type) and issubclass(kind, BaseException)
}


# ---- arrays of numpy, where it is in use

ARRAY_KINDS, ITEM_BYTES_MAX = "biufcUS", 4096


def is_array(kind):
    array = getattr(sys.modules.get("numpy"), "ndarray", None)
    return isinstance(array, type) and issubclass(kind, array)


def empty_array(slot):
    import numpy

    _tag, form, shape, *items = slot
    exactly((str,), form)
    exactly((int,), *shape)
    if not re.fullmatch(r"[<>|=]?[%s]\d{0,6}" % ARRAY_KINDS, form) or min(shape, default=0) < 0 or len(shape) > 16:
        raise Breach("array")
    kind = numpy.dtype(form)
    if math.prod(shape) != len(items) or kind.itemsize > ITEM_BYTES_MAX:
        raise Breach("array")
    return numpy.zeros(shape, kind)


# ---- named tuples and the like: made here, of names that were checked

MADE = {}


def named_tuple(name, fields):
    import keyword

    exactly((str,), name, *fields)
    key = (name, tuple(fields))
    if key not in MADE:
        if not all(field.isidentifier() and not keyword.iskeyword(field) for field in (name, *fields)) or len(MADE) > 1000:
            raise Breach("names")
        if len(set(fields)) != len(fields):
            raise Breach("names")
        MADE[key] = collections.namedtuple(name, fields)
    return MADE[key]
