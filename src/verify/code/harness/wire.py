# Plain data between two processes: no pickle, no evaluation. What is read can only be data.
#
# A message is 4 bytes of length and a JSON object. A value in it is a JSON scalar, a literal (an array that begins with
# a tag), or a reference (an array that holds one number) to a slot of the message's heap, which is a list of arrays that
# begin with a tag. Mutable containers are slots, so that aliases and cycles survive; a negative reference -1-n names slot n
# of the request that is answered.

import collections
import itertools
import json
import operator
import os

MESSAGE_BYTES_MAX = 16 << 20
# Tuples within tuples.
DEPTH_MAX = 200
VIEWS = {"keys": type({}.keys()), "values": type({}.values()), "items": type({}.items())}
FACTORIES = {"int": int, "list": list, "dict": dict, "set": set, "str": str, "float": float, "bool": bool, "tuple": tuple}
write_json, read_json = json.JSONEncoder(separators=(",", ":")).encode, json.JSONDecoder().scan_once
read_bytes, write_bytes = os.read, os.write
all_are = lambda left, right: len(left) == len(right) and all(map(operator.is_, left, right))


class Torn(Breach):
    """What came is no message at all: whoever wrote it has left the line."""


class TooLarge(Exception):
    """What should go is more than a message holds."""


class Gone(Exception):
    """The other side has ended."""


class Opaque(Exception):
    """A value that is no plain data, where only such can go."""


# ---- encoding

class Encoder:
    """Encodes values for one message."""

    def __init__(self, special, known=()):
        # `special` encodes what is no plain data; `known` are the objects that the other side has sent.
        self.heap, self.keep, self.work = [], [], []
        self.special, self.depth = special, 0
        self.index = {id(x): -1 - n for n, x in known}

    def values(self, parts):
        return list(parts) if SCALARS.issuperset(map(type, parts)) else [self.value(x) for x in parts]

    def slot(self, x, content=None):
        self.index[id(x)] = n = len(self.heap)
        self.keep.append(x)
        self.heap.append(content)
        if content is None:
            self.work.append((n, x))
        return [n]

    def value(self, x):
        kind = type(x)
        if kind in SCALARS:
            return x
        n = self.index.get(id(x))
        if n is not None:
            return [n]
        if kind is list or kind is dict or kind is set:
            return self.slot(x)
        if kind is tuple:
            return self.sequence(x, x, "t")
        # Before anything is asked of it: a handle answers nothing.
        found = self.special(self, x, False)
        if found is not None:
            return found
        if issubclass(kind, MUTABLE) or kind in CONTAINERS or is_array(kind):
            # Whatever a subclass of a list does, it travels as a list.
            return self.slot(x)
        if issubclass(kind, tuple):
            return self.sequence(x, tuple(tuple.__iter__(x)), self.tuple_tag(x))
        if issubclass(kind, frozenset):
            return self.sequence(x, tuple(frozenset.__iter__(x)), "z")
        found = encode_plain(x)
        return self.special(self, x, True) if found is None else found

    def tuple_tag(self, x):
        fields = getattr(type(x), "_fields", None)
        if type(fields) is tuple and all(type(field) is str for field in fields) and len(fields) == tuple.__len__(x):
            return ["n", type(x).__name__, *fields]
        return "t"

    def sequence(self, x, parts, tag):
        if tag == "t" and SCALARS.issuperset(map(type, parts)):
            return ["t", *parts]
        self.depth += 1
        if self.depth > DEPTH_MAX:
            raise Opaque("depth")
        parts = [self.value(part) for part in parts]
        self.depth -= 1
        return self.slot(x, [tag, *parts])

    def content(self, x):
        kind = type(x)
        if issubclass(kind, list):
            return ["l", *self.values(x if kind is list else list(list.__iter__(x)))]
        if issubclass(kind, dict):
            items = x if kind is dict else dict(zip(dict.keys(x), dict.values(x)))
            parts = self.values(list(itertools.chain.from_iterable(items.items())))
            if issubclass(kind, collections.Counter):
                return ["mc", *parts]
            if issubclass(kind, collections.OrderedDict):
                return ["mo", *parts]
            if issubclass(kind, collections.defaultdict):
                factory = collections.defaultdict.default_factory.__get__(x)
                names = [name for name, made in FACTORIES.items() if made is factory]
                return ["md", names[0] if names else None, *parts]
            return ["m", *parts]
        if issubclass(kind, set):
            return ["s", *self.values(list(set.__iter__(x)))]
        if issubclass(kind, bytearray):
            return ["a", bytes(memoryview(x)).decode("latin-1")]
        if issubclass(kind, collections.deque):
            return ["q", x.maxlen, *self.values(list(collections.deque.__iter__(x)))]
        for name, view in VIEWS.items():
            if kind is view:
                parts = list(itertools.chain.from_iterable(x)) if name == "items" else list(x)
                return ["v", name, *self.values(parts)]
        if is_array(kind) and x.dtype.kind in ARRAY_KINDS:
            return ["np", x.dtype.str, list(x.shape), *self.values(x.ravel().tolist())]
        raise Opaque(kind.__name__)

    def finish(self):
        # Encodes what was referred to; the work list grows meanwhile.
        done = 0
        while done < len(self.work):
            n, x = self.work[done]
            done += 1
            made = self.special.slot(self, x)
            self.heap[n] = self.content(x) if made is None else made
        self.work = []
        return self.heap


