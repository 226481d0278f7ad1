# Reads tests without running them: what they want of a program, what goes to its side, and whether they can fail at all.

import ast
import importlib.util

# What tests call the module that holds the program.
PROGRAM_MODULES = frozenset(
    "solution solutions answer main submission candidate your_module my_module module program code response task "
    "implementation your_code my_code student user_code solution_module".split()
)
# What may show a trace of the program without naming it: files, streams, the system.
TRACES = frozenset("os sys io open Path pathlib glob shutil capsys caplog tmp_path".split())
FAILING_CALLS = ("assert", "fail", "raises", "exit", "_exit", "quit")


class Unusable(Exception):
    """Tests that cannot be run; the argument says why."""


class NoTests(Exception):
    """Tests that cannot fail."""


def text_of(name, alias):
    return alias.asname or name


def is_there(module):
    if module in STANDINS:
        return True
    try:
        return importlib.util.find_spec(module.split(".")[0]) is not None
    except (ImportError, ValueError, AttributeError):
        return False


class ProgramImports(ast.NodeTransformer):
    """Takes out the imports of the program: modules that are not there, by the names that tests use for it."""

    def __init__(self):
        self.names, self.modules, self.missing, self.tries = {}, {}, [], 0

    def visit_Try(self, node):
        # Tests that can do without a module say so.
        self.tries += 1
        node.body = [self.visit(part) for part in node.body]
        self.tries -= 1
        for name in ("handlers", "orelse", "finalbody"):
            setattr(node, name, [self.visit(part) for part in getattr(node, name)])
        return node

    def visit_ImportFrom(self, node):
        if self.tries and not self.is_program(node.module or "solution"):
            return node
        if node.module == "__future__" or (node.module and not node.level and is_there(node.module)):
            return node
        if not self.is_program(node.module or "solution"):
            self.missing.append(node.module)
        for alias in node.names:
            if alias.name != "*":
                self.names[alias.asname or alias.name] = alias.name
        return ast.copy_location(ast.Pass(), node)

    def visit_Import(self, node):
        kept = []
        for alias in node.names:
            if is_there(alias.name) or (self.tries and not self.is_program(alias.name)):
                kept.append(alias)
            elif self.is_program(alias.name):
                self.modules[alias.asname or alias.name.split(".")[0]] = alias.name
            else:
                raise Unusable("ModuleNotFoundError")
        if kept:
            node.names = kept
            return node
        return ast.copy_location(ast.Pass(), node)

    def is_program(self, module):
        return module.split(".")[0].lower() in PROGRAM_MODULES


def is_always_true(node):
    # An expression that is true whatever the program does.
    if isinstance(node, ast.Constant):
        return bool(node.value)
    if isinstance(node, (ast.Tuple, ast.List, ast.Set)):
        return any(not isinstance(part, ast.Starred) for part in node.elts)
    if isinstance(node, ast.Dict):
        return bool(node.keys)
    if isinstance(node, (ast.Lambda, ast.GeneratorExp)):
        return True
    if isinstance(node, ast.JoinedStr):
        return any(isinstance(part, ast.Constant) and part.value for part in node.values)
    if isinstance(node, ast.BoolOp):
        return (any if isinstance(node.op, ast.Or) else all)(is_always_true(part) for part in node.values)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return is_always_false(node.operand)
    return False


def is_always_false(node):
    if isinstance(node, ast.Constant):
        return not node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return is_always_true(node.operand)
    return False


def loads(node):
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Load)}


def targets(node):
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)}


def depending(trees, wanted):
    # Names whose value may depend on the program: what it defines, parameters, and what is made of those.
    found = set(wanted) | TRACES
    nodes = [node for tree in trees for node in ast.walk(tree)]
    found.update(node.arg for node in nodes if isinstance(node, ast.arg))
    while True:
        size = len(found)
        for node in nodes:
            if isinstance(node, DEFINITIONS):
                if node.name not in found and loads(node) & found:
                    found.add(node.name)
            elif isinstance(node, (ast.Assign, ast.AugAssign, ast.AnnAssign, ast.NamedExpr)):
                if node.value is not None and loads(node.value) & found:
                    found |= targets(node)
            elif isinstance(node, (ast.For, ast.AsyncFor, ast.comprehension)):
                if loads(node.iter) & found:
                    found |= targets(node.target)
            elif isinstance(node, (ast.With, ast.AsyncWith)):
                for item in node.items:
                    if item.optional_vars is not None and loads(item.context_expr) & found:
                        found |= targets(item.optional_vars)
                    # What is printed meanwhile may be the program's.
                    if item.optional_vars is not None and loads(node) & found:
                        found |= targets(item.optional_vars)
            elif isinstance(node, (ast.If, ast.While)) and loads(node.test) & found:
                found |= targets(node)
            elif isinstance(node, ast.Try) and loads(node) & found:
                found |= targets(node) | {h.name for h in node.handlers if h.name}
            elif isinstance(node, ast.Call) and loads(node) & found and isinstance(node.func, ast.Attribute):
                # `seen.append(f(1))`: what it is called on depends on it then.
                found |= loads(node.func)
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in found:
                # `f(items)`: it may change them.
                found |= {name for arg in node.args for name in loads(arg)}
        if len(found) == size:
            return found


