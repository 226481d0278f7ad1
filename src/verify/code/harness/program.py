# The side of the program. Everything here is within the program's reach: nothing here is believed by anyone, and nothing
# of the tests is here but what they pass.

import asyncio
import enum
import importlib
import inspect
import io
import operator
import random
import types

ITERATOR_CHUNK_MAX = 4096
SNAPSHOTS_MAX = 200
# EPERM, EACCES; ENOMEM; EFBIG; ENOSPC, EDQUOT.
ERRNO_CAUSES = {
    1: "refused", 13: "refused", 12: "memory_limit", 27: "output_limit", 28: "disk_full", 122: "disk_full"
}
# Calls that the harness itself is deep: a program has as many of its own as elsewhere.
OWN_DEPTH = 50
HEAP = 1 << 9  # Py_TPFLAGS_HEAPTYPE: a class that was made at run time


def cause_of(error):
    # What an exception says of the program, beyond its name.
    if isinstance(error, MemoryError):
        return "memory_limit"
    if isinstance(error, OSError):
        return ERRNO_CAUSES.get(error.errno, "exception")
    if isinstance(error, SystemExit):
        return "early_exit"
    return "exception"


def flush():
    for stream in (sys.stdout, sys.__stdout__):
        try:
            stream.flush()
        except BaseException:
            pass


class Stub:
    """A function of the tests: calling it asks them."""

    def __init__(self, side, number, name):
        self._side, self._number, self.__name__, self.__qualname__ = side, number, name, name

    def __call__(self, *args, **kwargs):
        return self._side.ask(self._number, args, kwargs)

    def __get__(self, owner, kind=None):
        return self if owner is None else types.MethodType(self, owner)


class StubIterator:
    """An iterator of the tests."""

    def __init__(self, side, number):
        self._side, self._number = side, number

    def __iter__(self):
        return self

    def __next__(self):
        return self._side.ask(self._number, (), {})


OPERATIONS = {
    name: getattr(operator, name)
    for name in (
        "add sub mul truediv floordiv mod pow matmul and_ or_ xor lshift rshift neg pos invert abs lt le gt ge getitem "
        "setitem delitem contains index"
    ).split()
}
OPERATIONS.update(
    len=len, str=str, repr=repr, format=format, int=int, float=float, complex=complex, bytes=bytes, round=round,
    divmod=divmod, iter=iter, next=next, reversed=reversed, hash=hash, dir=dir,
    enter=lambda x: type(x).__enter__(x), exit=lambda x: type(x).__exit__(x, None, None, None),
)


