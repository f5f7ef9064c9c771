"""The samples of the op records, and tests that go over many of them in one item."""

import zlib

import numpy as np
import pytest


def samples_of(op):
    """The samples of a record, always the same."""
    rng = np.random.default_rng(zlib.crc32(op.name.encode()))
    return [] if op.samples is None else op.samples(rng)


def grouped(cases):
    """Make a check of one case a test of all cases of a group: an item for each of thousands of
    cases would cost more than what it does.

    Args:
        cases: (group, name of the case, arguments of the check).
    """
    groups = {}
    for group, name, args in cases:
        groups.setdefault(group, {})[name] = args

    def decorate(check):
        @pytest.mark.parametrize("cases", groups.values(), ids=groups)
        def test(cases):
            for name, args in cases.items():
                try:
                    check(*args)
                except BaseException as error:
                    error.add_note(name)
                    raise

        return test

    return decorate
