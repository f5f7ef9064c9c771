"""Every example that is shown runs: docstrings of the package, pages of docs, README, CONTRIBUTING.

In a page, the ``python`` blocks share one namespace, from top to bottom:

* a block with ``>>>`` is a doctest;
* a block without runs as it stands, and the ``text`` block right under it is what it prints;
* a block ``python file=contraflow/ops/record.py`` is shown, not run: it must stand in that file.
"""

import contextlib
import doctest
import importlib
import io
import re
import textwrap
from itertools import zip_longest
from pathlib import Path
from types import SimpleNamespace

import pytest
from _pytest.doctest import _get_checker, get_optionflags  # where pytest keeps NUMBER

import contraflow as cf

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "examples" / "README.md"] + sorted(
    page for page in DOCS.rglob("*.md") if "_build" not in page.parts
)
FENCE = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<body>.*?)^```$", re.M | re.S)
CHECKER = _get_checker()


@pytest.fixture(autouse=True)
def fresh(tmp_path, monkeypatch):
    """Each example starts from the same seed, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    cf.manual_seed(0)


@pytest.fixture
def flags(request):
    return get_optionflags(request.config)


def failures(example, flags):
    """Run one doctest; what it has to say, empty if all is as written."""
    said = []
    runner = doctest.DocTestRunner(CHECKER, verbose=False, optionflags=flags)
    runner.run(example, out=said.append, clear_globs=False)
    return said


# ---- docstrings ---------------------------------------------------------------------------------


SOURCES = sorted(
    source
    for source in (ROOT / "contraflow").rglob("*.py")
    if source.name != "__main__.py" and re.search(r"^\s*>>> ", source.read_text(), re.M)
)


def module_name(source):
    parts = source.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@pytest.mark.parametrize("name", [module_name(source) for source in SOURCES])
def test_docstrings_of(name, flags):
    found = doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(name), name)
    assert found
    said = []
    for example in found:
        cf.manual_seed(0)
        said += failures(example, flags)
    if said:
        pytest.fail("".join(said), pytrace=False)


# ---- pages --------------------------------------------------------------------------------------


def blocks(text):
    """The fenced blocks of a page: language, options, body, line, and what stands before each."""
    end = 0
    for match in FENCE.finditer(text):
        language, *options = match["info"].split() or [""]
        yield SimpleNamespace(
            language=language,
            options=dict(option.partition("=")[::2] for option in options),
            body=match["body"],
            line=text.count("\n", 0, match.start()) + 1,
            follows=not text[end : match.start()].strip(),
        )
        end = match.end()


def run_block(block, expected, page, names, flags):
    """Run one block of a page in the page's namespace."""
    if ">>> " in block.body:
        example = doctest.DocTestParser().get_doctest(
            block.body, {}, page.name, str(page), block.line
        )
        example.globs = names
        if said := failures(example, flags):
            pytest.fail("".join(said), pytrace=False)
        return
    printed = io.StringIO()
    padded = "\n" * block.line + block.body  # so that tracebacks show the line of the page
    with contextlib.redirect_stdout(printed):
        exec(compile(padded, str(page), "exec"), names)
    if expected is not None and not CHECKER.check_output(expected, printed.getvalue(), flags):
        pytest.fail(
            f"{page}:{block.line} prints\n{printed.getvalue()}\nand not\n{expected}", pytrace=False
        )


def squeezed(source):
    """Lines without the indentation that they share, to find an excerpt wherever it stands."""
    return [line.rstrip() for line in textwrap.dedent(source).strip("\n").split("\n")]


def stands_in(excerpt, source):
    wanted = squeezed(excerpt)
    lines = source.split("\n")
    starts = range(len(lines) - len(wanted) + 1)
    return any(squeezed("\n".join(lines[i : i + len(wanted)])) == wanted for i in starts)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_page(page, flags):
    names = {"__name__": "page"}
    found = list(blocks(page.read_text()))
    for block, after in zip_longest(found, found[1:]):
        if block.language != "python":
            continue
        if "file" in block.options:
            source = (ROOT / block.options["file"]).read_text()
            assert stands_in(block.body, source), (
                f"{page}:{block.line} is not in {block.options['file']} any more"
            )
            continue
        printed = after is not None and after.follows and after.language == "text"
        run_block(block, after.body if printed else None, page, names, flags)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page):
    text = FENCE.sub("", page.read_text())
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)|src=\"([^\"]+)\"", text):
        target = "".join(target)
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_runner_sees_what_is_wrong(flags):
    page = DOCS / "imaginary.md"
    (right,) = blocks("```python\n>>> 1 + 1\n2\n```\n")
    run_block(right, None, page, {}, flags)
    (wrong,) = blocks("```python\n>>> 1 + 1\n3\n```\n")
    with pytest.raises(pytest.fail.Exception, match="Got"):
        run_block(wrong, None, page, {}, flags)
    shown, printed = blocks("```python\nprint(0.25)\n```\n\n```text\n0.5\n```\n")
    assert printed.follows
    with pytest.raises(pytest.fail.Exception, match="prints"):
        run_block(shown, printed.body, page, {}, flags)
    assert stands_in("  b = 2\n", "a = 1\nb = 2\n")
    assert not stands_in("b = 3\n", "a = 1\nb = 2\n")


def test_every_op_without_a_docstring_is_on_the_page_of_pointwise_ops():
    shown = set(
        re.findall(r"`(\w+)(?:\([\w, ]*\))?`", (DOCS / "reference/pointwise.md").read_text())
    )
    bare = {name for name in cf.__all__ if type(getattr(cf, name)).__name__ == "Op"}
    assert bare <= shown
    assert {"exp", "maximum"} <= bare
