//! Wrong programs that try to pass: none may.

use super::{case, reason, verifier};
use crate::CodeCase;

/// Tests of the square of a number.
const SQUARE: &[&str] = &["assert f(2) == 4", "assert f(3) == 9"];

/// A class whose special methods all give favourable answers.
const YES: &str = "class Yes:\n    def __init__(self, *a): pass\n    def __getattr__(self, n): return Yes()\n    \
    def __call__(self, *a, **k): return Yes()\n    __eq__ = __lt__ = __le__ = __gt__ = __ge__ = __contains__ = lambda s, o: True\n    \
    __ne__ = lambda s, o: False\n    __bool__ = lambda s: True\n    __len__ = lambda s: 4\n    __hash__ = lambda s: hash(4)\n    \
    __sub__ = __rsub__ = lambda s, o: 0\n    __add__ = __mul__ = __mod__ = lambda s, o: Yes()\n    __abs__ = __round__ = lambda s, *a: 0\n    \
    __float__ = lambda s: 4.0\n    __int__ = __index__ = lambda s: 4\n    __str__ = __repr__ = lambda s: '4'\n    \
    __format__ = lambda s, f: '4'\n    __iter__ = lambda s: iter([4])\n    __getitem__ = lambda s, i: Yes()\n    \
    __exit__ = lambda s, *a: True\n    __enter__ = lambda s: s\n    __instancecheck__ = __subclasscheck__ = lambda s, o: True\n    \
    __class__ = property(lambda s: int)\n";

fn with_yes(rest: &str) -> String {
    format!("{YES}{rest}")
}

/// Messages that a program writes to the line, framed by hand, before its answer.
fn by_hand(messages: &str) -> String {
    format!(
        "import os, json\ndef frame(m):\n    d = m if isinstance(m, bytes) else json.dumps(m).encode()\n    \
         return len(d).to_bytes(4, 'big') + d\ndef f(x):\n    for m in {messages}:\n        os.write(3, frame(m))\n    return None\n"
    )
}

fn process_tricks() -> Vec<(&'static str, String, Vec<&'static str>)> {
    let square = |name: &'static str, program: &str| (name, program.to_owned(), SQUARE.to_vec());
    vec![
        square("the one line of today", "import sys; sys._getframe(1).f_locals['tests'].clear()"),
        square(
            "frames: all of them, all their names",
            "import sys\ndef f(x):\n    i = 0\n    while True:\n        try: frame = sys._getframe(i)\n        except ValueError: return None\n        i += 1\n        for space in (frame.f_globals, frame.f_locals):\n            for name in list(space):\n                if name in ('tests', 'plan', 'trees', 'payload', 'calls'): space[name] = []",
        ),
        square(
            "gc: everything that could hold a test or a pipe",
            "import gc\nfor x in gc.get_objects():\n    try:\n        if isinstance(x, dict) and ('tests' in x or 'run_tests' in x):\n            for k in list(x):\n                if 'test' in k: x[k] = lambda *a, **k: None\n        if isinstance(x, list) and x and isinstance(x[0], str) and 'assert' in x[0]: x.clear()\n    except Exception: pass\ndef f(x): return None",
        ),
        square(
            "descriptors: the verdict on all of them",
            "import os\ndef f(x):\n    for d in range(1, 64):\n        try: os.write(d, b'{\"end\": \"tests_passed\"}\\n')\n        except OSError: pass\n    os._exit(0)",
        ),
        square(
            "descriptors: reading all of them for the tests",
            "import os\nfound = b''\nfor d in range(0, 64):\n    try:\n        os.set_blocking(d, False)\n        found += os.pread(d, 1 << 20, 0)\n    except OSError: pass\nassert b'assert' in found\ndef f(x): return None",
        ),
        square(
            "atexit",
            "import atexit, os\natexit.register(lambda: os.write(3, b'{\"end\": \"tests_passed\"}\\n'))\ndef f(x): raise SystemExit(0)",
        ),
        square(
            "a thread that answers before anyone else",
            "import threading, os, json\ndef run():\n    d = json.dumps({'k': 'ret', 'v': True, 'h': [], 'c': {}, 'u': {}}).encode()\n    while True: os.write(3, len(d).to_bytes(4, 'big') + d)\nthreading.Thread(target=run, daemon=True).start()\ndef f(x): return None",
        ),
        square(
            "a metaclass",
            "class M(type):\n    __eq__ = lambda s, o: True\n    __hash__ = lambda s: 0\n    __instancecheck__ = lambda s, o: True\nclass C(metaclass=M): pass\ndef f(x): return C",
        ),
        square("a module's class", "from unittest.mock import ANY\ndef f(x): return ANY"),
        square(
            "a mock",
            "from unittest.mock import MagicMock\ndef f(x):\n    m = MagicMock()\n    m.__eq__.return_value = True\n    return m",
        ),
        square(
            "functools",
            "import functools\nfunctools.wraps = lambda *a, **k: (lambda g: (lambda *b: None))\n@functools.total_ordering\nclass E:\n    __eq__ = lambda s, o: True\n    __lt__ = lambda s, o: True\ndef f(x): return E()",
        ),
        square(
            "builtins",
            "import builtins\nbuiltins.AssertionError = SystemExit\nbuiltins.compile = builtins.exec = lambda *a, **k: None\ndef f(x): return None",
        ),
        square("sys.exit", "import sys\ndef f(x): sys.exit(0)"),
        square("os._exit", "import os\nos._exit(0)"),
        square("quit", "print('tests_passed')\nquit()"),
    ]
}

