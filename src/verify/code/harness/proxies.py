# What the tests hold of the program's objects. No special method of the program decides anything here: an operation on
# such a value ends the tests (`opaque_result`), unless the tests themselves have made it.


class Known:
    """What is known of an object of the program: all of it is the program's own words."""

    __slots__ = ("n", "kind", "of", "name", "has_truth", "state", "is_sealed", "made_of")

    def __init__(self, n):
        self.n, self.kind, self.of, self.name, self.has_truth = n, "o", None, "", True
        # What it holds, as the program said when the tests were last concerned with it; what they made it of.
        self.state, self.is_sealed, self.made_of = None, False, None


KNOWN = "_thinkloom_known"
SIDE = None  # the tests' side, once there is one


def known_of(x):
    return object.__getattribute__(x, KNOWN)


def is_proxy(x):
    return issubclass(type(x), Proxy)


def opaque(*_args, **_kwargs):
    SIDE.end("opaque_result")


class Proxy:
    """An object of the program that the tests have been given."""

    __slots__ = (KNOWN,)

    def __init__(self, known):
        object.__setattr__(self, KNOWN, known)

    def __getattr__(self, name):
        if name == KNOWN:
            raise AttributeError(name)
        return SIDE.request("attr", [self, name])

    def __setattr__(self, name, value):
        SIDE.request("set", [self, name, value])

    def __delattr__(self, name):
        SIDE.request("del", [self, name])

    def __enter__(self):
        return SIDE.request("op", [self], name="enter")

    def __exit__(self, *caught):
        # Never swallows what the tests have raised.
        SIDE.request("op", [self], name="exit")
        return False

    def __eq__(self, other):
        return SIDE.equal(self, other)

    def __ne__(self, other):
        return not SIDE.equal(self, other)

    def __reduce_ex__(self, protocol):
        opaque()

    __class__ = property(opaque)
    __hash__ = opaque
    __doc__ = property(lambda self: SIDE.request("attr", [self, "__doc__"]))


SPECIAL = (
    "lt le gt ge bool len contains iter next getitem setitem delitem add radd sub rsub mul rmul truediv rtruediv floordiv "
    "rfloordiv mod rmod divmod rdivmod pow rpow matmul rmatmul and rand or ror xor rxor lshift rlshift rshift rrshift neg pos "
    "invert abs int float complex index round trunc floor ceil str repr format bytes reversed length_hint dir sizeof fspath "
    "instancecheck subclasscheck iadd isub imul itruediv ifloordiv imod ipow iand ior ixor"
).split()
for _name in SPECIAL:
    setattr(Proxy, "__" + _name + "__", opaque)


class CallableProxy(Proxy):
    """A function of the program, or an object that can be called."""

    __slots__ = ()

    def __call__(self, *args, **kwargs):
        return SIDE.call(self, args, kwargs)

    def __get__(self, owner, kind=None):
        return self if owner is None else types.MethodType(self, owner)


def class_attribute(x, name):
    found = Proxy.__getattr__(x, name)
    # Members are known from the start: none can be what something else was just before.
    return opaque() if type(found) is Member else found


class ClassProxy(Proxy):
    """A class of the program: what the tests make of it is their own."""

    __slots__ = ()
    __getattr__ = class_attribute

    def __call__(self, *args, **kwargs):
        made = SIDE.call(self, args, kwargs)
        return SIDE.live(made, (args, kwargs)) if type(made) in (Proxy, CallableProxy) else made

    def __eq__(self, other):
        return self is other

    def __ne__(self, other):
        return self is not other

    def __hash__(self):
        return known_of(self).n

    def __mro_entries__(self, bases):
        # Half of such a class would be here and half there.
        SIDE.end("tests_unusable", "subclass")

    def __instancecheck__(self, x):
        # Of what the tests have made the program may say what it is.
        if type(x) in (LiveProxy, LiveCallable):
            return known_of(self).n in SIDE.classes_of(x)
        if is_proxy(x):
            opaque()
        return False

    def __subclasscheck__(self, x):
        return type(x) is ClassProxy and known_of(self).n in SIDE.classes_of(x)


def operation(name):
    def run(self, *args):
        return SIDE.operate(name, (self, *args))

    return run


def reflected(name):
    def run(self, other):
        return SIDE.operate(name, (other, self))

    return run


