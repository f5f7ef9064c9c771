"""Write ``docs/errors.md`` from the planted mistakes of the tests: their messages as they print.

``python tools/error_page.py``; a test compares the page with what this would write.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.errors.mistakes import MISTAKES, PRELUDE, Mistake, meet  # noqa: E402

PAGE = ROOT / "docs" / "errors.md"
BEGIN = """\
# Errors that teach

A message states the rule that was broken, shows the operands by dtype, shape and name, says where
(your line, and the layer by its path in the model), and ends with the fix as code. It comes before
any work: nothing has changed when it arrives.

These are some of the {count} mistakes that the tests make, with what they print. Each program is a
file `train.py` that begins with

```py
{prelude}
```
"""
END = """\
## One tree

Every class derives `ContraflowError` and the builtin that fits, so that existing `except` lines go
on working:

```python
>>> import contraflow as cf
>>> issubclass(cf.ShapeError, ValueError), issubclass(cf.DTypeError, TypeError)
(True, True)
>>> issubclass(cf.IndexOutOfRange, IndexError), issubclass(cf.GradError, RuntimeError)
(True, True)
>>> all(issubclass(e, cf.ContraflowError) for e in (cf.ShapeError, cf.StateError, cf.CaptureError))
True
```
"""


def section(planted: Mistake) -> str:
    """One mistake: its title, the program, and the message."""
    error = meet(planted).error
    title = planted.title[0].upper() + planted.title[1:]
    message = f"{type(error).__name__}: {error}"
    return f"## {title}\n\n```py\n{planted.code}```\n\n```text\n{message}\n```\n"


def render() -> str:
    """The whole page."""
    begin = BEGIN.format(count=len(MISTAKES), prelude=PRELUDE.strip())
    return "\n".join([begin, *(section(m) for m in MISTAKES if m.page), END])


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")