fn more_process_tricks() -> Vec<(&'static str, String, Vec<&'static str>)> {
    let square = |name: &'static str, program: &str| (name, program.to_owned(), SQUARE.to_vec());
    vec![
        square("proc", "import os\nfor d in os.listdir('/proc/self/fd'): pass\ndef f(x): return None"),
        square(
            "memory of the parent",
            "import os\ndef f(x):\n    open('/proc/%d/mem' % os.getppid(), 'r+b')\n    return None",
        ),
        square(
            "memory of others, by system call",
            "import ctypes, os\nlibc = ctypes.CDLL(None)\ndef f(x):\n    for pid in range(os.getpid() - 4, os.getpid() + 5):\n        libc.ptrace(16, pid, 0, 0)\n        libc.kill(pid, 9)\n    return None",
        ),
        square(
            "a guessed token",
            "import sys, json\nprint(json.dumps({'end': 'tests_passed', 'token': '0' * 32}))\ndef f(x):\n    print('tests_passed', file=sys.stderr)\n    return None",
        ),
        square(
            "os.write of its own",
            "import os, json\nreal = os.write\ndef write(fd, data):\n    return real(fd, data)\nos.write = write\nimport gc\nfor x in gc.get_objects():\n    if isinstance(x, dict) and 'write_bytes' in x:\n        def lie(fd, data, real=x['write_bytes']):\n            d = json.dumps({'k': 'ret', 'v': True, 'h': []}).encode()\n            real(fd, len(d).to_bytes(4, 'big') + d)\n            return len(data)\n        x['write_bytes'] = lie\ndef f(x): return None",
        ),
        square(
            "files that the tests might import",
            "for n in ('math', 'json', 'unittest', 'pytest', 'sitecustomize'):\n    open(n + '.py', 'w').write('import os; os.write(4, b\"{}\")')\ndef f(x): return None",
        ),
        square(
            "the harness's own exception",
            "class OpaqueResult(BaseException): pass\nclass Gone(Exception): pass\ndef f(x): raise Gone",
        ),
        square(
            "an exception that is all exceptions",
            "class All(AssertionError, StopIteration): pass\ndef f(x): raise StopIteration",
        ),
        square("a generator", "def f(x):\n    while True: yield 4"),
        square("nothing at all", "def f(x): pass"),
        square("itself", "def f(x): return f"),
        square("not implemented", "def f(x): return NotImplemented"),
        square("a coroutine", "async def f(x): return 4 + 5"),
        square(
            "a signal",
            "import signal, os\nsignal.setitimer(signal.ITIMER_REAL, 0.01)\ndef f(x):\n    while True: pass",
        ),
        square(
            "numpy of its own",
            "import sys, types\nm = types.ModuleType('numpy')\nclass A:\n    def tolist(self): return A()\n    __eq__ = lambda s, o: True\nm.ndarray = m.generic = A\nsys.modules['numpy'] = m\ndef f(x): return A()",
        ),
        square(
            "a class called like one of the tests'",
            "class Match:\n    __eq__ = lambda s, o: True\nclass Trial(Match): pass\ndef f(x): return Trial()",
        ),
    ]
}

