//! Honest programs whose values must travel from one process to the other.

use super::{assert_ends, case};
use crate::CodeCase;

fn passes(program: &str, tests: &[&str]) -> (&'static str, CodeCase) {
    (":tests_passed", case(program, tests))
}

#[test]
fn plain_values_travel_as_they_are() {
    let echo = "def f(x): return x";
    let mut cases = Vec::new();
    for value in [
        "0",
        "-1",
        "10 ** 5000",
        "-(2 ** 64)",
        "True",
        "None",
        "1.5",
        "-0.0",
        "1e308",
        "'text\\n\\u00e9\\U0001f600'",
        "'\\ud800'",
        "b'\\x00\\xff'",
        "bytearray(b'ab')",
        "1 + 2j",
        "[]",
        "[1, [2, (3, {4: {5, 6}})]]",
        "()",
        "(1,)",
        "((1, 2), [3])",
        "{}",
        "{1: 'a', (2, 3): [4]}",
        "set()",
        "{1, 'a', (2, 3)}",
        "frozenset({1, 2})",
        "{frozenset({1}): 2}",
        "range(5)",
        "range(0, -10, -3)",
        "slice(1, None, 2)",
        "...",
        "__import__('decimal').Decimal('1.10')",
        "__import__('fractions').Fraction(1, 3)",
        "__import__('datetime').date(2020, 2, 29)",
        "__import__('datetime').datetime(2020, 2, 29, 1, 2, 3, 4)",
        "__import__('datetime').timedelta(days=-1, seconds=5)",
        "__import__('datetime').time(1, 2)",
        "__import__('datetime').datetime(2020, 1, 1, tzinfo=__import__('datetime').timezone.utc)",
        "__import__('collections').Counter('abca')",
        "__import__('collections').deque([1, 2], 5)",
        "__import__('collections').OrderedDict([(1, 2), (0, 1)])",
        "int",
        "[str, ValueError]",
        "[float('inf')]",
        "list(range(100000))",
        "'x' * 1000000",
        "{i: [i] for i in range(2000)}",
    ] {
        cases.push((
            ":tests_passed",
            case(echo, &[&format!("x = {value}\nassert f(x) == x and type(f(x)) is type(x)")]),
        ));
    }
    assert_ends(&cases);
}

#[test]
fn floats_orders_and_structures_survive() {
    let cases = [
        passes("def f(): return float('nan')", &["r = f()\nassert r != r"]),
        passes(
            "import math\ndef f(x): return math.copysign(0.0, x)",
            &["import math\nassert math.copysign(1, f(-1.0)) == -1"],
        ),
        passes(
            "def f(): return {3: 1, 1: 2, 2: 3}",
            &["assert list(f()) == [3, 1, 2] and list(f().items())[0] == (3, 1)"],
        ),
        passes(
            "def f(n):\n    r = []\n    for _ in range(n): r = [r]\n    return r",
            &["r = f(5000)\nd = 0\nwhile r:\n    r = r[0]\n    d += 1\nassert d == 5000"],
        ),
        passes("def f():\n    r = [1]\n    r.append(r)\n    return r", &["r = f()\nassert r[1] is r and r[0] == 1"]),
        passes("def f():\n    r = [0]\n    return [r, r]", &["a, b = f()\nassert a is b"]),
        passes(
            "import collections\ndef f(s): return collections.defaultdict(list, {s: [1]})",
            &["r = f('a')\nassert r == {'a': [1]} and r['b'] == []"],
        ),
        passes(
            "import collections\nP = collections.namedtuple('P', 'x y')\ndef f(): return P(1, 2)",
            &["r = f()\nassert r == (1, 2) and r.y == 2 and r._fields == ('x', 'y')"],
        ),
        passes(
            "import typing\nclass P(typing.NamedTuple):\n    x: int\n    y: int = 3\ndef f(): return [P(1), P(2, 5)]",
            &["assert f() == [(1, 3), (2, 5)] and f()[1].x == 2"],
        ),
        passes("class L(list): pass\ndef f(): return L([1, 2])", &["assert f() == [1, 2]"]),
        passes("import enum\nclass C(enum.IntEnum):\n    A = 4\ndef f(): return C.A", &["assert f() == 4"]),
        passes(
            "import enum\nclass C(enum.Enum):\n    A = 1\n    B = 'b'\ndef f(x): return C(x)",
            &[
                "assert f(1) == C.A and f('b') is C.B and f(1) != C.B and C.B.value == 'b' and f(1).name == 'A'\nassert C('b') in [C.B] and len(list(C)) == 2 and isinstance(f(1), C)",
            ],
        ),
        passes(
            "import enum\nclass C(enum.Enum):\n    A = 1\n    B = 2\ndef f(c): return c is C.B",
            &["assert f(C.B) and not f(C.A)"],
        ),
        passes(
            "import re\ndef f(s): return re.search(r'(?P<a>b+)(x)?', s)",
            &[
                "m = f('abbc')\nassert m and m.group() == 'bb' and m.group('a') == 'bb' and m.span() == (1, 3) and m.groups() == ('bb', None)\nassert f('zz') is None and not f('')",
            ],
        ),
    ];
    assert_ends(&cases);
}