MUTABLE = (list, dict, set, bytearray, collections.deque)
CONTAINERS = frozenset(VIEWS.values())


def large_integers(x):
    # Integers that JSON cannot carry in decimal.
    if type(x) is list:
        return [large_integers(part) for part in x]
    if type(x) is dict:
        return {key: large_integers(part) for key, part in x.items()}
    return ["i", hex(x)] if type(x) is int and x.bit_length() > 64 else x


# ---- decoding

def content_of(x):
    # A shallow copy, to see later whether anything has changed.
    if isinstance(x, list):
        return list(list.__iter__(x))
    if isinstance(x, dict):
        return [*dict.keys(x), *dict.values(x)]
    if isinstance(x, set):
        return list(set.__iter__(x))
    if isinstance(x, bytearray):
        return list(x)
    if isinstance(x, collections.deque):
        return list(collections.deque.__iter__(x))
    if is_array(type(x)):
        # Small integers are the same objects.
        return list(x.tobytes())
    return [part for pair in attributes_of(x) for part in pair]


def attributes_of(x):
    # The attributes that an object holds, in slots and in its dictionary.
    found = []
    for owner in type(x).__mro__:
        slots = owner.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__") and hasattr(x, name):
                found.append((name, getattr(x, name)))
    found += [(name, value) for name, value in list(getattr(x, "__dict__", {}).items()) if type(name) is str]
    return found


