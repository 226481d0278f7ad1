# Reads programs without running them: what they define and use, and which of the texts in a response is the program.

import ast
import builtins
import re
import sys
import textwrap

UNREADABLE = (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
DEFINITIONS = FUNCTIONS + (ast.ClassDef,)
GENUINE = dict(vars(builtins))
# What no program has to define.
ALWAYS = frozenset(GENUINE) | {"__name__", "__file__", "__doc__", "__builtins__", "self"}


def parse(text):
    try:
        tree = ast.parse(text)
        # Some faults are found only by compiling: `return` outside a function.
        compile(tree, "<answer>", "exec", dont_inherit=True)
        return tree
    except UNREADABLE:
        return None


def names(tree):
    # Names that a program uses, and names that it gives anywhere.
    used, given = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            (used if isinstance(node.ctx, ast.Load) else given).add(node.id)
        elif isinstance(node, DEFINITIONS):
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
        if isinstance(node, DEFINITIONS):
            found.add(node.name)
        elif isinstance(node, ast.alias):
            found.add((node.asname or node.name).split(".")[0])
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        else:
            nodes.extend(ast.iter_child_nodes(node))
    return found


def methods(tree):
    # Names of the methods of classes at the top level.
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    return {node.name for owner in classes for node in owner.body if isinstance(node, FUNCTIONS)}


def is_words(tree):
    # Whether a text that happens to be Python says nothing: names and constants alone.
    def is_word(node):
        return isinstance(node, ast.Expr) and all(
            isinstance(part, (ast.Name, ast.Constant, ast.Tuple, ast.List, ast.UnaryOp, ast.BinOp, ast.Compare))
            or isinstance(part, (ast.expr_context, ast.operator, ast.unaryop, ast.cmpop))
            for part in ast.walk(node.value)
        )

    return all(is_word(node) for node in tree.body)


# ---- choosing the program among what was found in the response

def with_helpers(blocks, chosen):
    # Earlier blocks that define what the chosen one lacks.
    used, given = names(blocks[chosen][1])
    lacking = used - given - set(GENUINE)
    own, helpers = defined(blocks[chosen][1]), []
    for text, tree in blocks[:chosen]:
        if tree and defined(tree) & lacking and not defined(tree) & own:
            helpers.append(text)
    return helpers


def joined(texts):
    # A program that was cut within a function goes on in the next block, which is no program by itself.
    found, skip = [], 0
    for index, text in enumerate(texts):
        if skip:
            skip -= 1
            continue
        whole = text
        for after in texts[index + 1 : index + 9]:
            tried = whole.rstrip("\n") + "\n" + after
            if parse(after) or not parse(tried):
                break
            whole, skip = tried, skip + 1
        found.append(whole)
    return found


def halves(texts):
    # The same where the first half is no program by itself either.
    found = []
    for index in range(len(texts) - 1):
        whole = texts[index]
        for after in texts[index + 1 : index + 4]:
            whole = whole.rstrip("\n") + "\n" + after
            if parse(whole):
                found.append(whole)
                break
    return found


def continued(prompt, texts):
    # The body of the function that the prompt begins; its first line may have lost its indentation.
    opening = prompt if prompt.endswith("\n") else prompt + "\n"
    for text in reversed(texts):
        tree = parse(text)
        if not text.strip() or (tree and any(isinstance(n, DEFINITIONS) for n in tree.body)):
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


def indented(text):
    # Runs of lines that are indented alike, as Markdown sets code, each without its indentation.
    found, run = [], []
    for line in text.split("\n") + ["end"]:
        if line.startswith(("    ", "\t")) or (run and not line.strip()):
            run.append(line)
        else:
            if run:
                found.append(textwrap.dedent("\n".join(run)).strip("\n") + "\n")
            run = []
    return [piece for piece in found if piece.strip()][-32:]


def inline(text):
    # Code within a line: between backticks, or from `def` to the end of the line.
    spans = re.findall(r"`([^`\n]+)`", text)
    spans += [line[line.index("def ") :].rstrip("`. ") for line in text.split("\n") if re.search(r"\S.*\bdef \w+\(", line)]
    return [span.strip() for span in spans if re.match(r"(async )?def |\w+ *= *lambda|class ", span.strip())][-32:]


class Choice:
    """The program that was chosen: how it was found, its text, and the sources to run in order; none if it is no Python."""

    def __init__(self, strategy, text, sources):
        self.strategy, self.text, self.sources = strategy, text, sources


def gives(tree, wanted, needed):
    given = defined(tree)
    return needed(given) or needed(given | methods(tree))


def choose(payload, wanted):
    prompt, entry = payload["question"], payload["entry_point"]
    opening = parse(prompt) if entry else None
    is_opened = bool(opening and entry in defined(opening))
    raw, before = payload["response"], [prompt] if is_opened else []
    texts = joined(payload["blocks"])
    blocks = [(text, parse(text)) for text in texts]
    needs = (wanted.issubset, lambda given: bool(wanted & given))
    # What the response itself speaks ill of comes last.
    doubtful = set(payload["doubtful"])
    for needed in needs:
        for is_doubted in (False, True):
            for index in reversed(range(len(blocks))):
                text, tree = blocks[index]
                if (text in doubtful) == is_doubted and tree and wanted and gives(tree, wanted, needed):
                    return Choice("code_block", text, before + with_helpers(blocks, index) + [text])
    for text in reversed(halves(texts)):
        if wanted and gives(parse(text), wanted, needs[1]):
            return Choice("code_block", text, before + [text])
    whole = parse(raw) if not blocks else None
    if whole and wanted & (defined(whole) | methods(whole)):
        return Choice("whole", raw, before + [raw])
    if is_opened:
        program = continued(prompt, texts or [raw])
        if program:
            return Choice("continuation", program, [program])
    for is_doubted in (False, True):
        for index in reversed(range(len(blocks))):
            text, tree = blocks[index]
            if (text in doubtful) == is_doubted and tree and not is_words(tree):
                return Choice("code_block", text, before + (with_helpers(blocks, index) if not wanted else []) + [text])
    for text in reversed(halves(texts)):
        return Choice("code_block", text, before + [text])
    if not wanted or not blocks:
        found = without_fences(raw, whole, wanted, before)
        if found and not blocks:
            return found
    for text, tree in reversed(blocks):
        if tree:
            return Choice("code_block", text, before + [text])
    if blocks:
        return Choice("code_block", blocks[-1][0], None)
    if re.search(r"^\s*(def|class|import|from|return|for|while|if|print)\b.*[:()]|^\s*import \w", raw, re.M):
        return Choice("whole", raw, None)
    return None


def without_fences(raw, whole, wanted, before):
    if whole and whole.body and not is_words(whole):
        return Choice("whole", raw, before + [raw])
    pieces = [cut(raw)] + indented(raw)[::-1] + inline(raw)[::-1]
    pieces = [(piece, parse(piece)) for piece in pieces if piece]
    for needed in (wanted.issubset, lambda given: bool(wanted & given), lambda given: not wanted):
        for piece, tree in pieces:
            if tree and not is_words(tree) and (needed(defined(tree) | methods(tree))):
                return Choice("code_lines", piece, before + [piece])
    for piece, tree in pieces[:1]:
        return Choice("code_lines", piece, before + [piece])
    return None
