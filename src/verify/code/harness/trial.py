# Runs the tests: prepares their names, loads the program on its side, and goes through them.

import asyncio
import contextlib
import inspect
import io
import unittest

TOLERANCE = 1e-6


def prepare(plan, side):
    """Makes the names that the tests run in."""
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = sys.modules["tests"] = module
    side.scope = scope = module.__dict__
    scope["__builtins__"] = own = dict(GENUINE)
    own["print"] = printing(side)
    scope["__asserted__"] = side.count
    side.given_input = own["input"]
    side.streams = sys.stdout, sys.stdin
    if "pytest" not in sys.modules:
        sys.modules["pytest"] = pytest_module(lambda *_a, **_k: side.collect())
    random.seed = seeding(side, random.seed)
    unittest.main = unittest.TestProgram = lambda *_a, **_k: side.collect()
    try:
        exec(compile(plan.imports, "<test imports>", "exec", dont_inherit=True), scope)
    except BaseException as error:
        raise Unusable(type(error).__name__)
    if plan.has_star and not plan.of_language:
        # What an import of all names brings is not the program's, unless nothing else is.
        left = {name for name in plan.wanted if name not in scope}
        plan.wanted = left or plan.wanted


def printing(side):
    def run(*args, **kwargs):
        # A look at an object decides nothing.
        GENUINE["print"](*["<object>" if is_proxy(x) else x for x in args], **kwargs)

    return run


def seeding(side, genuine):
    def run(value=None, *args, **kwargs):
        # What the tests fix here they mean for the program.
        if type(value) in (int, float, str):
            side.seed = value
        return genuine(value, *args, **kwargs)

    return run


def load_program(plan, side):
    """Has the program chosen and loaded; returns the arities of its functions."""
    payload = plan.payload
    preamble = preamble_of(plan.trees, plan.wanted, plan.sources)
    shared = [node.name for node in plan.imports.body if is_shared_class(node)]
    side.preamble = dict.fromkeys(shared + [name for name, _text in preamble], True)
    request = {
        "question": payload["question"], "entry_point": plan.entry, "blocks": payload["blocks"], "response": payload["response"],
        "doubtful": payload["doubtful"], "wanted": sorted(plan.wanted), "preamble": preamble,
        "imports": "\n".join(payload["test_imports"]), "shared": shared, "above": plan.import_sources() if preamble else [], "infers": bool(payload["calls"]),
    }
    try:
        side.line.send(request)
        answer = side.line.receive()
        if answer.get("k") == "chosen":
            side.tell(strategy=str(answer.get("strategy")), program=str(answer.get("program")))
            answer = side.line.receive()
    except Gone:
        side.end("gone")
    except Torn:
        side.end("early_exit")
    if answer.get("k") != "names":
        side.end(*failed_by(side, answer))
    return take_names(plan, side, answer)


def failed_by(side, answer):
    names = answer.get("n")
    name = names[0] if type(names) is list and names and type(names[0]) is str else None
    return side.claim(answer.get("cause"), name)


def take_names(plan, side, answer):
    side.watched = {}
    try:
        decoder = Decoder(answer["h"], side)
        found = {name: decoder.value(x) for name, x in answer["v"].items()}
        arities = {name: n for name, n in answer.get("r", {}).items() if type(n) is int}
    except (Breach, Exception):
        side.end("opaque_result")
    for name, x in found.items():
        if name in plan.wanted:
            side.scope[name] = x
            side.watched[name] = name
    side.found = found
    if plan.of_language and not found:
        # The program defines nothing of what may be meant: if the language's own will do, nothing is tested.
        side.end("no_tests") if passes_alone(plan, side) else side.end("exception", "NameError")
    for own, theirs in plan.program.names.items():
        if theirs in found:
            side.scope[own] = found[theirs]
        elif any(plan.program.missing):
            side.end("tests_unusable", "ModuleNotFoundError")
    for own in plan.program.modules:
        side.scope[own] = types.SimpleNamespace(**found)
    return arities


def passes_alone(plan, side):
    """Whether tests pass that name nothing but functions of the language, without any program."""
    try:
        for tree in plan.trees:
            exec(compile(tree, "<test>", "exec", dont_inherit=True), side.scope)
        return True
    except BaseException:
        return False