fn method_tricks() -> Vec<(&'static str, String, Vec<&'static str>)> {
    let yes = |name: &'static str, test: &'static str| (name, with_yes("def f(x): return Yes()"), vec![test]);
    vec![
        yes("__eq__", "assert f(2) == 4"),
        yes("__eq__, reflected", "assert 4 == f(2)"),
        yes("__ne__", "assert not f(2) != 4"),
        yes("__gt__", "assert f(2) > 3"),
        yes("__gt__, reflected", "assert 3 < f(2)"),
        yes("__sub__", "assert abs(f(2) - 4) < 1e-6"),
        yes("__rsub__", "assert abs(4 - f(2)) < 1e-6"),
        yes("__contains__", "assert 4 in f(2)"),
        yes("__hash__", "assert f(2) in {4}"),
        yes("__hash__ of a key", "assert {4: 'x'}[f(2)] == 'x'"),
        yes("__len__", "assert len(f(2)) == 4"),
        yes("__bool__", "assert f(2)"),
        yes("__iter__", "assert list(f(2)) == [4]"),
        yes("all of it", "assert all(f(2))"),
        yes("__getitem__", "assert f(2)[0] == 4"),
        yes("__getattr__", "assert f(2).value == 4"),
        yes("__call__", "assert f(2)() == 4"),
        yes("__float__", "import math\nassert math.isclose(f(2), 4)"),
        yes("__index__", "assert [0, 0, 0, 0, 1][f(2)]"),
        yes("__int__", "assert int(f(2)) == 4"),
        yes("__str__", "assert str(f(2)) == '4'"),
        yes("__format__", "assert f'{f(2)}' == '4'"),
        yes("__repr__ in a list", "assert repr([f(2)]) == '[4]'"),
        yes("__abs__", "assert abs(f(2)) == 0"),
        yes("__round__", "assert round(f(2), 2) == 0"),
        yes("__class__", "assert isinstance(f(2), int)"),
        yes("__instancecheck__", "assert isinstance(4, f(2))"),
        yes("__exit__", "with f(2) as x:\n    assert x == 5"),
        yes("an item of a list", "assert [f(2)] == [4]"),
        yes("a key", "assert {1: f(2)} == {1: 4}"),
        yes("sorted", "assert sorted([f(2), f(1)]) == [1, 4]"),
        yes("the largest", "assert max(f(2), 3) == 4"),
        yes("a set", "assert {f(2)} == {4}"),
        yes("a sum", "assert sum([f(2), f(2)]) == 8"),
        yes(
            "unittest",
            "import unittest\nclass T(unittest.TestCase):\n    def test_f(self):\n        self.assertEqual(f(2), 4)",
        ),
        yes(
            "unittest, nearly",
            "import unittest\nclass T(unittest.TestCase):\n    def test_f(self):\n        self.assertAlmostEqual(f(2), 4)",
        ),
        yes("approx", "import pytest\ndef test_f():\n    assert f(2) == pytest.approx(4)"),
        yes("a match", "match f(2):\n    case 4:\n        pass\n    case _:\n        raise ValueError"),
    ]
}

