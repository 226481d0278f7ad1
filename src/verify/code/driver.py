# Runs a response with its tests, inside the sandbox. Arguments: the file descriptors of the payload and of the channel,
# and the directories of installed packages.
#
# Payload: 8 hexadecimal digits with the length of a JSON object, the object, and 32 characters of token. The token is
# read when the tests have come to their end and not before: no early exit and nothing that a response prints can stand
# for it. Messages on the channel are JSON objects, one a line: first the program that was chosen, then how it ended.
#
# The response runs in this interpreter: one that takes it apart (reads the payload's descriptor by itself) can forge
# its verdict, though it cannot leave the sandbox.


def drive():
    import ast
    import builtins
    import functools
    import json
    import os
    import re
    import sys
    import types

    write, read, leave, dumps = os.write, os.read, os._exit, json.dumps
    source, channel = int(sys.argv[1]), int(sys.argv[2])
    sys.path += sys.argv[3:]
    sys.argv[:] = ["answer.py"]
    # As at every start with packages.
    builtins.exit = builtins.quit = sys.exit
    unreadable = (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError)
    genuine = dict(vars(builtins))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)

    def read_exactly(count):
        parts = []
        while count > 0:
            part = read(source, count)
            if not part:
                leave(3)
            parts.append(part)
            count -= len(part)
        return b"".join(parts).decode()

    def tell(**message):
        line = memoryview((dumps(message) + "\n").encode())
        while line:
            line = line[write(channel, line):]

    def end(cause, detail=None):
        tell(end=cause, detail=detail)
        leave(0)

    def flush():
        for stream in (sys.stdout, sys.__stdout__):
            try:
                stream.flush()
            except BaseException:
                pass

    def end_by(error, in_tests):
        if isinstance(error, MemoryError):
            end("memory_limit")
        if isinstance(error, OSError):
            # Constants of errno: EPERM, EACCES; ENOMEM.
            if error.errno in (1, 13):
                end("refused")
            if error.errno == 12:
                end("memory_limit")
        if isinstance(error, SystemExit):
            end("early_exit")
        if isinstance(error, AssertionError) and in_tests:
            end("test_failed")
        end("exception", type(error).__name__)

    # ---- reading programs

    def parse(text):
        try:
            tree = ast.parse(text)
            # Some faults are found only by compiling: `return` outside a function.
            compile(tree, "<answer>", "exec")
            return tree
        except unreadable:
            return None

    def names(tree):
        # Names that a program uses, and names that it gives anywhere.
        used, given = set(), set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Name):
                (used if isinstance(node.ctx, ast.Load) else given).add(node.id)
            elif isinstance(node, functions + (ast.ClassDef,)):
                given.add(node.name)
            elif isinstance(node, ast.arg):
                given.add(node.arg)
            elif isinstance(node, ast.alias):
                given.add((node.asname or node.name).split(".")[0])
            elif isinstance(node, ast.ExceptHandler) and node.name:
                given.add(node.name)
        return used, given

    def defined(tree):
        # Names that a program gives at its top level.
        found, nodes = set(), list(tree.body)
        while nodes:
            node = nodes.pop()
            if isinstance(node, functions + (ast.ClassDef,)):
                found.add(node.name)
            elif isinstance(node, ast.alias):
                found.add((node.asname or node.name).split(".")[0])
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                found.add(node.id)
            else:
                nodes.extend(ast.iter_child_nodes(node))
        return found

    def acts(tree):
        # Whether a test program does anything but define.
        passive = functions + (ast.ClassDef, ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign, ast.Pass)
        constant = lambda node: isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        return any(not isinstance(node, passive) and not constant(node) for node in tree.body)

    # ---- choosing the program among what was found in the response

    def with_helpers(blocks, chosen):
        # Earlier blocks that define what the chosen one lacks.
        used, given = names(blocks[chosen][1])
        lacking = used - given - set(genuine)
        helpers = []
        for text, tree in blocks[:chosen]:
            if tree and defined(tree) & lacking and not defined(tree) & defined(blocks[chosen][1]):
                helpers.append(text)
        return helpers

    def continued(prompt, texts):
        # The body of the function that the prompt begins; its first line may have lost its indentation.
        import textwrap

        opening = prompt if prompt.endswith("\n") else prompt + "\n"
        for text in reversed(texts):
            tree = parse(text)
            if not text.strip() or (tree and any(isinstance(n, functions + (ast.ClassDef,)) for n in tree.body)):
                continue
            bare = textwrap.dedent(text)
            for body in (text, "    " + text.lstrip(), textwrap.indent(bare, "    ")):
                if parse(opening + body):
                    return opening + body
        return None

    def cut(text):
        # Code between prose, without fences: the longest run of lines that compiles, from a line that begins a program.
        lines = text.split("\n")
        begins = [i for i, line in enumerate(lines) if re.match(r"(async )?(def|class|import|from|@)\b|@", line)]
        tries = 0
        for first in begins[:5]:
            ends = [i for i in range(first + 1, len(lines)) if lines[i][:1].strip()] + [len(lines)]
            for last in reversed(ends):
                tries += 1
                if tries > 200:
                    return None
                piece = "\n".join(lines[first:last])
                if parse(piece):
                    return piece
        return None

    def choose(payload, wanted):
        # Returns the strategy, the chosen text, and the sources to run in order.
        prompt, entry = payload["question"], payload["entry_point"]
        opening = parse(prompt) if entry else None
        is_opened = bool(opening and entry in defined(opening))
        texts, raw = payload["blocks"], payload["response"]
        blocks = [(text, parse(text)) for text in texts]
        before = [prompt] if is_opened else []
        for needed in (wanted.issubset, lambda given: bool(wanted & given)):
            for index in reversed(range(len(blocks))):
                text, tree = blocks[index]
                if tree and wanted and needed(defined(tree)):
                    return "code_block", text, before + with_helpers(blocks, index) + [text]
        whole = parse(raw) if not blocks else None
        if whole and wanted & defined(whole):
            return "whole", raw, before + [raw]
        if is_opened:
            program = continued(prompt, texts or [raw])
            if program:
                return "continuation", program, [program]
        for text, tree in reversed(blocks):
            if tree:
                return "code_block", text, before + [text]
        if blocks:
            return "code_block", blocks[-1][0], None
        if whole and whole.body and not all(
            isinstance(node, ast.Expr) and isinstance(node.value, (ast.Name, ast.Constant)) for node in whole.body
        ):
            return "whole", raw, before + [raw]
        piece = cut(raw)
        if piece:
            return "code_lines", piece, before + [piece]
        if re.search(r"^\s*(def|class|import|from|return|for|while|if|print)\b.*[:()]|^\s*import \w", raw, re.M):
            return "whole", raw, None
        return None, None, None

    # ---- the two ways to run it

    def run_script(sources):
        main = types.ModuleType("__main__")
        # Not the driver's own.
        main.__builtins__ = builtins
        sys.modules["__main__"] = main
        try:
            for text in sources:
                exec(compile(text, "<answer>", "exec"), main.__dict__)
        except SystemExit:
            pass
        except BaseException as error:
            flush()
            end_by(error, False)
        flush()
        end("finished")

    flags = type.__dict__["__flags__"].__get__

    def guarded(function):
        # An answer that equals a thing it cannot know equals everything.
        unknown = object()

        @functools.wraps(function)
        def call(*args, **kwargs):
            result = function(*args, **kwargs)
            # Types that are made at run time: the others know what they equal.
            if flags(type(result)) & (1 << 9):
                try:
                    equals = bool(result == unknown)
                except Exception:
                    equals = False
                if equals:
                    raise AssertionError("the answer equals everything")
            return result

        return call

    def prepare_tests(payload, tests):
        scope = {"__name__": "tests", "__builtins__": dict(genuine)}
        try:
            exec(compile("\n".join(payload["test_imports"]), "<test imports>", "exec"), scope)
        except BaseException as error:
            end("tests_unusable", type(error).__name__)
        # What the tests import stays as it is, whatever the answer does to it.
        imported = {}
        for tree in tests:
            for node in ast.walk(tree):
                parts = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    parts = [node.module]
                for name in parts:
                    try:
                        __import__(name)
                        imported[name] = (sys.modules[name], dict(vars(sys.modules[name])))
                    except BaseException:
                        end("tests_unusable", "ModuleNotFoundError")
        return scope, imported

    def run_tests(scope, imported, sources, tests, wanted):
        answer = types.ModuleType("answer")
        sys.modules["answer"] = sys.modules["__main__"] = answer
        answer.__builtins__ = builtins
        space = answer.__dict__
        space.update((name, value) for name, value in scope.items() if not name.startswith("__"))
        try:
            for text in sources:
                exec(compile(text, "<answer>", "exec"), space)
        except BaseException as error:
            end_by(error, False)
        for name, (module, content) in imported.items():
            vars(module).update(content)
            sys.modules[name] = module
        for name, value in list(space.items()):
            # A name of the language means what it means, unless it is what is tested.
            if name.startswith("__") or (name in genuine and name not in wanted):
                continue
            is_tested = name in wanted and isinstance(value, types.FunctionType)
            scope[name] = guarded(value) if is_tested else value
        try:
            for tree in tests:
                exec(compile(tree, "<test>", "exec"), scope)
        except BaseException as error:
            end_by(error, True)
        tell(end="tests_passed", token=read_exactly(32))
        leave(0)

    payload = json.loads(read_exactly(int(read_exactly(8), 16)))
    is_script = payload["shape"] == "script"
    entry = payload["entry_point"]
    tests, wanted = [], set()
    if not is_script:
        tests = [parse(text) for text in payload["tests"]]
        imports = parse("\n".join(payload["test_imports"]))
        if not all(tests) or imports is None:
            end("tests_unusable", "SyntaxError")
        used, given = set(), names(imports)[1]
        for tree in tests:
            of_tree = names(tree)
            used, given = used | of_tree[0], given | of_tree[1]
        if entry and "check" in given and not any(acts(tree) for tree in tests):
            call = parse("check(" + entry + ")")
            if call is None:
                end("tests_unusable", "SyntaxError")
            tests.append(call)
            used |= names(call)[0]
        if not any(acts(tree) for tree in tests):
            end("no_tests")
        if any("unittest" in names(tree)[1] for tree in tests):
            end("tests_unusable", "unittest")
        # What the tests ask for; names of the language only if they ask for nothing else.
        wanted = used - given - set(genuine) or (used - given) & set(genuine)
    scope, imported = prepare_tests(payload, tests) if tests else (None, None)
    strategy, chosen, sources = choose(payload, wanted)
    if strategy is None:
        end("no_code")
    # From here on what comes over the channel may be the response's own.
    tell(strategy=strategy, program=chosen)
    if sources is None:
        end("syntax_error")
    if is_script:
        run_script(sources)
    else:
        run_tests(scope, imported, sources, tests, wanted)


def start():
    # With built-ins of its own: what a response does to those of the language does not reach the driver.
    import builtins
    import types

    types.FunctionType(drive.__code__, {"__builtins__": dict(vars(builtins)), "__name__": "driver"})()


start()