def swallows(handler):
    caught = handler.type
    kinds = [] if caught is None else caught.elts if isinstance(caught, ast.Tuple) else [caught]
    broad = not kinds or any(isinstance(k, ast.Name) and k.id in ("Exception", "BaseException", "AssertionError") for k in kinds)
    return broad and not any(
        isinstance(node, (ast.Raise, ast.Assert, ast.Assign, ast.AugAssign, ast.Return)) or is_failing_call(node)
        for node in ast.walk(handler)
    )


def is_failing_call(node):
    if not isinstance(node, ast.Call):
        return False
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    return name.startswith(FAILING_CALLS[:2]) or name in FAILING_CALLS


class Failing(ast.NodeVisitor):
    """Collects what can make tests fail, and whether any of it is an assertion that counts when it is run."""

    def __init__(self, dependent, wanted):
        self.dependent, self.wanted, self.found, self.others = dependent, wanted, [], []

    def visit_Assert(self, node):
        test = node.test
        is_name = isinstance(test, ast.Name) and test.id in self.wanted
        if is_always_false(test) or (not is_always_true(test) and not is_name and loads(test) & self.dependent):
            self.found.append(node)

    def visit_Raise(self, node):
        self.others.append(node)

    def visit_Call(self, node):
        if is_failing_call(node):
            self.others.append(node)
        self.generic_visit(node)

    def visit_Try(self, node):
        for part in node.orelse + node.finalbody + node.handlers:
            self.visit(part)
        if not any(swallows(handler) for handler in node.handlers):
            for part in node.body:
                self.visit(part)


def is_test_class(node):
    bases = {base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", "") for base in node.bases}
    return bool(bases & {"TestCase", "IsolatedAsyncioTestCase"}) or (node.name.startswith("Test") and not is_plain_class(node))


def is_test_function(node):
    return isinstance(node, FUNCTIONS) and node.name.startswith("test")


def reached(trees, extra):
    # The statements that are run: those at the top level, and those of functions and classes that they name, or that are
    # collected as tests.
    definitions, todo, seen, found = {}, [], set(), []
    for tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, DEFINITIONS):
                definitions.setdefault(node.name, []).append(node)
        for node in tree.body:
            if not isinstance(node, DEFINITIONS):
                found.append(node)
            elif is_test_function(node) or (isinstance(node, ast.ClassDef) and is_test_class(node)):
                todo.append(node.name)
            if isinstance(node, DEFINITIONS):
                todo += [name for part in node.decorator_list for name in loads(part)]
    todo += list(extra) + [name for node in found for name in loads(node)]
    while todo:
        name = todo.pop()
        for node in definitions.get(name, ()) if name not in seen else ():
            found += node.body
            todo += [name for part in node.body for name in loads(part)]
            todo += [part.attr for body in node.body for part in ast.walk(body) if isinstance(part, ast.Attribute)]
        seen.add(name)
    return found


def is_plain_class(node):
    # A class that only holds data, as `ListNode` does: it goes to the program's side too.
    def is_plain(part):
        if isinstance(part, FUNCTIONS):
            return not any(isinstance(inner, ast.Assert) or is_failing_call(inner) for inner in ast.walk(part)) and not is_test_function(part)
        if isinstance(part, ast.AnnAssign):
            return part.value is None or len(list(ast.walk(part.value))) < 8
        if isinstance(part, ast.Assign):
            return len(list(ast.walk(part.value))) < 12
        return isinstance(part, ast.Pass) or (isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant))

    return all(is_plain(part) for part in node.body)


def preamble_of(trees, wanted, sources):
    # The classes of the tests that exist on both sides, with their sources; not those that lean on the program.
    found = []
    for tree in trees:
        for node in tree.body:
            if is_shared_class(node) and not loads(node) & wanted:
                text = ast.get_source_segment(sources[id(tree)], node)
                found.append([node.name, "".join(decorators(node, sources[id(tree)])) + (text or "")])
    return found


def is_shared_class(node):
    return isinstance(node, ast.ClassDef) and is_plain_class(node) and not is_test_class(node)


def decorators(node, text):
    return ["@" + ast.get_source_segment(text, part) + "\n" for part in node.decorator_list]


# ---- the question's own code

def is_unfinished(node):
    # A function that is left to be written: nothing but words in it.
    return isinstance(node, FUNCTIONS) and all(
        isinstance(part, ast.Pass)
        or (isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant))
        or (isinstance(part, ast.Raise) and "NotImplementedError" in loads(part))
        for part in node.body
    )