class Decoder:
    """Decodes the values of one message."""

    def __init__(self, heap, special, known=None):
        # `special` makes objects of tags that are no plain data: `begin(slot)`, `fill(object, slot, decoder)`,
        # `literal(tag, parts)`. `known` are the objects of the request that is answered, by slot.
        self.heap, self.special, self.known = heap, special, known or {}
        self.objects = [None] * len(heap)
        self.mutable, self.views = [], []
        for n, slot in enumerate(heap):
            exactly((list,), slot)
            self.begin(n, slot)
        for n, slot in enumerate(heap):
            tag = slot[0]
            if tag == "t":
                self.objects[n] = tuple(self.parts(slot, 1, n))
            elif tag == "z":
                self.objects[n] = frozenset(self.parts(slot, 1, n))
            elif type(tag) is list and tag and tag[0] == "n":
                self.objects[n] = tuple.__new__(named_tuple(tag[1], tag[2:]), self.parts(slot, 1, n))
        # Dicts and sets last: their keys hash what is within.
        for tags in (False, True):
            for n, x in self.mutable:
                if issubclass(type(x), (dict, set)) is tags:
                    self.fill(x, heap[n])
        for shown, slot in self.views:
            self.fill_view(shown, slot)

    def begin(self, n, slot):
        tag = slot[0]
        if tag == "l":
            x = []
        elif tag in ("m", "mc", "mo", "md"):
            x = {"m": dict, "mc": collections.Counter, "mo": collections.OrderedDict, "md": collections.defaultdict}[tag]()
            if tag == "md":
                x.default_factory = FACTORIES.get(slot[1])
        elif tag == "s":
            x = set()
        elif tag == "a":
            x = bytearray()
        elif tag == "q":
            exactly((int, type(None)), slot[1])
            x = collections.deque(maxlen=slot[1])
        elif tag == "np":
            x = empty_array(slot)
        elif tag == "v":
            shown = {}
            self.objects[n] = {"keys": shown.keys, "values": shown.values, "items": shown.items}[slot[1]]()
            self.views.append((shown, slot))
            return
        elif tag in ("t", "z") or type(tag) is list:
            return
        else:
            x = self.special.begin(slot)
            if x is None:
                raise Breach("slot")
        self.objects[n] = x
        self.mutable.append((n, x))

    def value(self, x, before=None):
        if type(x) is not list:
            if type(x) is dict:
                raise Breach("object")
            return x
        tag = x[0]
        if type(tag) is int:
            if tag < 0:
                return self.known[-1 - tag]
            if before is not None and tag >= before and self.heap[tag][0] not in MUTABLE_TAGS:
                raise Breach("order")
            return self.objects[tag]
        make = LITERALS.get(tag)
        return make(*x[1:]) if make else self.special.literal(tag, x[1:])

    def parts(self, slot, first, before=None):
        rest = slot[first:]
        if SCALARS.issuperset(map(type, rest)):
            return rest
        return [self.value(x, before) for x in rest]

    def fill(self, x, slot):
        tag = slot[0]
        if tag == "l":
            x[:] = self.parts(slot, 1)
        elif tag in ("m", "mc", "mo", "md"):
            parts = self.parts(slot, 2 if tag == "md" else 1)
            dict.clear(x)
            if tag == "mo":
                x.clear()
            x.update(zip(parts[::2], parts[1::2])) if tag != "mc" else dict.update(x, zip(parts[::2], parts[1::2]))
        elif tag == "s":
            parts = self.parts(slot, 1)
            x.clear()
            x.update(parts)
        elif tag == "a":
            x[:] = decode_bytes(slot[1])
        elif tag == "q":
            parts = self.parts(slot, 2)
            x.clear()
            x.extend(parts)
        elif tag == "np":
            if list(x.shape) != slot[2]:
                raise Breach("array")
            x[...] = sys.modules["numpy"].array(self.parts(slot, 3), x.dtype).reshape(x.shape)
        else:
            self.special.fill(x, slot, self)

    def fill_view(self, shown, slot):
        # Of a dict that only the view knows.
        parts = self.parts(slot, 2)
        if slot[1] == "keys":
            shown.update(dict.fromkeys(parts))
        elif slot[1] == "items":
            shown.update(zip(parts[::2], parts[1::2]))
        else:
            shown.update(enumerate(parts))


MUTABLE_TAGS = frozenset(("l", "m", "mc", "mo", "md", "s", "a", "q", "h", "o", "v", "np"))


# ---- the line

class Line:
    """A stream to the other side, of bounded messages."""

    def __init__(self, descriptor):
        self.descriptor, self.rest = descriptor, b""

    def send(self, message):
        try:
            text = write_json(message)
        except ValueError:
            text = write_json(large_integers(message))
        data = text.encode()
        if len(data) > MESSAGE_BYTES_MAX:
            raise TooLarge
        data = len(data).to_bytes(4, "big") + data
        try:
            sent = write_bytes(self.descriptor, data)
            while sent < len(data):
                data = memoryview(data)[sent:]
                sent = write_bytes(self.descriptor, data)
        except BrokenPipeError:
            raise Gone from None
        except ConnectionError:
            raise Gone from None

    def receive(self):
        data = self.rest
        while len(data) < 4:
            data += self.more()
        size = int.from_bytes(data[:4], "big") + 4
        if size > MESSAGE_BYTES_MAX + 4:
            raise Torn("size")
        if len(data) < size:
            parts, count = [data], len(data)
            while count < size:
                parts.append(self.more())
                count += len(parts[-1])
            data = b"".join(parts)
        self.rest = data[size:]
        try:
            text = data[4:size].decode()
            message, end = read_json(text, 0)
        except (ValueError, RecursionError, StopIteration) as error:
            raise Torn("JSON") from error
        if type(message) is not dict or end != len(text):
            raise Torn("message")
        return message

    def more(self):
        try:
            part = read_bytes(self.descriptor, 1 << 18)
        except ConnectionError:
            part = b""
        if not part:
            raise Gone
        return part