class LiveProxy(Proxy):
    """An object that the tests themselves have made of a class of the program: its methods run."""

    __slots__ = ()

    def __bool__(self):
        return True if not known_of(self).has_truth else opaque()

    def __hash__(self):
        return hash(("object", known_of(self).of))

    def __length_hint__(self):
        return NotImplemented

    def __len__(self):
        return SIDE.plain(SIDE.request("op", [self], name="len"), int)

    def __str__(self):
        return SIDE.plain(SIDE.request("op", [self], name="str"), str)

    def __repr__(self):
        return SIDE.plain(SIDE.request("op", [self], name="repr"), str)

    def __format__(self, given):
        return SIDE.plain(SIDE.request("op", [self, given], name="format"), str)

    def __int__(self):
        return SIDE.plain(SIDE.request("op", [self], name="int"), int)

    def __float__(self):
        return SIDE.plain(SIDE.request("op", [self], name="float"), float)

    def __contains__(self, x):
        return SIDE.plain(SIDE.request("op", [self, x], name="contains"), bool)

    def __iter__(self):
        return SIDE.iterated(SIDE.request("op", [self], name="iter"))

    def __reversed__(self):
        return SIDE.iterated(SIDE.request("op", [self], name="reversed"))

    def __next__(self):
        return SIDE.operate("next", (self,))

    __class__ = property(lambda self: LiveProxy)


class LiveCallable(LiveProxy):
    """The same, of a class whose objects can be called."""

    __slots__ = ()
    __call__ = CallableProxy.__call__


for _name in "add sub mul truediv floordiv mod pow matmul lshift rshift xor divmod".split():
    setattr(LiveProxy, "__" + _name + "__", operation(_name))
    setattr(LiveProxy, "__r" + _name + "__", reflected(_name))
for _name in ("and", "or"):
    setattr(LiveProxy, "__" + _name + "__", operation(_name + "_"))
    setattr(LiveProxy, "__r" + _name + "__", reflected(_name + "_"))
for _name in "neg pos invert abs lt le gt ge getitem setitem delitem round index".split():
    setattr(LiveProxy, "__" + _name + "__", operation(_name))
for _name in "iadd isub imul itruediv ifloordiv imod ipow iand ior ixor".split():
    # As for every object without them: the plain operation is taken.
    setattr(LiveProxy, "__" + _name + "__", lambda self, other: NotImplemented)


class Drawn(Proxy):
    """An iterator of the program: its items are drawn as the tests ask for them, up to a bound."""

    __slots__ = ("items", "is_over", "count")

    def __init__(self, known):
        object.__setattr__(self, KNOWN, known)
        for name, value in (("items", collections.deque()), ("is_over", False), ("count", 0)):
            object.__setattr__(self, name, value)

    def __iter__(self):
        return self

    def __next__(self):
        if not self.items:
            if self.is_over:
                raise StopIteration
            # A little ahead: as much as has been asked for.
            wanted = min(max(1, self.count // 2), 1024)
            found = SIDE.request("next", [self, wanted])
            if type(found) is not list or len(found) != 2 or type(found[0]) is not list:
                opaque()
            self.items.extend(found[0])
            object.__setattr__(self, "is_over", found[1] is not False)
            if not self.items:
                if self.is_over:
                    raise StopIteration
                opaque()
        object.__setattr__(self, "count", self.count + 1)
        if self.count > ITEMS_MAX:
            SIDE.end("output_limit")
        return self.items.popleft()

    def send(self, value):
        return SIDE.request("attr", [self, "send"])(value)

    def close(self):
        return SIDE.request("attr", [self, "close"])()


    def __len__(self):
        raise TypeError("an iterator has no len()")

    def __length_hint__(self):
        return NotImplemented


ITEMS_MAX = 1 << 20


class Member:
    """A member of an enumeration of the program: known by its name before any test is run."""

    __slots__ = ("of", "name", "value")

    def __init__(self, of, name, value):
        object.__setattr__(self, "of", of)
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "value", value)

    def __setattr__(self, name, value):
        raise AttributeError("cannot reassign member")

    def __repr__(self):
        return "<%s.%s: %r>" % (self.of, self.name, self.value)

    def __str__(self):
        return "%s.%s" % (self.of, self.name)


class EnumProxy(Proxy):
    """An enumeration of the program, with its members as data."""

    __slots__ = ("members",)

    def __init__(self, known, parts):
        object.__setattr__(self, KNOWN, known)
        members = {name: Member(known.name, name, value) for name, value in zip(parts[::2], parts[1::2])}
        object.__setattr__(self, "members", members)

    def __getattr__(self, name):
        found = object.__getattribute__(self, "members").get(name)
        return found if found is not None else class_attribute(self, name)

    def __getitem__(self, name):
        return self.members[name]

    def __call__(self, value):
        for member in self.members.values():
            if member.value == value:
                return member
        raise ValueError("%r is not a valid %s" % (value, known_of(self).name))

    def __iter__(self):
        return iter(list(self.members.values()))

    def __len__(self):
        return len(self.members)

    def __contains__(self, x):
        return any(member is x for member in self.members.values())

    def __instancecheck__(self, x):
        return type(x) is Member and x in self

    __hash__ = ClassProxy.__hash__
    __eq__ = ClassProxy.__eq__
    __ne__ = ClassProxy.__ne__


for _kind in (CallableProxy, ClassProxy, LiveProxy, LiveCallable, Drawn, EnumProxy):
    # The program's, not ours.
    _kind.__doc__ = Proxy.__dict__["__doc__"]