def load_question(plan, side):
    """Runs the question's own code here: what it defines and does not ask for is not the program's to say."""
    if not plan.helpers:
        return
    kept = {name: side.scope[name] for name in plan.wanted if name in side.scope}
    try:
        exec(compile(plan.question_tree, "<question>", "exec", dont_inherit=True), side.scope)
    except BaseException:
        side.end("tests_unusable", "question")
    side.scope.update(kept)


class Trial(TestSide):
    """One run of the tests."""

    def count(self):
        self.asserted += 1

    def attempt(self, function, *args):
        # Runs a part of the tests; what it raises ends them.
        try:
            return function(*args)
        except SystemExit as error:
            name, _cause = self.remote.of(error)
            if name:
                self.end("early_exit")
            if error.code not in (None, 0, False):
                self.end("test_failed")
            return None
        except Skipped:
            return None
        except BaseException as error:
            self.end_by(error)

    def end_by(self, error):
        if self.failed:
            self.end(*self.failed)
        name, cause = self.remote.of(error)
        if isinstance(error, AssertionError):
            self.end("test_failed")
        if name:
            self.end(*self.claim(cause, name))
        if isinstance(error, Gone):
            self.end("gone")
        if isinstance(error, TooLarge):
            self.end("tests_unusable", "size")
        if isinstance(error, MemoryError):
            self.end("memory_limit")
        if isinstance(error, (ImportError, OSError)):
            self.end("tests_unusable", type(error).__name__)
        self.end("exception", type(error).__name__)

    def run(self, plan):
        self.collected, self.plan = set(), plan
        self.called = {name for tree in plan.trees for node in tree.body if not isinstance(node, DEFINITIONS) for name in loads(node)}
        self.fixtures = {}
        for tree in plan.trees:
            self.attempt(self.execute, tree)
            if not self.collect_known(tree):
                self.attempt(self.collect_from, tree)
        if plan.calls_check:
            self.attempt(self.check)
        if plan.needs_assertion and not self.asserted:
            self.end("no_tests")
        if self.failed:
            self.end(*self.failed)
        self.end("tests_passed")

    def execute(self, tree):
        exec(compile(counted(tree), "<test>", "exec", dont_inherit=True), self.scope)

    def check(self):
        exec(compile(self.plan.check, "<test>", "exec", dont_inherit=True), self.scope)

    def collect_known(self, tree):
        return id(tree) in self.collected

    def collect(self):
        # Asked for by the tests themselves: `unittest.main()`, `pytest.main()`.
        for tree in self.plan.trees:
            if id(tree) not in self.collected:
                self.collect_from(tree)
        return 0

    def collect_from(self, tree):
        self.collected.add(id(tree))
        for node in tree.body:
            x = self.scope.get(getattr(node, "name", None)) if isinstance(node, DEFINITIONS) else None
            if isinstance(node, ast.ClassDef) and is_test_class(node) and isinstance(x, type):
                self.run_class(x)
            elif is_test_function(node) and node.name not in self.called and isinstance(x, types.FunctionType):
                self.run_function(x, node)

    def run_class(self, kind):
        if issubclass(kind, unittest.TestCase):
            suite, result = unittest.defaultTestLoader.loadTestsFromTestCase(kind), Result(self)
            suite.run(result)
            self.asserted += result.testsRun - len(result.skipped)
            return
        for name in [name for name in dir(kind) if name.startswith("test")]:
            owner = kind()
            for part in ("setup_method", "setUp"):
                if hasattr(owner, part):
                    getattr(owner, part)(*[None] * (len(inspect.signature(getattr(owner, part)).parameters)))
            self.run_function(getattr(owner, name), None)

    def run_function(self, function, node):
        for given in getattr(function, "thinkloom_sets", [{}]):
            parameters = inspect.signature(function).parameters
            missing = [n for n, p in parameters.items() if p.default is p.empty and n not in given and p.kind is p.POSITIONAL_OR_KEYWORD]
            values = dict(given, **{name: self.fixture(name) for name in missing})
            made = function(**values)
            if inspect.iscoroutine(made):
                asyncio.run(made)

    def fixture(self, name):
        function = self.scope.get(name)
        if getattr(function, "thinkloom_fixture", False):
            needed = [self.fixture(n) for n in inspect.signature(function).parameters]
            made = function(*needed)
            return next(made) if inspect.isgenerator(made) else made
        if name == "capsys":
            return Captured()
        if name == "tmp_path":
            import pathlib
            return pathlib.Path(".").resolve()
        if name in ("candidate", "solution", "func", "function", "fn", "f") and self.plan.entry in self.scope:
            return self.scope[self.plan.entry]
        self.end("tests_unusable", "fixture")

    # -- inputs and outputs of a function

    def run_calls(self, plan, arities):
        name = plan.payload["fn_name"] or plan.entry or ""
        name = name if name in self.found else ""
        if name not in self.found:
            self.end("exception", "NameError")
        for call in plan.payload["calls"]:
            args = arguments(call, arities.get(name))
            result = self.attempt(self.call_plain, self.found[name], args)
            if not matches(result, call["expected"], call["given"]):
                self.end("test_failed")
        self.end("tests_passed")

    def call_plain(self, function, args):
        return function(*args)


