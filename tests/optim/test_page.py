"""docs/optim.md shows the records as they are."""

import importlib.util
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def tool():
    spec = importlib.util.spec_from_file_location("optim_page", ROOT / "tools" / "optim_page.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_made_from_the_records():
    page = (ROOT / "docs" / "optim.md").read_text()
    assert tool().filled(page) == page, "run: python tools/optim_page.py"


def test_every_rule_and_schedule_is_on_it():
    module = tool()
    named = set(module.EXAMPLES) | set(module.WHOLES) | {"ReduceLROnPlateau"}
    assert named - {"SWALR"} == set(module.schedules.__all__) - {"LRScheduler", "ScheduleWarning"}
    assert all(f"**{name}**" in module.rules() for name in module.cf.optim.RULES)