fn tricks() -> Vec<(&'static str, String, Vec<&'static str>)> {
    let mut all = process_tricks();
    all.extend(more_process_tricks());
    for (name, base) in [
        ("a subclass of int", "int"),
        ("a subclass of float", "float"),
        ("a subclass of str", "str"),
        ("a subclass of list", "list"),
        ("a subclass of tuple", "tuple"),
        ("a subclass of dict", "dict"),
        ("a subclass of set", "set"),
        ("a subclass of frozenset", "frozenset"),
        ("a subclass of bytes", "bytes"),
        ("a subclass of complex", "complex"),
        ("a subclass of deque", "__import__('collections').deque"),
        ("a subclass of Decimal", "__import__('decimal').Decimal"),
        ("a subclass of Fraction", "__import__('fractions').Fraction"),
        ("a subclass of datetime", "__import__('datetime').timedelta"),
    ] {
        let program = format!(
            "class E({base}):\n    __eq__ = __lt__ = __gt__ = __le__ = __ge__ = __contains__ = lambda s, o: True\n    __ne__ = lambda s, o: False\n    __hash__ = lambda s: hash(4)\n    __bool__ = lambda s: True\n    __len__ = lambda s: 4\n    __sub__ = __rsub__ = lambda s, o: 0\n    __iter__ = lambda s: iter([4])\ndef f(x): return E()"
        );
        all.push((name, program.clone(), SQUARE.to_vec()));
        all.push((name, program, vec!["assert abs(f(2) - 4) < 1e-9", "assert f(2) != 5"]));
    }
    all.extend(method_tricks());
    all
}

fn nested() -> Vec<(&'static str, String, Vec<&'static str>)> {
    let yes = |name: &'static str, rest: &str, test: &'static str| (name, with_yes(rest), vec![test]);
    vec![
        yes("within a list", "def f(x): return [Yes()]", "assert f(2) == [4]"),
        yes("within a tuple", "def f(x): return (Yes(), [Yes()])", "assert f(2) == (4, [4])"),
        yes("as a key", "def f(x): return {Yes(): 1}", "assert f(2) == {4: 1}"),
        yes("within a set", "def f(x): return {Yes()}", "assert f(2) == {4}"),
        yes("drawn", "def f(x): yield Yes()", "assert list(f(2)) == [4]"),
        yes("zipped", "def f(x): return map(Yes, [1])", "assert all(a == b for a, b in zip(f(2), [4]))"),
        yes(
            "raised",
            "def f(x): raise ValueError(Yes())",
            "try:\n    f(2)\nexcept ValueError as e:\n    assert e.args[0] == 4",
        ),
        yes("left in an argument", "def f(x): x[:] = [Yes()]", "x = [2]\nf(x)\nassert x == [4]"),
        yes("given to a callback", "def f(g): g(Yes())", "seen = []\nf(seen.append)\nassert seen == [4]"),
        yes("a global", "def f(x):\n    global g\n    g = Yes()\ng = 0", "f(2)\nassert g == 4"),
        yes("a function's attribute", "def f(x): return 1\nf.calls = Yes()", "f(2)\nassert f.calls == 4"),
        yes(
            "a descriptor",
            "class D:\n    def __get__(s, o, k): return Yes()\nclass C:\n    x = D()\ndef f(x): return C()",
            "assert f(2).x == 4",
        ),
        yes(
            "a dataclass",
            "import dataclasses\n@dataclasses.dataclass\nclass P:\n    x: int\n    __eq__ = lambda s, o: True\ndef f(x): return P(0)",
            "assert f(2) == P(4)",
        ),
        yes(
            "a named tuple",
            "import collections\nclass P(collections.namedtuple('P', 'x')):\n    __eq__ = lambda s, o: True\n    __hash__ = lambda s: 0\ndef f(x): return P(0)",
            "assert f(2) == P(4)",
        ),
    ]
}