class Captured:
    """pytest's `capsys`."""

    def __init__(self):
        self.stream = io.StringIO()
        sys.stdout = self.stream

    def readouterr(self):
        text = self.stream.getvalue()
        self.stream.seek(0)
        self.stream.truncate()
        return types.SimpleNamespace(out=text, err="")


class Result(unittest.TestResult):
    """Ends the tests at the first that fails."""

    def __init__(self, side):
        super().__init__()
        self.side = side

    def addError(self, test, err):
        self.side.attempt(raise_it, err[1])

    addFailure = addError

    def addSubTest(self, test, subtest, err):
        if err is not None:
            self.addError(test, err)

    def addUnexpectedSuccess(self, test):
        self.side.end("test_failed")


def raise_it(error):
    raise error


def arguments(call, arity):
    """Returns the arguments of a call: a list as it is, or one literal a line."""
    if call["text"] is None:
        args = call["args"]
        return args if type(args) is list else [args]
    args = [literal(line) for line in call["text"].split("\n") if line.strip()]
    if len(args) == 1 and type(args[0]) is list and arity is not None and arity != 1 and len(args[0]) == arity:
        return args[0]
    return args


def literal(text):
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        return ast.literal_eval(text.strip())
    except UNREADABLE:
        return text


def matches(result, expected, given):
    """Whether a result is the expected one, which may stand in a list of one, or be written as text."""
    if is_proxy(result):
        opaque()
    if alike(result, expected):
        return True
    if type(expected) is list and len(expected) == 1 and given == "list" and alike(result, expected[0]):
        return True
    return given == "text" and type(expected) is str and type(result) is not str and alike(result, literal(expected)) or (
        given == "text" and type(expected) is str and type(result) is str and literal(expected) == result
    )


def alike(x, y):
    if is_proxy(x):
        opaque()
    if isinstance(x, tuple):
        x = list(x)
    if type(y) is list:
        return type(x) is list and len(x) == len(y) and all(map(alike, x, y))
    if type(y) is dict:
        if type(x) is dict and any(type(key) is not str for key in x):
            x = {key if type(key) is str else json.dumps(key): value for key, value in x.items() if type(key) in SCALARS}
        return isinstance(x, dict) and x.keys() == y.keys() and all(alike(x[key], y[key]) for key in y)
    if type(y) is float or type(x) is float:
        if type(x) not in (int, float) or type(y) not in (int, float):
            return False
        return x == y or (x == x and abs(x - y) <= TOLERANCE * max(1.0, abs(y)))
    if type(y) is bool or type(x) is bool:
        return x is y or (x == y and type(x) in (bool, int) and type(y) in (bool, int))
    return x == y


def check(payload):
    """Returns what is wrong with tests, without a program."""
    try:
        plan, side = Plan(payload), Trial(None, None)
        prepare(plan, side)
        return "no_tests" if plan.of_language and passes_alone(plan, side) else None
    except NoTests:
        return "no_tests"
    except Unusable:
        return "tests_unusable"


def run_tests(payload, descriptor, tell):
    """Runs tests against the program at the other end."""
    global SIDE
    side = SIDE = Trial(Line(descriptor), tell)
    sys.setrecursionlimit(sys.getrecursionlimit() + OWN_DEPTH)
    try:
        plan = Plan(payload)
        prepare(plan, side)
    except NoTests:
        side.end("no_tests")
    except Unusable as error:
        side.end("tests_unusable", str(error))
    try:
        arities = load_program(plan, side)
        load_question(plan, side)
        if plan.payload["calls"]:
            side.run_calls(plan, arities)
        side.run(plan)
    except BaseException as error:
        side.end("sandbox_failed", type(error).__name__)