def question_code(question):
    tree = parse(question) if re.search(r"^(def|class|import|from) ", question, re.M) else None
    if tree is not None and any(isinstance(node, DEFINITIONS) for node in tree.body):
        return question, tree
    blocks = re.findall(r"^```[^\n]*\n(.*?)^```", question, re.M | re.S)
    texts = [text for text in blocks if parse(text) is not None and not is_words(parse(text))]
    text = "\n".join(texts)
    tree = parse(text) if texts else None
    return (text, tree) if tree is not None else ("", ast.parse(""))


def helpers_of(tree, entry, used):
    # Names that the question defines and does not ask for. Where it names no function, one that is left to be written
    # tells that the others are finished; without such a one all may be there to be mended.
    finished = {
        node.name for node in tree.body
        if isinstance(node, DEFINITIONS) and not is_unfinished(node)
        and not (isinstance(node, ast.ClassDef) and any(is_unfinished(part) for part in node.body))
    }
    asked = used - finished if not entry else {entry}
    return (finished - {entry}) & used if asked & defined(tree) or entry in defined(tree) or used - defined(tree) else set()


class Plan:
    """What tests need."""

    def __init__(self, payload):
        self.payload, self.entry = payload, payload["entry_point"] or None
        imports = parse("\n".join(payload["test_imports"]))
        texts = [text for text in payload["tests"] if text.strip()]
        trees = [parse(text) for text in texts]
        if imports is None or not all(tree is not None for tree in trees):
            raise Unusable("SyntaxError")
        self.sources = {id(tree): text for tree, text in zip(trees, texts)}
        self.program = ProgramImports()
        self.imports = self.program.visit(imports)
        self.trees = [self.program.visit(tree) for tree in trees]
        self.used, given = set(), set(names(self.imports)[1])
        for tree in self.trees:
            of_tree = names(tree)
            self.used, given = self.used | of_tree[0], given | of_tree[1]
        self.given = given - set(self.program.names)
        self.calls_check = self.adds_check()
        if self.calls_check:
            self.used |= loads(self.check)
        self.question, self.question_tree = question_code(payload["question"])
        self.wants()
        if not self.payload["calls"]:
            self.can_fail()

    def import_sources(self):
        # The imports at the top level of the tests, as they are written.
        return [
            ast.get_source_segment(self.sources[id(tree)], node) or ""
            for tree in self.trees for node in tree.body
            if isinstance(node, (ast.Import, ast.ImportFrom))
        ]

    def adds_check(self):
        # HumanEval: the tests define `check` and leave the call to us.
        is_check = any(isinstance(n, FUNCTIONS) and n.name == "check" for tree in self.trees for n in tree.body)
        self.check = parse("check(%s)" % self.entry) if is_check and self.entry and "check" not in self.used else None
        return self.check is not None

    def wants(self):
        self.has_star = "*" in self.given
        missing = self.used - self.given - ALWAYS - set(self.program.modules)
        self.helpers = helpers_of(self.question_tree, self.entry, self.used - self.given) - set(self.program.names)
        missing -= self.helpers
        missing |= set(self.program.names.values())
        for tree in self.trees:
            for node in ast.walk(tree):
                if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in self.program.modules:
                    missing.add(node.attr)
        if self.payload["calls"]:
            self.entry = self.entry and self.entry.split(".")[-1]
            missing = {self.payload["fn_name"] or self.entry} - {None}
        self.of_language = not missing and not self.payload["calls"]
        if self.of_language:
            # What the program calls like a function of the language, if the tests ask for nothing else.
            missing = (self.used - self.given) & set(GENUINE) - {"True", "False", "None"}
        self.wanted = missing

    def can_fail(self):
        if not self.trees:
            raise NoTests
        # A fixture, a parameter, an alias: all of them are names.
        dependent = depending(self.trees, self.wanted | set(self.program.names) | set(self.program.modules))
        failing = Failing(dependent, self.wanted)
        for node in reached(self.trees, ["check"] if self.calls_check else []):
            failing.visit(node)
        if not self.wanted or not (failing.found or failing.others):
            raise NoTests
        used = set().union(*(loads(tree) for tree in self.trees)) | (loads(self.check) if self.calls_check else set())
        if not used & (self.wanted | set(self.program.names) | set(self.program.modules)):
            raise NoTests
        # Where assertions are what decides, at least one has to be run.
        self.needs_assertion = bool(failing.found) and not failing.others


class Counted(ast.NodeTransformer):
    """Counts the assertions that are run."""

    def visit_Assert(self, node):
        call = ast.Call(func=ast.Name(id="__asserted__", ctx=ast.Load()), args=[], keywords=[])
        return [ast.copy_location(ast.Expr(value=call), node), node]


def counted(tree):
    return ast.fix_missing_locations(Counted().visit(tree))