#[test]
fn views_and_iterators_are_drawn_within_bounds() {
    let cases = [
        passes(
            "def f(x): return x.keys(), x.values(), x.items()",
            &[
                "k, v, i = f({1: 2})\nassert k == {1} and list(v) == [2] and list(i) == [(1, 2)] and 1 in k and len(v) == 1",
            ],
        ),
        passes(
            "def f(n): return (i * i for i in range(n))",
            &["assert list(f(4)) == [0, 1, 4, 9] and sum(f(1000)) == sum(i * i for i in range(1000))"],
        ),
        passes(
            "def f():\n    n = 0\n    while True:\n        yield n\n        n += 1",
            &[
                "import itertools\ng = f()\nassert next(g) == 0 and next(g) == 1\nassert list(itertools.islice(f(), 100)) == list(range(100))",
            ],
        ),
        passes(
            "def f():\n    yield 1\n    yield 2\n    raise ValueError('end')",
            &[
                "g = f()\nassert next(g) == 1\nassert next(g) == 2\ntry:\n    next(g)\n    assert False\nexcept ValueError as e:\n    assert str(e) == 'end'",
            ],
        ),
        passes(
            "def f(xs): return map(str, xs), zip(xs, xs), enumerate(xs), reversed(xs), iter(xs)",
            &[
                "assert [list(x) for x in f([1, 2])] == [['1', '2'], [(1, 1), (2, 2)], [(0, 1), (1, 2)], [2, 1], [1, 2]]",
            ],
        ),
        passes(
            "async def f(x):\n    import asyncio\n    await asyncio.sleep(0)\n    return x + 1",
            &["import asyncio\nassert asyncio.run(f(1)) == 2"],
        ),
        passes("def f(x): return memoryview(x)", &["assert f(b'ab') == b'ab'"]),
    ];
    assert_ends(&cases);
}

