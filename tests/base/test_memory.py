"""What Python does with memory while a step is made ready."""

from __future__ import annotations

import gc

import pytest

from contraflow.base.memory import collected_later


def test_nobody_looks_for_cycles_inside_and_all_is_as_before_after():
    assert gc.isenabled()
    with collected_later():
        assert not gc.isenabled()
        with collected_later():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()


def test_an_error_does_not_leave_it_off():
    with pytest.raises(ValueError, match="no"), collected_later():
        raise ValueError("no")
    assert gc.isenabled()


def test_who_had_switched_it_off_finds_it_off():
    gc.disable()
    try:
        with collected_later():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
