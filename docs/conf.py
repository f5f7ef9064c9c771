"""Sphinx configuration; ``make docs`` builds the pages into ``docs/_build/html``."""

import re
from importlib.metadata import version as _version

project = "contraflow"
author = "the contraflow authors"
version = release = _version("contraflow")
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = "contraflow"
exclude_patterns = ["_build"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
autodoc_member_order = "groupwise"
autodoc_typehints = "none"  # most are Any; the sentences say what goes in
add_module_names = False


def escape_bars(app, what, name, obj, options, lines):
    """In docstrings ``|x|`` is an absolute value, not a substitution of reStructuredText."""
    for i, line in enumerate(lines):
        if not line.lstrip().startswith((">>>", "...")):
            parts = re.split(r"(``.*?``)", line)
            lines[i] = "".join(p if p.startswith("``") else p.replace("|", r"\|") for p in parts)


def setup(app):
    """Connect what reads docstrings."""
    app.connect("autodoc-process-docstring", escape_bars)
