"""What a program makes, named by its text: stands for weights where labels are exact."""

import ast
import hashlib
from collections.abc import Sequence
from pathlib import Path


def program_digest(files: Sequence[Path]) -> str:
    """sha256 in hex over the lines of some modules, without their imports and docstrings: what was made stays theirs
    when another module moves or a sentence changes."""
    found = hashlib.sha256()
    for path in files:
        text = path.read_text("utf-8")
        left_out = {number for first, last in _idle(ast.parse(text)) for number in range(first, last + 1)}
        for number, line in enumerate(text.splitlines(), start=1):
            if number not in left_out and line.strip():
                found.update(line.encode() + b"\n")
        found.update(b"\0")
    return found.hexdigest()


def _idle(tree: ast.Module) -> list[tuple[int, int]]:
    """First and last lines of what decides nothing: imports, and strings that stand by themselves."""
    return [
        (node.lineno, node.end_lineno or node.lineno)
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str))
    ]