class ProgramSide:
    """What the tests may ask of the program."""

    def __init__(self, line):
        self.line, self.objects, self.numbers = line, [], {}
        self.preamble, self.space, self.watched, self.kept = {}, {}, {}, []

    # -- objects that stay here

    def number(self, x):
        n = self.numbers.get(id(x))
        if n is None:
            self.numbers[id(x)] = n = len(self.objects)
            self.objects.append(x)
        return n

    def is_shared(self, kind):
        return self.preamble.get(kind.__name__) is not None and kind.__flags__ & HEAP

    def __call__(self, encoder, x, is_last):
        kind = type(x)
        if is_last:
            found = scalar_of(x)
            return encoder.slot(x) if found is None else encoder.value(found)
        if kind is Stub:
            return ["f", x._number]
        if issubclass(kind, enum.Enum) and not issubclass(kind, (int, str, float)):
            encoder.value(kind)
            return ["e", self.number(kind), x.name]
        if kind.__flags__ & HEAP and self.is_shared(kind) and not issubclass(kind, (tuple, BaseException)):
            return encoder.slot(x)
        return None

    def slot(self, encoder, x):
        kind = type(x)
        if issubclass(kind, MUTABLE) or kind in CONTAINERS or is_array(kind):
            return None
        if kind.__flags__ & HEAP and self.is_shared(kind) and not issubclass(kind, type):
            return ["o", kind.__name__, *self.attributes(encoder, x)]
        return self.handle(encoder, x, kind)

    def attributes(self, encoder, x):
        return [part for name, value in attributes_of(x) for part in (name, encoder.value(value))]

    def handle(self, encoder, x, kind):
        n = self.number(x)
        if issubclass(kind, type):
            if issubclass(x, BaseException):
                bases = [base.__name__ for base in x.__mro__[1:] if issubclass(base, BaseException)]
                return ["h", n, "x", None, str(x.__name__), False, bases]
            if issubclass(x, enum.Enum) and not issubclass(x, (int, str, float)):
                members = [part for member in x for part in (member.name, encoder.value(member.value))]
                return ["h", n, "e", None, str(x.__name__), False, members]
            return ["h", n, "c", None, str(x.__name__), False, None]
        name = getattr(x, "__name__", None)
        name = name if type(name) is str else kind.__name__
        if inspect.iscoroutine(x):
            return ["h", n, "y", None, name, False, None]
        if issubclass(kind, (types.FunctionType, types.MethodType, types.BuiltinFunctionType)):
            return ["h", n, "f", None, name, False, None]
        if is_iterator(x):
            return ["h", n, "g", None, name, False, None]
        has_truth = hasattr(kind, "__bool__") or hasattr(kind, "__len__")
        snapshot, encoder.snapshots = None, getattr(encoder, "snapshots", 0) + 1
        if kind.__flags__ & HEAP and encoder.snapshots <= SNAPSHOTS_MAX and not issubclass(kind, types.ModuleType):
            snapshot = self.attributes(encoder, x)
        of = self.number(kind)
        return ["h", n, "k" if callable(x) else "o", of, kind.__name__, has_truth, snapshot]

    # -- what comes from the tests

    def begin(self, slot):
        if slot[0] == "o":
            # The program's own, where it has written it again.
            own = self.space.get(slot[1])
            kind = own if isinstance(own, type) else self.preamble[slot[1]]
            return kind.__new__(kind)
        return None

    def fill(self, x, slot, decoder):
        for name, value in zip(slot[2::2], slot[3::2]):
            object.__setattr__(x, name, decoder.value(value))

    def literal(self, tag, parts):
        if tag == "h":
            return self.objects[parts[0]]
        if tag == "e":
            return self.objects[parts[0]][parts[1]]
        if tag == "f":
            return Stub(self, parts[0], parts[1])
        if tag == "it":
            return StubIterator(self, parts[0])
        if tag == "P":
            return self.preamble[parts[0]]
        if tag == "I":
            return operator.attrgetter(parts[1])(importlib.import_module(parts[0]))
        if tag == "x":
            error = BUILTIN_ERRORS.get(parts[0], Exception)(*parts[1:])
            return error
        raise Breach(tag)

    # -- asking the tests

    def ask(self, number, args, kwargs):
        encoder = Encoder(self)
        message = {
            "k": "call", "n": number, "a": [encoder.value(x) for x in args],
            "w": {name: encoder.value(x) for name, x in kwargs.items()},
        }
        message["h"] = encoder.finish()
        self.line.send(message)
        while True:
            answer = self.line.receive()
            if answer["k"] == "call" or answer["k"] in SERVED:
                self.serve(answer)
                continue
            decoder = Decoder(answer["h"], self)
            if answer["k"] == "ret":
                return decoder.value(answer["v"])
            kind = BUILTIN_ERRORS.get(answer["n"]) or self.preamble.get(answer["n"])
            if kind is None:
                kind = type(answer["n"], (Exception,), {})
            error = kind.__new__(kind, *[decoder.value(x) for x in answer["a"]])
            error.args = tuple(decoder.value(x) for x in answer["a"])
            raise error

    # -- answering them

    def serve(self, request):
        decoder = Decoder(request["h"], self)
        args = [decoder.value(x) for x in request["a"]]
        before = [(n, x, content_of(x)) for n, x in decoder.mutable]
        encoder = Encoder(self, [(n, x) for n, x in decoder.mutable])
        printed = None
        try:
            if "seed" in request:
                random.seed(request["seed"])
            if "o" in request:
                printed = Printed(request["o"])
            result = self.run(request, args, decoder)
            answer = {"k": "ret", "v": encoder.value(result)}
        except BaseException as error:
            answer = self.raised(error, encoder)
        if printed:
            answer["o"] = printed.end()
        try:
            self.finish(answer, encoder, before, args)
        except TooLarge:
            self.line.send({"k": "end", "cause": "output_limit"})
        except MemoryError:
            self.line.send({"k": "end", "cause": "memory_limit"})

    def run(self, request, args, decoder):
        kind = request["k"]
        if kind == "call":
            return args[0](*args[1:], **{name: decoder.value(x) for name, x in request["w"].items()})
        if kind == "attr":
            return getattr(*args)
        if kind == "set":
            return setattr(*args)
        if kind == "del":
            return delattr(*args)
        if kind == "op":
            return OPERATIONS[request["n"]](*args)
        if kind == "next":
            return self.drawn(*args)
        if kind == "await":
            return asyncio.run(args[0])
        raise Breach(kind)

    def drawn(self, iterator, count):
        items = []
        try:
            for _ in range(min(count, ITERATOR_CHUNK_MAX)):
                items.append(next(iterator))
        except StopIteration:
            return [items, True]
        except BaseException:
            # What came before it goes first; it is raised again when the tests get there.
            if not items:
                raise
            number = self.numbers[id(iterator)]
            self.kept.append(iterator)
            self.objects[number] = raising(sys.exc_info()[1])
        return [items, False]

    def raised(self, error, encoder):
        names = [kind.__name__ for kind in type(error).__mro__ if issubclass(kind, BaseException)]
        args = error.args if isinstance(error.args, tuple) else ()
        plain = [x for x in args[:16] if type(x) in SCALARS and (type(x) is not str or len(x) <= 4096)]
        if len(plain) != len(args):
            try:
                plain = [str(error)[:4096]]
            except BaseException:
                plain = []
        return {"k": "exc", "n": names, "a": plain, "cause": cause_of(error)}

    def finish(self, answer, encoder, before, args):
        try:
            changed = {}
            for n, x, content in before:
                if not all_are(content, content_of(x)):
                    made = self.slot(encoder, x)
                    changed[n] = encoder.content(x) if made is None else made
            # What was touched: the tests may compare it next.
            touched = args + [x.__self__ for x in args if type(x) is types.MethodType]
            answer["s"] = [encoder.value(x) for x in touched if id(x) in self.numbers]
            answer["u"] = self.updates(encoder)
            answer["h"], answer["c"] = encoder.finish(), changed
        except (Opaque, RecursionError):
            answer = {"k": "end", "cause": "opaque_result"}
        self.line.send(answer)

    def updates(self, encoder):
        found = {}
        for name, old in self.watched.items():
            new = self.space.get(name)
            if new is not old or isinstance(new, (list, dict, set)):
                self.watched[name] = new
                found[name] = encoder.value(new)
        return found


