"""The tests of the loop run twice: op by op, and with native steps from the first batch on."""

import pytest

from contraflow.train import worth

TWICE = ("test_loop", "test_callbacks", "test_checkpoint", "test_history")


def pytest_generate_tests(metafunc):
    if metafunc.module.__name__.rpartition(".")[2] in TWICE:
        metafunc.parametrize("steps", ["eager", "native"], indirect=True)


@pytest.fixture(autouse=True)
def steps(request, monkeypatch):
    """How the steps of ``fit`` run, where nothing speaks against native ones."""
    way = getattr(request, "param", None)
    if way is not None:
        monkeypatch.setattr(worth, "WORTH", 1 if way == "native" else 10**9)
    return way


@pytest.fixture(scope="module")
def compiled_once(tmp_path_factory):
    """Runs that shall be the same run the same code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONTRAFLOW_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