#[test]
fn arguments_that_are_changed_in_place_travel_back_with_their_aliases() {
    let cases = [
        passes("def f(x): x.sort()", &["a = [3, 1, 2]\nassert f(a) is None\nassert a == [1, 2, 3]"]),
        passes(
            "def f(x):\n    x[0][1] = 9\n    return x",
            &["a = [[1, 2], [3]]\nb = a[0]\nassert f(a) is a and b == [1, 9] and a[0] is b"],
        ),
        passes(
            "def f(x, y):\n    x.append(1)\n    return x is y",
            &["a = []\nassert f(a, a) and a == [1]\nassert not f([], [])"],
        ),
        passes(
            "def f(x):\n    x['k'] = x.pop('a')\n    return list(x)",
            &["d = {'a': 1, 'b': 2}\nassert f(d) == ['b', 'k'] and d == {'b': 2, 'k': 1}"],
        ),
        passes(
            "def f(x, y):\n    x.add(5)\n    y[:] = b'xy'",
            &["s, b = {1}, bytearray(b'abc')\nf(s, b)\nassert s == {1, 5} and b == b'xy'"],
        ),
        passes("def f(x):\n    x.append(x)", &["a = []\nf(a)\nassert a[0] is a"]),
        passes(
            "import collections\ndef f(q): return q.popleft()",
            &["import collections\nq = collections.deque([1, 2])\nassert f(q) == 1 and list(q) == [2]"],
        ),
        passes(
            "def f(grid):\n    for row in grid: row.reverse()",
            &["g = [[1, 2], [3, 4]]\nrows = list(g)\nf(g)\nassert g == [[2, 1], [4, 3]] and rows[0] is g[0]"],
        ),
        passes("def f(x, acc=[]):\n    acc.append(x)\n    return acc", &["assert f(1) == [1]\nassert f(2) == [1, 2]"]),
        passes(
            "seen = 0\ndef f():\n    global seen\n    seen += 1\n    return seen",
            &["assert f() == 1 and f() == 2 and seen == 2"],
        ),
        passes("cache = {}\ndef f(x): cache[x] = x * 2", &["f(1)\nf(2)\nassert cache == {1: 2, 2: 4}"]),
    ];
    assert_ends(&cases);
}

#[test]
fn functions_go_and_are_called_on_their_own_side() {
    let cases = [
        passes(
            "def f(g, xs): return [g(x) for x in xs]",
            &["k = 3\nassert f(lambda x: x * k, [1, 2]) == [3, 6]", "assert f(len, ['a', 'bc']) == [1, 2]"],
        ),
        passes("def f(g): return g(1, b=2)", &["def g(a, *, b): return [a, b]\nassert f(g) == [1, 2]"]),
        passes(
            "def f(g):\n    def h(*a):\n        return g(*a) + 1\n    return h",
            &["@f\ndef h(x): return x * 2\nassert h(5) == 11 and f(lambda: 1)() == 2"],
        ),
        passes(
            "def f(n):\n    def g(x): return x + n\n    return g",
            &["assert f(2)(3) == 5 and [g(1) for g in [f(1), f(2)]] == [2, 3]"],
        ),
        passes(
            "def f(g):\n    try:\n        g()\n    except KeyError as e:\n        return 'caught ' + str(e)",
            &["def g(): raise KeyError('k')\nassert f(g) == \"caught 'k'\""],
        ),
        passes("def f(g): return g(f, 3)", &["assert f(lambda h, n: n if n == 0 else h(lambda i, m: n + 1)) == 4"]),
        passes(
            "import functools\n@functools.lru_cache(None)\ndef f(n): return n if n < 2 else f(n - 1) + f(n - 2)",
            &["assert f(50) == 12586269025"],
        ),
        passes(
            "def f(xs, key=None): return sorted(xs, key=key)",
            &["import operator\nassert f([(1, 'b'), (2, 'a')], key=operator.itemgetter(1)) == [(2, 'a'), (1, 'b')]"],
        ),
        passes(
            "def f(it): return [next(it), next(it)]",
            &[
                "import itertools\nassert f(itertools.count(3)) == [3, 4] and f(iter('ab')) == ['a', 'b'] and f(x for x in (1, 2, 3)) == [1, 2]",
            ],
        ),
        passes(
            "def f(c, x): return c(x)",
            &["assert f(int, '5') == 5 and f(str, 5) == '5' and f(sorted, 'ba') == ['a', 'b']"],
        ),
        passes("f = lambda x: x + 1", &["assert callable(f) and f(1) == 2 and list(map(f, [1, 2])) == [2, 3]"]),
        passes(
            "def f(x):\n    '''Doc.'''\n    return x",
            &["assert f.__name__ == 'f' and f.__doc__ == 'Doc.' and f(1) == 1"],
        ),
    ];
    assert_ends(&cases);
}

