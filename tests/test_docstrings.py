"""What docstrings say is raised is what is raised, as far as a function's own ``raise`` statements tell."""

import ast
import inspect
import re
from pathlib import Path

import dyn_lightning
from dyn_lightning import errors

PACKAGE = Path(inspect.getfile(dyn_lightning)).parent
OURS = {name for name, x in vars(errors).items() if inspect.isclass(x) and issubclass(x, Exception)}
DOCUMENTED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def raised(node: ast.AST) -> set[str]:
    """Names of the classes in the ``raise`` statements of a function or class."""
    calls = (n.exc.func if isinstance(n.exc, ast.Call) else n.exc for n in ast.walk(node) if isinstance(n, ast.Raise))
    return {call.id for call in calls if isinstance(call, ast.Name)}


def mistold(source: str) -> list[str]:
    """Functions and classes that promise a plain ValueError, yet raise one of ours and no other."""
    found = []
    for node in ast.walk(ast.parse(source)):
        told = ast.get_docstring(node) if isinstance(node, DOCUMENTED) else None
        if re.search(r"Raises?\b.*\bValueError\b", told or "", re.S):
            classes = raised(node)
            if classes & OURS and "ValueError" not in classes:
                found.append(node.name)
    return found


def test_a_promise_of_the_wrong_class_is_found():
    wrong = 'def f(x):\n    """Do. Raises ValueError for 1."""\n    raise SettingError("no")\n'
    assert mistold(wrong) == ["f"]
    assert not mistold(wrong.replace("ValueError", "SettingError"))


def test_docstrings_name_the_class_that_is_raised():
    found = {str(path.relative_to(PACKAGE)): mistold(path.read_text()) for path in sorted(PACKAGE.rglob("*.py"))}
    assert {path: names for path, names in found.items() if names} == {}