def raising(error):
    raise error
    yield


def is_iterator(x):
    kind = type(x)
    # Of the language's own types only: a class of the program may be anything.
    return not kind.__flags__ & HEAP and hasattr(kind, "__next__") and hasattr(kind, "__iter__")


def scalar_of(x):
    # A scalar of numpy as a plain value, where numpy is in use.
    generic = getattr(sys.modules.get("numpy"), "generic", None)
    return x.item() if isinstance(generic, type) and issubclass(type(x), generic) else None


class Printed:
    """Takes what is printed while the tests look at it, and gives the input that they have put in place."""

    def __init__(self, given):
        self.streams = sys.stdout, sys.stdin
        if given.get("out"):
            sys.stdout = io.StringIO()
        if given.get("in") is not None:
            sys.stdin = io.StringIO(given["in"])

    def end(self):
        made = [sys.stdout, sys.stdin]
        sys.stdout, sys.stdin = self.streams
        return [
            made[0].getvalue() if made[0] is not self.streams[0] and isinstance(made[0], io.StringIO) else None,
            made[1].read() if made[1] is not self.streams[1] and isinstance(made[1], io.StringIO) else None,
        ]


SERVED = frozenset(("call", "attr", "set", "del", "op", "next", "await"))


def plain_globals(space, wanted):
    return {name: space[name] for name in wanted if name in space and encode_is_plain(space[name])}


def encode_is_plain(x):
    return type(x) in SCALARS or isinstance(x, (list, dict, set, tuple))


def load(side, request, space):
    # What the tests bring along comes first: their imports, and their classes that are plain data.
    try:
        exec(compile(request["imports"], "<imports>", "exec", dont_inherit=True), space)
    except Exception:
        pass
    side.preamble = {name: space[name] for name in request["shared"] if name in space}
    apart = {"__name__": "answer", "__builtins__": builtins}
    for text in request["above"] + [text for _name, text in request["preamble"]]:
        try:
            exec(compile(text, "<preamble>", "exec", dont_inherit=True), apart)
        except Exception:
            pass
    for name, _text in request["preamble"]:
        if name in apart:
            side.preamble[name] = space[name] = apart[name]
    for text in request["sources"]:
        exec(compile(text, "<answer>", "exec", dont_inherit=True), space)