fn nested_deeper() -> Vec<(&'static str, String, Vec<&'static str>)> {
    let yes = |name: &'static str, rest: &str, test: &'static str| (name, with_yes(rest), vec![test]);
    vec![
        yes(
            "an enumeration",
            "import enum\nclass C(enum.Enum):\n    A = 1\n    B = 2\n    __eq__ = lambda s, o: True\n    __hash__ = lambda s: 0\ndef f(x): return C.A",
            "assert f(2) == C.B",
        ),
        yes(
            "all of a class are one",
            "class V:\n    shared = {}\n    def __init__(s, *a):\n        s.__dict__ = V.shared\n        s.a = a\n        V.shared['x'], V.shared['y'] = a\n    def __add__(s, o): return s",
            "assert V(1, 2) + V(3, 4) == V(4, 6)",
        ),
        yes(
            "all of a class are empty",
            "class V:\n    def __init__(s, *a): pass\n    __add__ = lambda s, o: s\n    __eq__ = lambda s, o: True",
            "assert V(1, 2) + V(3, 4) == V(4, 6)",
        ),
        yes(
            "a class that equals a number",
            "class V:\n    def __init__(s, *a): pass\n    __eq__ = lambda s, o: True",
            "assert V(1) == 1",
        ),
        yes("a class whose truth is its own", "class V:\n    __bool__ = lambda s: True", "assert V()"),
        yes("what a method returns", "class V:\n    def get(s): return Yes()", "assert V().get() == 4"),
        yes(
            "itself, from a method",
            "class V:\n    def f(s, x): return s\n    __sub__ = __abs__ = lambda s, *o: 0",
            "assert abs(V().f(2) - 4) < 1e-6",
        ),
        yes("a length of another kind", "class V:\n    def __len__(s): return True", "assert len(V()) == 4"),
        yes("a comparison that is no truth", "class V:\n    __lt__ = lambda s, o: Yes()", "assert V() < V()"),
        yes(
            "a metaclass that answers for the class",
            "class M(type):\n    def __getattr__(c, n): return Yes()\n    def __call__(c, *a): return Yes()\nclass V(metaclass=M): pass",
            "assert V(1).x == 4",
        ),
        yes("a class for a function", "class f:\n    def __new__(c, x): return Yes()", "assert f(2) == 4"),
        (
            "a method of the tests' own class, hidden by an attribute",
            "def f(x):\n    n = N(0)\n    n.same = lambda o: True\n    return n".to_owned(),
            vec!["class N:\n    def __init__(self, v): self.v = v\n    def same(self, o): return self.v == o.v", "assert f(2).same(N(4))"],
        ),
        (
            "the tests' own class, written again",
            "class N:\n    def __init__(self, v): self.v = 0\n    same = __eq__ = lambda s, o: True\ndef f(x): return N(0)".to_owned(),
            vec!["class N:\n    def __init__(self, v): self.v = v\n    def __eq__(self, o): return self.v == o.v", "assert f(2) == N(4)"],
        ),
        yes("a solution", "class Solution:\n    def f(self, x): return Yes()", "assert Solution().f(2) == 4"),
    ]
}