#[test]
fn exceptions_travel_as_names_and_texts() {
    let own = "class Bad(ValueError):\n    def __init__(self, code):\n        super().__init__('bad %d' % code)\n        self.code = code\ndef f(x):\n    raise Bad(x)";
    let cases = [
        passes(
            "def f(x):\n    if x < 0: raise ValueError('negative')\n    return x",
            &[
                "try:\n    f(-1)\n    assert False\nexcept ValueError as e:\n    assert str(e) == 'negative'\nassert f(1) == 1",
            ],
        ),
        passes(
            "def f(x): return {}[x]",
            &[
                "import pytest\ndef test_f():\n    with pytest.raises(KeyError):\n        f(1)\n    with pytest.raises(LookupError, match='2'):\n        f(2)",
            ],
        ),
        passes(
            own,
            &[
                "try:\n    f(3)\n    assert False\nexcept Bad as e:\n    assert 'bad 3' in str(e)",
                "try:\n    f(3)\n    assert False\nexcept ValueError:\n    pass",
            ],
        ),
        passes(
            "def f(): raise StopIteration(4)",
            &["try:\n    f()\n    assert False\nexcept StopIteration as e:\n    assert e.value == 4"],
        ),
        passes(
            "import sys\ndef f(): sys.exit(2)",
            &["try:\n    f()\n    assert False\nexcept SystemExit as e:\n    assert e.args == (2,)"],
        ),
        passes(
            "def f(): open('no such file')",
            &["try:\n    f()\n    assert False\nexcept FileNotFoundError as e:\n    assert e.errno == 2"],
        ),
        passes(
            "def f(): assert 1 == 2, 'no'",
            &["try:\n    f()\nexcept AssertionError as e:\n    assert str(e) == 'no'\nelse:\n    raise ValueError"],
        ),
        (":exception:ZeroDivisionError", case("def f(x): return x / 0", &["assert f(1) == 1"])),
        (":exception:Bad", case(own, &["assert f(1) == 1"])),
        (":exception:RecursionError", case("def f(x): return f(x)", &["assert f(1) == 1"])),
        (":exception:UnicodeDecodeError", case("def f(x): return x.decode()", &["assert f(b'\\xff') == 1"])),
        (
            ":test_failed",
            case("def f(g):\n    try: g(1)\n    except AssertionError: pass", &["def g(x): assert x == 2\nf(g)"]),
        ),
        (":early_exit", case("import sys\ndef f(): sys.exit(0)", &["assert f() == 1"])),
        (":memory_limit", case("def f(): raise MemoryError", &["assert f() == 1"])),
    ];
    assert_ends(&cases);
}

