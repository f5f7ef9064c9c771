"""The house: imports go down only, nothing runs code from files, the import is light."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted((ROOT / "contraflow").rglob("*.py"))
LIGHT = """
import sys
before = set(sys.modules)
import numpy
numpy_modules = set(sys.modules)
import contraflow
heavy = {"llvmlite", "safetensors", "rich", "click", "torch", "scipy", "sklearn", "matplotlib"}
print(sorted(heavy & {name.split(".")[0] for name in set(sys.modules) - numpy_modules}))
"""


def test_floors():
    from importlinter.cli import lint_imports

    assert lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True) == 0


def test_no_module_imports_itself_by_way_of_others():
    import grimp

    graph = grimp.build_graph("contraflow", exclude_type_checking_imports=True, cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    order = list(TopologicalSorter(imports).static_order())  # raises where there is a circle
    assert order.index("contraflow.tensor.tensor") < order.index("contraflow.tensor.methods")


def test_importing_contraflow_pulls_numpy_only():
    done = subprocess.run(
        [sys.executable, "-c", LIGHT], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_imports_inside_functions_and_no_code_from_files(path):
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            inner = [n for n in ast.walk(node) if isinstance(n, ast.Import | ast.ImportFrom)]
            assert not inner, f"{path}:{inner[0].lineno} imports inside {node.name}"
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = {alias.name for alias in node.names} | {getattr(node, "module", None)}
            assert not names & {"pickle", "marshal", "shelve", "dill", "cloudpickle"}