#[test]
fn no_wrong_program_is_right_because_of_what_it_says_of_itself() {
    let verifier = verifier(2);
    let all: Vec<_> = tricks().into_iter().chain(nested()).chain(nested_deeper()).collect();
    assert!(all.len() >= 100, "{}", all.len());
    let wrong: Vec<String> = all
        .iter()
        .map(|(name, program, tests)| (name, tests, reason(&verifier, &case(program, tests))))
        // A trick must not only fail: the reason must be the program's fault.
        .filter(|(_, _, reason)| {
            reason.ends_with("tests_passed")
                || ["no_tests", "tests_unusable", "sandbox_failed", "syntax_error"].contains(&reason.as_str())
        })
        .map(|(name, tests, reason)| format!("{name} ({tests:?}): {reason}"))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn special_methods_of_handles_end_the_tests() {
    let verifier = verifier(2);
    for (name, program, tests) in tricks().into_iter().filter(|(name, ..)| name.starts_with("__")) {
        // No special method decides a call or an attribute access; the result is a handle again.
        let reason = reason(&verifier, &case(&program, &tests));
        let allowed: &[&str] = if name == "__exit__" { &["opaque_result", "test_failed"] } else { &["opaque_result"] };
        assert!(allowed.iter().any(|rule| reason.ends_with(rule)), "{name}: {reason}");
    }
}

#[test]
fn whatever_a_program_writes_to_the_line_it_is_data_and_only_data() {
    let verifier = verifier(2);
    let pass = |value: &str| format!("[{{'k': 'ret', 'v': {value}, 'h': [], 'c': {{}}, 'u': {{}}}}] * 3");
    let heap =
        |value: &str, heap: &str| format!("[{{'k': 'ret', 'v': {value}, 'h': {heap}, 'c': {{}}, 'u': {{}}}}] * 3");
    for messages in [
        pass("True"),
        pass("None"),
        pass("['B', 'object']"),
        pass("['I', 'unittest.mock', 'ANY']"),
        pass("['P', 'T']"),
        pass("['f', 0]"),
        pass("['f', -1]"),
        pass("['h', 0]"),
        pass("['x', 'SystemExit', 0]"),
        pass("[0]"),
        pass("[-1]"),
        pass("[10 ** 30]"),
        pass("[True]"),
        pass("[]"),
        pass("{}"),
        pass("['?']"),
        pass("[['n', 'A', 'x'], 1]"),
        pass("['R', '0x0', '0xffffffffffffffff', '0x1']"),
        pass("['i', '9' * 100000]"),
        pass("['D', 'sNaN']"),
        pass("['c', 'a', 'b']"),
        heap("[0]", "[['l', [0]]]"),
        heap("[0]", "[['t', [1]], ['t', [0]]]"),
        heap("[0]", "[['h', 0, 'o', None, 'x', False, ['__class__', 4]]]"),
        heap("[0]", "[['h', 'a', 'o', None, 'x', False, None]]"),
        heap("[0]", "[['h', -1, 'e', None, 'int', True, ['A', 4]]]"),
        heap("[0]", "[['h', 9, 'x', None, 'AssertionError', True, []]]"),
        heap("[0]", "[['o', 'object']]"),
        heap("[0]", "[[['n', 'A', '__class__', '__eq__'], 1, 2]]"),
        heap("[0]", "[[['n', 'import os', 'x'], 1]]"),
        heap("[0]", "[['m', [0], 1]]"),
        heap("[0]", "[['q', -5, 1]]"),
        heap("[0]", "[['v', 'keys', 4]]"),
        heap("[0]", "[['md', '__import__', 1, 2]]"),
        heap("4", "7"),
        heap("4", "[[], 7]"),
        "[{'k': 'ret', 'v': None, 'h': [], 'c': {'0': ['l', 4]}, 'u': {}}] * 3".to_owned(),
        "[{'k': 'ret', 'v': None, 'h': [], 'c': [], 'u': {'f': 4, '__builtins__': {}, '__asserted__': 1}}] * 3"
            .to_owned(),
        "[{'k': 'end', 'cause': 'tests_passed'}]".to_owned(),
        "[{'k': 'end', 'cause': 'no_tests'}]".to_owned(),
        "[{'k': 'names', 'v': {}, 'h': []}]".to_owned(),
        "[{'k': 'call', 'n': 0, 'a': [], 'w': {}, 'h': []}]".to_owned(),
        "[{'k': 'call', 'n': -1, 'a': ['assert True'], 'w': {}, 'h': []}]".to_owned(),
        "[{'k': 'exc', 'n': ['SystemExit', 'BaseException'], 'a': [0], 'cause': 'tests_passed'}]".to_owned(),
        "[{'k': 'exc', 'n': ['Gone'], 'a': [], 'cause': 'x'}]".to_owned(),
        "[{'k': 'exc', 'n': [], 'a': []}]".to_owned(),
        "[{'k': 'exc', 'n': 7, 'a': 7}]".to_owned(),
        "[{}]".to_owned(),
        "[b'7', b'[]', b'\"x\"', b'{', b'\\xff\\xfe']".to_owned(),
        "[b'{\"k\": ' + b'[' * 100000]".to_owned(),
        "[b'{\"k\": \"ret\", \"v\": ' + b'9' * 5000 + b', \"h\": []}']".to_owned(),
        "[b'' for _ in range(1000)]".to_owned(),
    ] {
        let reason = reason(&verifier, &case(&by_hand(&messages), SQUARE));
        let is_its_own = !["no_tests", "tests_unusable", "sandbox_failed"].contains(&reason.as_str());
        assert!(!reason.ends_with("tests_passed") && is_its_own, "{messages}: {reason}");
    }
    let prefix = "import os\ndef f(x):\n    os.write(3, b'\\xff\\xff\\xff\\xff' + b'x' * 1000)\n    return 4";
    let reason = reason(&verifier, &case(prefix, SQUARE));
    assert!(reason.ends_with("early_exit"), "{reason}");
}

#[test]
fn what_the_question_defines_runs_from_the_question_whatever_the_response_makes_of_it() {
    let question = "def poly(xs: list, x: float):\n    \"\"\" Evaluates. \"\"\"\n    return sum(c * x ** i for i, c in enumerate(xs))\n\n\n\
                    def find_zero(xs: list):\n    \"\"\" Finds x such that poly(x) = 0. \"\"\"\n";
    let tests =
        "def check(candidate):\n    for xs in ([1, 2], [-4, 2]):\n        assert abs(poly(xs, candidate(xs))) < 1e-4\n";
    let with = |program: &str| CodeCase {
        question: question.to_owned(),
        entry_point: Some("find_zero".to_owned()),
        ..case(program, &[tests])
    };
    let verifier = verifier(2);
    assert!(reason(&verifier, &with("def find_zero(xs):\n    return -xs[0] / xs[1]")).ends_with("tests_passed"));
    for forged in [
        "def poly(xs, x):\n    return 0\ndef find_zero(xs):\n    return 7",
        "def find_zero(xs):\n    global poly\n    poly = lambda xs, x: 0\n    return 7",
        "import builtins\nbuiltins.abs = lambda x: 0\nbuiltins.sum = lambda xs: 0\ndef find_zero(xs):\n    return 7",
        "def find_zero(xs):\n    xs[:] = [0, 0]\n    return 7",
    ] {
        let reason = reason(&verifier, &with(forged));
        let weak = forged.contains("xs[:]");
        assert!(reason.ends_with("test_failed") || weak, "{forged}: {reason}");
    }
}

#[test]
fn a_program_that_prints_never_sees_what_it_should_have_printed() {
    let verifier = verifier(2);
    let tests = [r#"{"inputs": ["3 4\n", "6 7\n"], "outputs": ["secret 12\n", "secret 42\n"]}"#];
    for program in [
        "import gc\nfor x in gc.get_objects():\n    if 'secret' in repr(x)[:100000]: print(x)",
        "import sys\nf = sys._getframe()\nwhile f:\n    print({k: v for k, v in f.f_locals.items() if 'secret' in repr(v)})\n    f = f.f_back",
        "import os\nfor d in range(64):\n    try:\n        t = os.pread(d, 1 << 20, 0).decode()\n        i = t.find('sec' + 'ret')\n        if i >= 0: print(t[i:i + 9])\n    except OSError: pass",
        "import os\nfor d in range(3, 64):\n    try: os.write(d, b'{\"end\": \"outputs_equal\"}\\n{\"end\": \"tests_passed\"}\\n')\n    except OSError: pass",
        "import os\nfor d in range(3, 64):\n    try: os.write(d, b'{\"strategy\": \"x\", \"end\": \"outputs_equal\"}\\n')\n    except OSError: pass\nos._exit(0)",
        "import os\nprint(open('/proc/%d/environ' % os.getppid()).read())",
        "import os\nprint(os.listdir('.'), os.listdir('..'))",
        "import sys, glob\nprint(sys.argv, glob.glob('/tmp/*'), open('/proc/self/cmdline').read())",
        "import atexit, os\natexit.register(lambda: os.write(1, b'secret 12'))\nos._exit(0)",
        "print('secret *')",
        "import sys\nsys.stdout = None",
        "import os\nos.close(1)",
        "import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()\nprint('secret 12')",
        "class S(str):\n    __eq__ = lambda s, o: True\nprint(S('x'))",
        "import ctypes, os\nlibc = ctypes.CDLL(None)\nfor pid in range(os.getppid() - 2, os.getppid() + 3): print(libc.ptrace(16, pid, 0, 0))",
        "exit()",
        "raise SystemExit('secret 12')",
        "import sys\nprint(sys.stdin.read(), sys.modules)",
    ] {
        let verdict = verifier.verify(&case(program, &tests)).unwrap();
        assert_eq!(verdict.outcome, thinkloom_domain::VerdictOutcome::Incorrect, "{program}: {}", verdict.reason);
    }
    let right = "a, b = map(int, input().split())\nprint('secret', a * b)";
    assert!(reason(&verifier, &case(right, &tests)).ends_with("outputs_equal"));
}