#[test]
fn objects_that_the_tests_make_work_and_are_compared_by_what_they_hold() {
    let stack = "class Stack:\n    def __init__(self, items=()): self.items = list(items)\n    def push(self, x):\n        self.items.append(x)\n        return self\n    def pop(self): return self.items.pop()\n    def __len__(self): return len(self.items)\n    def __contains__(self, x): return x in self.items\n    def __iter__(self): return iter(self.items)\n    def __getitem__(self, i): return self.items[i]\n    def __repr__(self): return 'Stack(%r)' % self.items";
    let vector = "class V:\n    def __init__(self, x, y): self.x, self.y = x, y\n    def __add__(self, o): return V(self.x + o.x, self.y + o.y)\n    def __eq__(self, o): return (self.x, self.y) == (o.x, o.y)\n    def __abs__(self): return (self.x ** 2 + self.y ** 2) ** 0.5\n    def __mul__(self, k): return V(self.x * k, self.y * k)\n    __rmul__ = __mul__\n    def __lt__(self, o): return abs(self) < abs(o)\n    def __hash__(self): return hash((self.x, self.y))";
    let point =
        "from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int\n    y: int = 0\ndef f(a): return P(a, 1)";
    let wrong =
        "from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int\n    y: int = 0\ndef f(a): return P(a, 2)";
    let cases = [
        passes(
            stack,
            &[
                "s = Stack()\ns.push(1)\ns.push(2).push(3)\nassert s.pop() == 3 and len(s) == 2 and 1 in s and 9 not in s\nassert list(s) == [1, 2] and s[0] == 1 and s.items == [1, 2] and str(s) == 'Stack([1, 2])'\nassert [x for x in s] == [1, 2]",
            ],
        ),
        passes(
            stack,
            &[
                "s = Stack([5])\ns.items = [7]\nassert s.pop() == 7\ntry:\n    s.pop()\n    assert False\nexcept IndexError:\n    pass",
            ],
        ),
        passes(
            vector,
            &[
                "assert V(1, 2) + V(3, 4) == V(4, 6)\nassert V(1, 2) != V(1, 3)\nassert abs(V(3, 4)) == 5\nassert (2 * V(1, 2)).y == 4 and V(1, 1) < V(2, 2)\nassert abs(V(1, 2) + V(2, 2)) == 5",
            ],
        ),
        (":test_failed", case(vector, &["assert V(1, 2) + V(3, 4) == V(4, 7)"])),
        passes(point, &["assert f(3) == P(3, 1)", "assert P(1) == P(1, 0) and f(2).x == 2"]),
        (":test_failed", case(wrong, &["assert f(3) == P(3, 1)"])),
        passes(
            "class A:\n    n = 5\n    @staticmethod\n    def s(x): return x\n    @classmethod\n    def c(cls): return cls.n\n    @property\n    def p(self): return 3",
            &["assert A.s(1) == 1 and A.c() == 5 and A().p == 3 and A.n == 5 and isinstance(A(), A) and A()"],
        ),
        passes(
            "class A:\n    def area(self): return 0\nclass B(A):\n    def __init__(self, r): self.r = r\n    def area(self): return self.r ** 2\ndef f(shapes): return sum(s.area() for s in shapes)",
            &[
                "assert f([B(2), A(), B(3)]) == 13 and issubclass(B, A) and isinstance(B(1), A) and not isinstance(A(), B)",
            ],
        ),
        passes(
            "class A:\n    def __enter__(self): return 5\n    def __exit__(self, *a): return None",
            &["with A() as x:\n    assert x == 5"],
        ),
        passes("class A:\n    def __call__(self, x): return x + 1", &["assert A()(1) == 2"]),
        passes(
            "class N:\n    def __init__(self, v, n=None): self.v, self.n = v, n\ndef f(n):\n    t = 0\n    while n: t, n = t + n.v, n.n\n    return t",
            &["assert f(N(1, N(2))) == 3 and N(1, N(2)).n.v == 2"],
        ),
        passes(
            "def f(): \n    class T: pass\n    t = T()\n    t.val, t.kids = 1, [2]\n    return t",
            &["t = f()\nassert t.val == 1 and t.kids == [2]"],
        ),
    ];
    assert_ends(&cases);
}

