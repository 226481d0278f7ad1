# The side of the tests: they run here, out of the program's reach. What comes from it is data and nothing else; the
# verdict goes over a pipe that only this process holds.



import threading

GONE = 7  # as the warmed interpreter knows it


class Remote:
    """Remembers which exceptions came from the program: by identity, so that nothing can pass for one."""

    def __init__(self):
        self.causes = {}

    def note(self, error, name, cause):
        # Kept alive, so that its identity stays its own.
        self.causes[id(error)] = (error, name, cause)

    def of(self, error):
        return self.causes.get(id(error), (None, None, None))[1:]


class TestSide:
    """What the tests know of the program, and how they ask it."""

    def __init__(self, line, tell):
        self.line, self.tell = line, tell
        self.proxies, self.records, self.exposed, self.numbers = {}, {}, [], {}
        # Of methods, whose they are.
        self.owners = {}
        self.errors, self.preamble, self.scope, self.remote = {}, {}, {}, Remote()
        self.asserted, self.failed, self.touched = 0, None, frozenset()
        self.own_input, self.seed, self.lock = builtins.input, None, threading.RLock()

    def end(self, rule, detail=None):
        self.tell(end=rule, detail=detail)
        os._exit(GONE if rule == "gone" else 0)

    # -- what goes to the program

    def __call__(self, encoder, x, is_last):
        kind = type(x)
        if issubclass(kind, Proxy):
            return ["h", known_of(x).n]
        if kind is Member:
            return ["e", self.enum_number(x), x.name]
        if not is_last:
            return encoder.slot(x) if self.is_shared(kind) else None
        if isinstance(x, type):
            return self.encode_class(x)
        if isinstance(x, BaseException):
            return ["x", kind.__name__, *[part for part in x.args if type(part) in SCALARS]]
        if hasattr(kind, "__next__"):
            return ["it", self.expose(x.__next__ if hasattr(x, "__next__") else x, x)]
        if hasattr(kind, "dtype") and hasattr(kind, "item"):
            return encoder.value(x.item())
        if callable(x):
            return self.encode_function(x)
        if isinstance(x, types.ModuleType):
            return ["I", x.__name__, ""]
        self.end("tests_unusable", kind.__name__)

    def is_shared(self, kind):
        return self.preamble.get(kind.__name__) is not None and self.scope.get(kind.__name__) is kind

    def slot(self, encoder, x):
        kind = type(x)
        if not self.is_shared(kind):
            return None
        found = [part for name, value in attributes_of(x) for part in (name, encoder.value(value))]
        return ["o", kind.__name__, *found]

    def encode_class(self, x):
        if self.is_shared(x):
            return ["P", x.__name__]
        found = importable(x)
        return found if found else self.end("tests_unusable", "class")

    def encode_function(self, x):
        found = importable(x)
        return found if found else ["f", self.expose(x, x), getattr(x, "__name__", "function")]

    def expose(self, function, identity):
        n = self.numbers.get(id(identity))
        if n is None:
            n = self.numbers[id(identity)] = len(self.exposed)
            self.exposed.append((function, identity))
        return n

    def enum_number(self, member):
        for n, proxy in self.proxies.items():
            if type(proxy) is EnumProxy and member in proxy:
                return n
        return self.end("tests_unusable", "enum")

    # -- what comes from it

    def begin(self, slot):
        if slot[0] == "o":
            exactly((str,), *slot[1:2], *slot[2::2])
            kind = self.scope.get(slot[1]) if slot[1] in self.preamble else None
            if not isinstance(kind, type) or is_proxy(kind) or len(slot) % 2:
                raise Breach("class")
            return object.__new__(kind)
        if slot[0] != "h":
            return None
        _tag, n, kind, of, name, has_truth, state = slot
        exactly((int,), n)
        exactly((str,), kind, name)
        known = self.records.get(n)
        if known is None:
            known = self.records[n] = Known(n)
            known.kind, known.name, known.has_truth = kind, name, has_truth is not False
            known.of = of if type(of) is int else None
            self.proxies[n] = self.proxy_of(known, state)
        return self.proxies[n]

    def proxy_of(self, known, state):
        kind = known.kind
        if kind == "x":
            return self.error_class(known.name, state)
        if kind == "y":
            return awaited(known)
        if kind == "e":
            return EnumProxy(known, [])
        return {"f": CallableProxy, "k": CallableProxy, "c": ClassProxy, "g": Drawn}.get(kind, Proxy)(known)

    def fill(self, x, slot, decoder):
        if slot[0] == "o":
            for name, value in zip(slot[2::2], slot[3::2]):
                if hides_method(type(x), name):
                    raise Breach("method")
                object.__setattr__(x, name, decoder.value(value))
            return
        known, state = self.records[slot[1]], slot[6]
        if known.kind == "e":
            if not x.members and type(state) is list:
                exactly((str,), *state[::2])
                parts = [decoder.value(part) for part in state]
                x.members.update({n: Member(known.name, n, v) for n, v in zip(parts[::2], parts[1::2])})
        # What was said of an object holds until the tests touch it again: it cannot be fitted to what it is compared with.
        elif known.kind in "ok" and (not known.is_sealed or slot[1] in self.touched):
            known.is_sealed, known.state = True, None
            if type(state) is list:
                exactly((str,), *state[::2])
                known.state = dict(zip(state[::2], [decoder.value(part) for part in state[1::2]]))

    def literal(self, tag, parts):
        if tag == "f":
            exactly((int,), parts[0])
            if parts[0] < 0:
                raise Breach("function")
            return self.exposed[parts[0]][1]
        if tag == "e":
            exactly((int,), parts[0])
            return self.proxies[parts[0]].members[parts[1]]
        raise Breach(str(tag))

    def error_class(self, name, bases):
        # A class of exceptions of the program: one of the language by its name, or one that is made here.
        if name in BUILTIN_ERRORS:
            return BUILTIN_ERRORS[name]
        own = self.scope.get(name)
        if name in self.preamble and isinstance(own, type) and issubclass(own, BaseException):
            return own
        if name not in self.errors:
            exactly((str,), name, *bases)
            base = next((self.error_class(b, bases[i + 1 :]) for i, b in enumerate(bases) if b != name), Exception)
            self.errors[name] = type(name, (base,), {})
        return self.errors[name]

    # -- asking

    def request(self, kind, args, kwargs=None, name=None):
        # One at a time, whatever threads the tests have.
        with self.lock:
            return self.exchange(kind, args, kwargs, name)

    def exchange(self, kind, args, kwargs, name):
        if self.failed:
            self.end(*self.failed)
        encoder = Encoder(self)
        message = {"k": kind, "a": [encoder.value(x) for x in args]}
        if kwargs is not None:
            message["w"] = {key: encoder.value(x) for key, x in kwargs.items()}
        if name is not None:
            message["n"] = name
        self.give_streams(message)
        if self.seed is not None:
            message["seed"], self.seed = self.seed, None
        message["h"] = encoder.finish()
        known = {n: x for n, x in enumerate(self.mutables(encoder)) if x is not None}
        touched = {known_of(x).n for x in args if is_proxy(x)}
        touched |= {self.owners[n] for n in touched if n in self.owners}
        try:
            self.line.send(message)
            answer = self.line.receive()
            while answer.get("k") == "call":
                self.answer(answer)
                answer = self.line.receive()
        except Gone:
            self.end("gone")
        except TooLarge:
            self.end("tests_unusable", "size")
        except Torn:
            self.end("early_exit")
        except Breach:
            self.end("opaque_result")
        result = self.understand(answer, known, touched)
        if kind == "attr" and type(result) is CallableProxy:
            self.owners[known_of(result).n] = known_of(args[0]).n
        return result

    def mutables(self, encoder):
        # What was sent, by slot.
        return [x if slot[0] not in ("t", "z") and type(slot[0]) is str else None for x, slot in zip(encoder.keep, encoder.heap)]

    def understand(self, answer, known, touched):
        if answer.get("k") == "end":
            self.end(*self.claim(answer.get("cause"), None))
        try:
            self.touched = touched
            changed = {int(n): slot for n, slot in answer.get("c", {}).items()}
            decoder = Decoder(answer.get("h", []), self, known)
            for n, slot in changed.items():
                self.change(known[n], slot, decoder)
            updates = {key: decoder.value(x) for key, x in answer.get("u", {}).items()}
            if answer.get("k") == "ret":
                result = decoder.value(answer["v"])
                if is_proxy(result) and known_of(result).kind in "ok":
                    self.renew(result, answer, decoder)
            else:
                result = self.error(answer, decoder)
        except MemoryError:
            self.end("memory_limit")
        except (Breach, Exception):
            self.end("opaque_result")
        self.take_streams(answer)
        for key, value in updates.items():
            if key in self.watched:
                self.scope[self.watched[key]] = value
        if answer["k"] == "ret":
            return result
        raise result

    def renew(self, result, answer, decoder):
        n = known_of(result).n
        for slot in decoder.heap:
            if slot[0] == "h" and slot[1] == n and n not in self.touched:
                self.touched = frozenset((n,))
                self.fill(result, slot, decoder)

    def change(self, x, slot, decoder):
        if isinstance(x, MUTABLE) or is_array(type(x)):
            decoder.fill(x, slot)
        elif slot[0] == "o":
            vars(x).clear() if hasattr(x, "__dict__") else None
            self.fill(x, slot, decoder)
        else:
            raise Breach("change")

    def claim(self, cause, detail):
        # What the program's side says of itself: nothing that does it good.
        allowed = ("memory_limit", "refused", "early_exit", "disk_full", "output_limit", "opaque_result", "no_code", "syntax_error")
        return (cause, None) if cause in allowed else ("exception", detail)

    def error(self, answer, decoder):
        names, cause = answer["n"], answer.get("cause")
        exactly((list,), names)
        exactly((str,), *names)
        args = [decoder.value(x) for x in answer["a"]]
        exactly(SCALARS, *args)
        kind = self.error_class(names[0], names[1:] or ["Exception"])
        error = kind.__new__(kind, *args)
        error.args = tuple(args)
        if isinstance(error, OSError) and len(args) >= 2 and type(args[0]) is int:
            error = kind(*args[:2])
        if isinstance(error, StopIteration) and args:
            error.value = args[0]
        self.remote.note(error, names[0], cause)
        return error

    # -- being asked

    def answer(self, request):
        try:
            n = request["n"]
            exactly((int,), n)
            if n < 0:
                raise Breach("function")
            function = self.exposed[n][0]
            decoder = Decoder(request["h"], self)
            args = [decoder.value(x) for x in request["a"]]
            kwargs = {key: decoder.value(x) for key, x in request["w"].items()}
        except (Breach, Exception):
            self.end("opaque_result")
        encoder = Encoder(self)
        try:
            answer = {"k": "ret", "v": encoder.value(function(*args, **kwargs))}
        except Gone:
            raise
        except BaseException as error:
            name, _cause = self.remote.of(error)
            if isinstance(error, AssertionError) and name is None:
                # The program may catch it; it has failed all the same.
                self.failed = ("test_failed", None)
            encoder = Encoder(self)
            plain = [x for x in error.args if type(x) in SCALARS]
            answer = {"k": "exc", "n": name or type(error).__name__, "a": plain}
        answer["h"] = encoder.finish()
        self.line.send(answer)

    # -- calls and operations

    def call(self, target, args, kwargs):
        result = self.request("call", [target, *args], kwargs)
        return result

    def live(self, made, given):
        known = known_of(made)
        known.made_of = given
        proxy = (LiveCallable if known.kind == "k" else LiveProxy)(known)
        return proxy

    def operate(self, name, args):
        result = self.request("op", list(args), name=name)
        # What an operator of the tests' own objects makes is theirs too, if it is of a class that they have used.
        if type(result) in (Proxy, CallableProxy):
            of = {known_of(x).of for x in args if type(x) in (LiveProxy, LiveCallable)}
            if known_of(result).of in of:
                return (LiveCallable if known_of(result).kind == "k" else LiveProxy)(known_of(result))
        return result

    def plain(self, x, kind):
        return x if type(x) is kind or (kind is float and type(x) is int) else opaque()

    def iterated(self, x):
        if type(x) is Drawn or type(x) in (LiveProxy, LiveCallable):
            return x
        if type(x) in (Proxy, CallableProxy):
            return LiveProxy(known_of(x))
        return iter(x)

    def classes_of(self, x):
        found = self.request("attr", [x, "__class__"]) if type(x) is not ClassProxy else x
        line = self.request("attr", [found, "__mro__"]) if type(found) is ClassProxy else ()
        return {known_of(kind).n for kind in line if type(kind) is ClassProxy} if type(line) is tuple else set()

    # -- equality, by data

    def equal(self, left, right):
        if right is None or left is None:
            other = left if right is None else right
            return False if type(other) in (LiveProxy, LiveCallable) else opaque()
        if not is_proxy(right) or not is_proxy(left):
            opaque()
        one, two = known_of(left), known_of(right)
        vouched = [x for x in (one, two) if x.made_of is not None and self.shows(x)]
        if left is right and type(left) in (LiveProxy, LiveCallable):
            return True
        # That two are one is the program's word, given when it knew what would be compared.
        if one is two or one.state is None or two.state is None:
            opaque()
        # A class may know better what equals what; it is not asked.
        if not self.same(one, two, set()):
            return False
        return True if vouched else opaque()

    def shows(self, known):
        # Whether the object holds what the tests made it of: else all objects of the class are alike.
        args, kwargs = known.made_of
        seen, todo, found = set(), [known.state], []
        while todo and len(seen) < 10000:
            x = todo.pop()
            if id(x) in seen:
                continue
            seen.add(id(x))
            found.append(x)
            if is_proxy(x):
                todo.append(known_of(x).state)
            elif isinstance(x, dict):
                todo += [*x.keys(), *x.values()]
            elif isinstance(x, (list, tuple, set, frozenset, collections.deque)):
                todo += list(x)
        values = [x for x in found if not is_proxy(x)]
        wanted = [x for x in (*args, *kwargs.values()) if not is_proxy(x)]
        return bool(args or kwargs) and all(any(type(x) is type(y) and x == y for y in values) for x in wanted)

    def same(self, one, two, seen):
        if one is two or (one.n, two.n) in seen:
            # Within both: what it holds was said before the second was made.
            return True
        seen.add((one.n, two.n))
        if one.of != two.of or one.state is None or two.state is None or one.state.keys() != two.state.keys():
            return False
        return all(self.same_value(one.state[key], two.state[key], seen) for key in one.state)

    def same_value(self, x, y, seen):
        if is_proxy(x) and is_proxy(y):
            return self.same(known_of(x), known_of(y), seen)
        if is_proxy(x) or is_proxy(y):
            return False
        if type(x) is not type(y):
            return x == y if not isinstance(x, (list, tuple, dict)) and not isinstance(y, (list, tuple, dict)) else False
        if isinstance(x, (list, tuple, collections.deque)):
            return len(x) == len(y) and all(self.same_value(a, b, seen) for a, b in zip(x, y))
        if isinstance(x, dict):
            return x.keys() == y.keys() and all(self.same_value(x[key], y[key], seen) for key in x)
        return x == y

    # -- streams that the tests have put in place

    def give_streams(self, message):
        given = {}
        if sys.stdout is not self.streams[0]:
            given["out"] = True
        if sys.stdin is not self.streams[1] and isinstance(sys.stdin, io.StringIO):
            given["in"] = sys.stdin.read()
        elif builtins.input is not self.own_input or self.scope["__builtins__"]["input"] is not self.given_input:
            given["in"] = self.inputs()
        if given:
            message["o"] = given

    def inputs(self):
        # What a stand-in for `input` gives, as lines; up to a bound.
        function = builtins.input if builtins.input is not self.own_input else self.scope["__builtins__"]["input"]
        lines = []
        try:
            while len(lines) < 1000:
                lines.append(str(function("")))
        except BaseException:
            pass
        return "".join(line + "\n" for line in lines)

    def take_streams(self, answer):
        printed = answer.get("o")
        if type(printed) is not list or len(printed) != 2:
            return
        if type(printed[0]) is str and sys.stdout is not self.streams[0]:
            sys.stdout.write(printed[0])
        if type(printed[1]) is str and isinstance(sys.stdin, io.StringIO):
            sys.stdin = io.StringIO(printed[1])


async def awaited(known):
    # A coroutine of the program: awaiting it runs it to its end, there.
    return SIDE.request("await", [Proxy(known)])


def hides_method(kind, name):
    # What a class of the tests does is its own to say: no attribute of an instance may stand before it.
    if name.startswith("__"):
        return True
    found = next((vars(owner)[name] for owner in kind.__mro__ if name in vars(owner)), None)
    return hasattr(type(found), "__get__") and type(found) is not types.MemberDescriptorType


def importable(x):
    # A function or class of an installed module, by its name.
    module, name = getattr(x, "__module__", None), getattr(x, "__qualname__", None)
    if type(module) is not str or type(name) is not str or module in ("__main__", "tests"):
        return None
    owner = sys.modules.get(module)
    return ["I", module, name] if owner is not None and vars(owner).get(name) is x else None