def found_names(side, space, wanted):
    found = {name: space[name] for name in wanted if name in space}
    # A method of the one class of a solution stands for a function that nobody else defines.
    solution = space.get("Solution")
    if isinstance(solution, type):
        for name in wanted - set(found):
            if callable(getattr(solution, name, None)):
                found[name] = method_of(solution, name)
    return found


def method_of(solution, name):
    def call(*args, **kwargs):
        return getattr(solution(), name)(*args, **kwargs)

    call.__name__ = name
    return call


def own_callables(space, before):
    # The functions that the program itself defines, in order.
    return [
        name for name, x in space.items()
        if not name.startswith("_") and name not in before and isinstance(x, types.FunctionType) and x.__module__ == "answer"
    ]


def arity_of(x):
    try:
        parameters = inspect.signature(x).parameters.values()
    except Exception:
        return None
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return None
    return sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)


def inferred(side, space, before):
    # The function that is meant where the tests name none: the last one that nobody else calls, or the one public method.
    solution = space.get("Solution")
    if isinstance(solution, type):
        own = [name for name, x in vars(solution).items() if callable(x) and not name.startswith("_")]
        if own:
            return method_of(solution, own[-1]), arity_of(getattr(solution, own[-1])) - 1
    own = own_callables(space, before)
    return (space[own[-1]], arity_of(space[own[-1]])) if own else (None, None)


def run_tested(line):
    """Runs a program for tests: chooses it, loads it, answers for it."""
    sys.setrecursionlimit(sys.getrecursionlimit() + OWN_DEPTH)
    side, request = ProgramSide(line), line.receive()
    wanted = set(request["wanted"])
    choice = choose(request, wanted)
    if choice is None:
        return line.send({"k": "end", "cause": "no_code"})
    line.send({"k": "chosen", "strategy": choice.strategy, "program": choice.text})
    if choice.sources is None:
        return line.send({"k": "end", "cause": "syntax_error"})
    answer = types.ModuleType("answer")
    sys.modules["answer"] = sys.modules["__main__"] = answer
    answer.__builtins__ = builtins
    side.space = space = answer.__dict__
    request["sources"] = choice.sources
    before = set(space)
    try:
        load(side, request, space)
    except BaseException as error:
        return line.send(dict(side.raised(error, None), k="failed"))
    found = found_names(side, space, wanted)
    arities = {name: arity_of(x) for name, x in found.items() if callable(x)}
    if request["infers"] and not found:
        x, arity = inferred(side, space, before)
        if x is not None:
            found[""], arities[""] = x, arity
    else:
        for name in set(found):
            if name not in space and arities.get(name) is None and isinstance(space.get("Solution"), type):
                arities[name] = (arity_of(getattr(space["Solution"], name)) or 1) - 1
    encoder = Encoder(side)
    side.watched = plain_globals(space, wanted)
    try:
        names = {name: encoder.value(x) for name, x in found.items()}
        line.send({"k": "names", "v": names, "h": encoder.finish(), "r": arities})
    except (TooLarge, Opaque, RecursionError):
        return line.send({"k": "end", "cause": "opaque_result"})
    while True:
        side.serve(line.receive())


def run_script(payload, tell):
    """Runs a program that reads its input; what it prints is its answer."""
    sys.setrecursionlimit(sys.getrecursionlimit() + OWN_DEPTH)
    choice = choose(payload, set())
    if choice is None:
        return tell(end="no_code")
    tell(strategy=choice.strategy, program=choice.text)
    if choice.sources is None:
        return tell(end="syntax_error")
    main = types.ModuleType("__main__")
    main.__builtins__ = builtins
    sys.modules["__main__"] = main
    try:
        for text in choice.sources:
            exec(compile(text, "<answer>", "exec", dont_inherit=True), main.__dict__)
    except SystemExit:
        pass
    except BaseException as error:
        flush()
        cause = cause_of(error)
        return tell(end=cause, detail=type(error).__name__ if cause == "exception" else None)
    flush()
    tell(end="finished")