#[test]
fn classes_that_are_tested_may_be_of_any_common_kind() {
    let count = "class Count:\n    def __init__(self, n): self.n, self.i = n, 0\n    def __iter__(self): return self\n    def __next__(self):\n        if self.i >= self.n: raise StopIteration\n        self.i += 1\n        return self.i - 1";
    let tree = "class Node:\n    def __init__(self, v): self.val, self.left, self.right = v, None, None\nclass Tree:\n    def __init__(self): self.root = None\n    def insert(self, v): self.root = self.put(self.root, v)\n    def put(self, n, v):\n        if n is None: return Node(v)\n        if v < n.val: n.left = self.put(n.left, v)\n        else: n.right = self.put(n.right, v)\n        return n";
    let account = "class Poor(Exception): pass\nclass Account:\n    def __init__(self, b): self._b = b\n    @property\n    def balance(self): return self._b\n    def take(self, x):\n        if x > self._b: raise Poor('not enough')\n        self._b -= x";
    let matrix = "class Matrix:\n    def __init__(self, r): self.rows = [list(x) for x in r]\n    def __mul__(self, o): return Matrix([[sum(a * b for a, b in zip(r, c)) for c in zip(*o.rows)] for r in self.rows])\n    def __getitem__(self, i): return self.rows[i]\n    def __setitem__(self, i, v): self.rows[i] = v\n    def __eq__(self, o): return self.rows == o.rows";
    let stack = "class Stack:\n    def __init__(self): self.d = []\n    def push(self, x): self.d.append(x)";
    let cases = [
        passes(
            count,
            &[
                "assert list(Count(3)) == [0, 1, 2] and [x for x in Count(2)] == [0, 1]\nassert next(iter(Count(1))) == 0",
            ],
        ),
        passes(
            tree,
            &[
                "t = Tree()\nfor x in [2, 1, 3]: t.insert(x)\nassert t.root.val == 2 and t.root.left.val == 1 and t.root.left.left is None",
            ],
        ),
        passes(
            account,
            &[
                "a = Account(10)\na.take(4)\nassert a.balance == 6\ntry:\n    a.take(7)\n    assert False, 'no'\nexcept Poor as e:\n    assert 'enough' in str(e)",
            ],
        ),
        passes(
            matrix,
            &[
                "m = Matrix([[1, 2], [3, 4]])\nassert (m * m).rows == [[7, 10], [15, 22]] and m[0][1] == 2\nm[0] = [9, 9]\nassert m.rows[0] == [9, 9] and m == Matrix([[9, 9], [3, 4]]) and m != Matrix([[1]])",
            ],
        ),
        passes(
            stack,
            &[
                "s, q = Stack(), [Stack(), Stack()]\ns.push(1)\nassert s in [s] and s not in q and {s: 1}[s] == 1 and s == s",
            ],
        ),
        passes(
            "import enum\nclass C(str, enum.Enum):\n    RED = 'red'\ndef f(x): return C.RED",
            &["assert f('x') == C.RED and C('red') == 'red'"],
        ),
        passes(
            "import random\ndef f(): return random.randint(1, 10 ** 9)",
            &["import random\nrandom.seed(3)\na = random.randint(1, 10 ** 9)\nrandom.seed(3)\nassert f() == a"],
        ),
        passes(
            "def f(n): return n + 1",
            &[
                "from concurrent.futures import ThreadPoolExecutor\nwith ThreadPoolExecutor(4) as p:\n    assert list(p.map(f, range(100))) == list(range(1, 101))",
            ],
        ),
        passes(
            "def f(g): return g(3) + 1",
            &[
                "from unittest.mock import Mock\ng = Mock(return_value=5)\nassert f(g) == 6\ng.assert_called_once_with(3)",
            ],
        ),
        passes("def f(n): return 0 if n == 0 else 1 + f(n - 1)", &["assert f(990) == 990"]),
        (
            "tests_unusable",
            case(
                "class A:\n    pass\ndef f(a): return a.g()",
                &["class B(A):\n    def g(self): return 4\nassert f(B()) == 4"],
            ),
        ),
    ];
    assert_ends(&cases);
}

