"""Random words: the published ones, and the same ones however many are asked for at once."""

import numpy as np
import pytest

from contraflow.base.philox import FEW, philox_words

# Random123's known answers for philox4x32-10: counter, key, and the block that they give.
ONES = 0xFFFFFFFF
PI = (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344, 0xA4093822, 0x299F31D0)
KNOWN = [
    ((0,) * 6, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((ONES,) * 6, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (PI, (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)),
]


@pytest.mark.parametrize(("given", "block"), KNOWN)
@pytest.mark.parametrize("blocks", [1, FEW + 1])
def test_published_blocks(given, block, blocks):
    low, high, stream_low, stream_high, key_low, key_high = given
    position, stream = low | high << 32, stream_low | stream_high << 32
    before = min(position, blocks - 1)
    words = philox_words(key_low | key_high << 32, position - before, blocks, stream)
    assert tuple(words[4 * before : 4 * before + 4].tolist()) == block


@pytest.mark.parametrize("seed", [-(2**63), -1, 7, 2**63 - 1])
@pytest.mark.parametrize("stream", [0, 3, 2**40 + 5])
def test_short_draws_are_pieces_of_long_ones(seed, stream):
    position = 2**32 - 20  # the counter's second word moves on the way
    whole = philox_words(seed, position, 4 * FEW, stream)
    for size in (1, FEW - 1, FEW, FEW + 1):
        parts = [
            philox_words(seed, position + k, min(size, 4 * FEW - k), stream)
            for k in range(0, 4 * FEW, size)
        ]
        np.testing.assert_array_equal(np.concatenate(parts), whole)
        assert {part.dtype for part in parts} == {whole.dtype}
