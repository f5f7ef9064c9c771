"""Programs as PyTorch's users write them, run as they stand and again after changing the import.

Each file of `programs/` is a plain script. It runs with PyTorch, and with the text that a user gets
by replacing the imports; what both leave in ``results`` must agree. Where the script has a function
``train_step``, it runs a third time with ``@torch.compile`` above it.
"""

import re
from pathlib import Path

import numpy as np
import pytest

import contraflow as cf

torch = pytest.importorskip("torch")

FOLDER = Path(__file__).with_name("programs")
PROGRAMS = sorted(path.stem for path in FOLDER.glob("*.py"))
STEP = re.compile(r"^( *)def train_step\(", re.M)
COMPILED = [name for name in PROGRAMS if STEP.search((FOLDER / f"{name}.py").read_text())]
REPLACED = (
    (r"^import torch$", "import contraflow as torch"),
    (r"^(\s*)import torch\.", r"\1import contraflow."),
    (r"^(\s*)from torch\b", r"\1from contraflow"),
)


def translated(text):
    """The script after the change that a user makes: other imports, nothing else."""
    for pattern, replacement in REPLACED:
        text = re.sub(pattern, replacement, text, flags=re.M)
    return text


def run(name, text, folder):
    """Run a script in an empty folder and give what it leaves in ``results``."""
    names = {"__name__": "__main__"}
    with pytest.MonkeyPatch.context() as patch:
        folder.mkdir()
        patch.chdir(folder)
        exec(compile(text, str(FOLDER / f"{name}.py"), "exec"), names)
    return names["results"]


_theirs = {}


def theirs(name, folder):
    """What PyTorch leaves; computed once for each program."""
    if name not in _theirs:
        before = torch.get_default_dtype()
        _theirs[name] = run(name, (FOLDER / f"{name}.py").read_text(), folder / "torch")
        torch.set_default_dtype(before)
    return _theirs[name]


def plain(value):
    """Numbers, strings and lists of a result, whichever library it comes from."""
    if isinstance(value, cf.Tensor | torch.Tensor):
        value = value.detach().numpy()
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, str):
        return value.replace("torch", "contraflow")
    if isinstance(value, cf.dtype | torch.dtype | cf.device | torch.device):
        return str(value).replace("torch.", "").replace("contraflow.", "")
    return value


def check(found, expected, rtol, path="results"):
    """The same structure, the same strings, and numbers that agree."""
    if isinstance(expected, dict):
        assert list(found) == list(expected), path
        for key in expected:
            check(found[key], expected[key], rtol, f"{path}[{key!r}]")
    elif isinstance(expected, list):
        assert len(found) == len(expected), path
        for i, (one, other) in enumerate(zip(found, expected, strict=True)):
            check(one, other, rtol, f"{path}[{i}]")
    elif isinstance(expected, np.ndarray):
        assert found.dtype == expected.dtype and found.shape == expected.shape, path
        np.testing.assert_allclose(found, expected, rtol, 2e-5, err_msg=path)
    elif isinstance(expected, float):
        assert type(found) is float and found == pytest.approx(expected, rtol, 2e-5), path
    else:
        assert type(found) is type(expected) and found == expected, path


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_gives_the_same_after_changing_the_import(name, tmp_path):
    expected = theirs(name, tmp_path)
    found = run(name, translated((FOLDER / f"{name}.py").read_text()), tmp_path / "ours")
    assert expected
    check(plain(found), plain(expected), 2e-4)


@pytest.mark.parametrize("name", COMPILED)
def test_a_program_gives_the_same_with_its_step_compiled(name, tmp_path):
    text = translated((FOLDER / f"{name}.py").read_text())
    eager = run(name, text, tmp_path / "eager")
    found = run(name, STEP.sub(r"\1@torch.compile\n\1def train_step(", text), tmp_path / "compiled")
    check(plain(found), plain(eager), 1e-4)


def test_there_are_enough_programs():
    assert len(PROGRAMS) >= 40 and len(COMPILED) >= 10