#[test]
fn classes_of_the_tests_exist_on_both_sides() {
    let node = "class ListNode:\n    def __init__(self, val=0, next=None):\n        self.val = val\n        self.next = next\ndef make(xs):\n    head = None\n    for x in reversed(xs): head = ListNode(x, head)\n    return head\ndef values(n):\n    r = []\n    while n: r, n = r + [n.val], n.next\n    return r";
    let reverse = "    def reverse(self, head: Optional[ListNode]) -> Optional[ListNode]:\n        last = None\n        while head: head.next, last, head = last, head, head.next\n        return last";
    let tests = [
        node,
        "assert values(Solution().reverse(make([1, 2, 3]))) == [3, 2, 1]\nassert Solution().reverse(None) is None",
    ];
    let long = [node, "assert values(Solution().reverse(make(range(3000)))) == list(range(3000))[::-1]"];
    let imports = |case: CodeCase| CodeCase { test_imports: vec!["from typing import *".to_owned()], ..case };
    let own = format!(
        "class ListNode:\n    def __init__(self, val=0, next=None):\n        self.val, self.next = val, next\nclass Solution:\n{reverse}"
    );
    let plain = format!("class Solution:\n{reverse}");
    // The same definition, as lines of the imports.
    let listed = CodeCase {
        test_imports: node.lines().map(str::to_owned).collect(),
        ..case(
            "def f(n: ListNode): return ListNode(n.val + 1, n)",
            &["n = f(make([1, 2]))\nassert values(n) == [2, 1, 2] and isinstance(n, ListNode)"],
        )
    };
    let api = "class Mountain:\n    def __init__(self, xs): self.xs = xs\n    def get(self, i): return self.xs[i]\n    def length(self): return len(self.xs)";
    let shape = "from dataclasses import dataclass\n@dataclass\nclass Item:\n    name: str\n    price: float = 1.0";
    let cases = [
        (":tests_passed", imports(case(&plain, &tests))),
        (":tests_passed", imports(case(&own, &tests))),
        (":tests_passed", imports(case(&plain, &long))),
        (":test_failed", imports(case(&plain.replace("return last", "return head or last.next"), &tests))),
        passes("def f(m): return sum(m.get(i) for i in range(m.length()))", &[api, "assert f(Mountain([1, 2])) == 3"]),
        passes(
            "def f(items): return max(items, key=lambda i: i.price)",
            &[shape, "assert f([Item('a'), Item('b', 2.0)]) == Item('b', 2.0)"],
        ),
        passes("def f(n): return Item(n, 3.0)", &[shape, "assert f('x') == Item('x', 3.0)"]),
        (
            ":test_failed",
            case(
                "class Item:\n    __eq__ = lambda s, o: True\ndef f(n): return Item()",
                &[shape, "assert f('x').name == 'x'"],
            ),
        ),
        passes("def f(n):\n    n.val = 7", &[node, "n = ListNode(1)\nf(n)\nassert n.val == 7"]),
    ];
    assert_ends(&cases[..7]);
    assert_ends(&[(":tests_passed", listed)]);
    let verifier = super::verifier(4);
    assert!(!super::reason(&verifier, &cases[7].1).ends_with("passed"));
    assert_ends(&cases[8..]);
}

#[test]
fn streams_that_the_tests_put_in_place_reach_the_program() {
    let cases = [
        passes(
            "def f(): print('hello', 3)",
            &[
                "import io, contextlib\nout = io.StringIO()\nwith contextlib.redirect_stdout(out):\n    f()\nassert out.getvalue() == 'hello 3\\n'",
            ],
        ),
        passes(
            "def f():\n    print(int(input()) + int(input()))",
            &[
                "import io, sys\nsys.stdin = io.StringIO('2\\n3\\n')\nold, sys.stdout = sys.stdout, io.StringIO()\nf()\ntext, sys.stdout = sys.stdout.getvalue(), old\nassert text == '5\\n'",
            ],
        ),
        passes("def f(): print('x')", &["def test_f(capsys):\n    f()\n    assert capsys.readouterr().out == 'x\\n'"]),
        passes(
            "def f(): return input('? ') + input()",
            &[
                "from unittest.mock import patch\nwith patch('builtins.input', side_effect=['a', 'b']):\n    assert f() == 'ab'",
            ],
        ),
        passes(
            "def f(path): return open(path).read().upper()",
            &["open('t.txt', 'w').write('abc')\nassert f('t.txt') == 'ABC'"],
        ),
    ];
    assert_ends(&cases);
}
