"""Transforms of whole batches against plain loops, and what they promise: random but repeatable,
the dtype kept, the input never changed."""

import numpy as np
import pytest

import contraflow as cf
from contraflow.data import (
    CenterCrop,
    Compose,
    CutMix,
    Cutout,
    GaussianNoise,
    MixUp,
    Normalize,
    RandomAffine,
    RandomCrop,
    RandomErasing,
    RandomHorizontalFlip,
    RandomRotation,
    RandomVerticalFlip,
    Transform,
)
from contraflow.data.warp import affine_matrices, warp


def images(*shape, dtype=np.float32, seed=0):
    """Pixels that are all different."""
    order = np.random.default_rng(seed).permutation(int(np.prod(shape)))
    return order.reshape(shape).astype(dtype)


def seeded(n=0):
    return cf.Generator().manual_seed(n)


def applied(transform, x, seed=0):
    return transform(cf.from_numpy(x), generator=seeded(seed)).numpy()


# ---- what all of them promise -------------------------------------------------------------------

RANDOM = [
    RandomHorizontalFlip(),
    RandomVerticalFlip(),
    RandomCrop(6, padding=2),
    RandomCrop((5, 7)),
    RandomRotation(30),
    RandomAffine(20, (0.1, 0.2), (0.8, 1.2), 10, fill=0.5),
    GaussianNoise(0.5),
    RandomErasing(),
    RandomErasing(value="random"),
    Cutout(3),
    Compose([RandomHorizontalFlip(), RandomCrop(8, padding=1), GaussianNoise(0.1)]),
]
FIXED = [CenterCrop(4), Normalize(0.5, 2.0), Normalize([0.1, 0.2, 0.3], [1, 2, 3]), Compose([])]
ALL = RANDOM + FIXED


@pytest.mark.parametrize("transform", ALL, ids=repr)
def test_the_seed_decides_and_the_input_stays(transform):
    x = cf.rand(32, 3, 8, 8)
    before = x.numpy().copy()
    first = transform(x, generator=seeded(1)).numpy()
    np.testing.assert_array_equal(first, transform(x, generator=seeded(1)).numpy())
    np.testing.assert_array_equal(x.numpy(), before)
    cf.manual_seed(1)
    np.testing.assert_array_equal(first, transform(x).numpy())
    if transform in RANDOM:
        g = seeded(1)
        assert not np.array_equal(
            transform(x, generator=g).numpy(), transform(x, generator=g).numpy()
        )
    if transform.__class__ is not Compose or transform.transforms:
        result = transform(x, generator=seeded(1))
        result += 1  # a new tensor: nothing of the batch is written to
        np.testing.assert_array_equal(x.numpy(), before)
    y = cf.arange(32)
    mapped, labels = transform(x, y, generator=seeded(1))
    np.testing.assert_array_equal(mapped.numpy(), first)
    assert labels.tolist() == y.tolist()


@pytest.mark.parametrize("transform", ALL, ids=repr)
def test_dtypes_are_kept(transform):
    kinds = ["float16", "float32", "float64", "uint8", "int64"]
    for dtype in kinds:
        x = images(4, 3, 8, 8).astype(dtype)
        if dtype in ("uint8", "int64") and "GaussianNoise" in repr(transform):
            with pytest.raises(cf.DTypeError, match="float"):
                applied(transform, x)
            continue
        expected = (
            "float32" if dtype in ("uint8", "int64") and isinstance(transform, Normalize) else dtype
        )
        assert applied(transform, x).dtype == expected


@pytest.mark.parametrize("transform", ALL, ids=repr)
def test_images_without_channels_and_empty_batches(transform):
    x = images(5, 8, 8) / 320
    if not isinstance(transform, Normalize) or transform.mean.ndim == 0:
        one = applied(transform, x)
        np.testing.assert_array_equal(one, applied(transform, x[:, None])[:, 0])
    empty = applied(transform, np.zeros((0, 3, 8, 8), np.float32))
    assert empty.shape == (0, 3, *applied(transform, images(2, 3, 8, 8)).shape[2:])


@pytest.mark.parametrize(
    "transform", [t for t in ALL if t.images and type(t) is not Compose], ids=repr
)
@pytest.mark.parametrize("shape", [(8,), (8, 8), (1, 1, 1, 8, 8)])
def test_what_is_no_batch_of_images(transform, shape):
    with pytest.raises(cf.ShapeError, match="batch of images"):
        transform(cf.zeros(*shape))


def test_a_transform_of_ones_own():
    class Invert(Transform):
        def apply(self, x, random):
            return 1 - x

    x = cf.tensor([[[0.25]]])
    assert Compose([Invert(), Invert(), Invert()])(x).tolist() == [[[0.75]]]
    with pytest.raises(cf.DTypeError, match="function"):
        Compose([lambda x: x])
    assert repr(RandomCrop(3)) == "RandomCrop(size=(3, 3), padding=None, fill=0)"


def test_compose_draws_for_each_and_passes_the_labels_on():
    x = images(4, 1, 4, 4)
    g = seeded()
    steps = [RandomHorizontalFlip(), RandomVerticalFlip()]
    by_hand = steps[1](steps[0](cf.from_numpy(x), generator=g), generator=g)
    np.testing.assert_array_equal(applied(Compose(steps), x), by_hand.numpy())
    mixed, labels = Compose([*steps, MixUp(num_classes=3)])(
        cf.from_numpy(x), cf.tensor([0, 1, 2, 0])
    )
    assert labels.shape == (4, 3)
    assert mixed.shape == (4, 1, 4, 4)


# ---- flips and crops -----------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "axis"), [(RandomHorizontalFlip, -1), (RandomVerticalFlip, -2)])
def test_flips(kind, axis):
    x = images(3, 2, 4, 5)
    np.testing.assert_array_equal(applied(kind(p=1), x), np.flip(x, axis))
    np.testing.assert_array_equal(applied(kind(p=0), x), x)
    many = np.repeat(images(1, 1, 2, 2), 4000, 0)
    flipped = (applied(kind(p=0.3), many) != many).any(axis=(1, 2, 3))
    assert abs(flipped.mean() - 0.3) < 0.04
    half = applied(kind(), x, seed=3)
    for before, after in zip(x, half, strict=True):  # each sample decides for itself, whole
        assert np.array_equal(after, before) or np.array_equal(after, np.flip(before, axis))


def windows(x, height, width):
    return [
        x[..., top : top + height, left : left + width]
        for top in range(x.shape[-2] - height + 1)
        for left in range(x.shape[-1] - width + 1)
    ]


def test_a_crop_is_one_of_all_windows_and_every_one_of_them_comes():
    x = np.repeat(images(1, 2, 5, 4), 900, 0)
    out = applied(RandomCrop((4, 3)), x)
    assert out.shape == (900, 2, 4, 3)
    candidates = windows(x[0], 4, 3)
    hits = [sum(np.array_equal(o, c) for o in out) for c in candidates]
    assert len(hits) == 4
    assert sum(hits) == 900
    assert min(hits) > 150  # evenly: 225 of each


def test_crops_of_the_whole_and_with_padding():
    x = images(3, 1, 4, 4) + 1
    np.testing.assert_array_equal(applied(RandomCrop(4), x), x)
    out = applied(RandomCrop(4, padding=(1, 2), fill=-1), x)
    padded = np.pad(x, [(0, 0), (0, 0), (1, 1), (2, 2)], constant_values=-1)
    for sample, result in zip(padded, out, strict=True):
        assert any(np.array_equal(result, w) for w in windows(sample, 4, 4))


@pytest.mark.parametrize(("height", "width", "size"), [(5, 5, 3), (6, 7, 3), (6, 7, 4), (4, 4, 4)])
def test_centre_crop(height, width, size):
    x = images(2, 1, height, width)
    top, left = round((height - size) / 2), round((width - size) / 2)
    np.testing.assert_array_equal(
        applied(CenterCrop(size), x), x[:, :, top : top + size, left : left + size]
    )


@pytest.mark.parametrize("kind", [RandomCrop, CenterCrop])
def test_crops_that_do_not_fit(kind):
    with pytest.raises(cf.ShapeError, match=r"\[9, 9\] does not fit into images of \[8, 8\]"):
        kind(9)(cf.zeros(1, 1, 8, 8))
    for size in (0, -1, (0, 3)):
        with pytest.raises(cf.ArgumentError, match="size"):
            kind(size)


# ---- affine maps ---------------------------------------------------------------------------------


def affine_by_hand(image, matrix, dx, dy, fill):
    """One [H, W] image: each target pixel asks where it came from, and blends four neighbours."""
    height, width = image.shape
    out = np.empty((height, width))
    back = np.linalg.inv(matrix)
    cx, cy = (width - 1) / 2, (height - 1) / 2

    def pixel(row, column):
        inside = 0 <= row < height and 0 <= column < width
        return image[row, column] if inside else fill

    for row in range(height):
        for column in range(width):
            x, y = back @ [column - cx - dx, row - cy - dy]
            x, y = x + cx, y + cy
            left, top = int(np.floor(x)), int(np.floor(y))
            a, b = x - left, y - top
            out[row, column] = (
                (1 - b) * ((1 - a) * pixel(top, left) + a * pixel(top, left + 1))
                + b * ((1 - a) * pixel(top + 1, left) + a * pixel(top + 1, left + 1))
            )  # fmt: skip
    return out


def test_warp_against_loops():
    rng = np.random.default_rng(0)
    x = rng.random((5, 2, 6, 7))
    angle, factor = rng.uniform(-3, 3, 5), rng.uniform(0.5, 2, 5)
    shear, dx, dy = rng.uniform(-0.5, 0.5, (3, 5)) * [[1], [5], [5]]
    matrices = affine_matrices(angle, factor, shear)
    out = warp(x, matrices, dx, dy, 0.25)
    for n in range(5):
        for c in range(2):
            expected = affine_by_hand(x[n, c], matrices[n], dx[n], dy[n], 0.25)
            np.testing.assert_allclose(out[n, c], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("quarter", [0, 1, 2, 3, -1])
@pytest.mark.parametrize("size", [4, 5])
def test_quarter_turns_are_counter_clockwise(quarter, size):
    x = images(2, 1, size, size, dtype=np.float64)
    turn = RandomRotation((90 * quarter, 90 * quarter))
    expected = np.rot90(x, quarter, axes=(-2, -1))
    np.testing.assert_allclose(applied(turn, x), expected, atol=1e-9)
    whole = images(2, 1, size, size, dtype=np.uint8)
    np.testing.assert_array_equal(applied(turn, whole), np.rot90(whole, quarter, axes=(-2, -1)))


def test_whole_moves_are_exact():
    x = images(1, 1, 4, 5, dtype=np.float64)
    still = affine_matrices(np.zeros(1), np.ones(1), np.zeros(1))
    out = warp(x, still, np.array([1.0]), np.array([-2.0]), 9.0)[0, 0]
    expected = np.full((4, 5), 9.0)
    expected[:2, 1:] = x[0, 0, 2:, :4]  # right by one, up by two
    np.testing.assert_array_equal(out, expected)


def test_scale_and_shear_matrices():
    m = affine_matrices(np.array([0.0]), np.array([2.0]), np.deg2rad([45.0]))
    np.testing.assert_allclose(m[0], [[2, 2], [0, 2]], atol=1e-12)


def test_the_maps_stay_within_their_ranges(monkeypatch):
    from contraflow.data import spatial

    seen = {}

    def spy(x, matrix, dx, dy, fill):
        seen.update(matrix=matrix, dx=dx, dy=dy, fill=fill)
        return x

    monkeypatch.setattr(spatial, "warp", spy)
    wobble = RandomAffine((-20, 40), translate=(0.1, 0.25), scale=(0.5, 2), shear=(-5, 10), fill=3)
    wobble(cf.zeros(4000, 1, 8, 10), generator=seeded())
    m = seen["matrix"]
    factor = np.sqrt(np.linalg.det(m))
    angle = np.rad2deg(np.arctan2(-m[:, 1, 0], m[:, 0, 0]))
    shear = np.rad2deg(np.arctan((np.linalg.inv(affine_matrices(
        np.deg2rad(angle), factor, np.zeros(4000))) @ m)[:, 0, 1]))  # fmt: skip
    for found, low, high in [
        (factor, 0.5, 2), (angle, -20, 40), (shear, -5, 10),
        (seen["dx"], -1, 1), (seen["dy"], -2, 2),
    ]:  # fmt: skip
        reach = (high - low) / 50
        assert low - 1e-9 <= found.min() < low + reach
        assert high - reach < found.max() <= high + 1e-9
        assert abs(found.mean() - (low + high) / 2) < 2 * reach
    assert seen["fill"] == 3


@pytest.mark.parametrize(
    "arguments",
    [
        {"degrees": "ten"},
        {"degrees": (10, -10)},
        {"degrees": (1, 2, 3)},
        {"degrees": float("nan")},
        {"degrees": 10, "translate": (2, 0)},
        {"degrees": 10, "translate": (0.1, 0.1, 0.1)},
        {"degrees": 10, "scale": (0, 1)},
        {"degrees": 10, "scale": 2},
        {"degrees": 10, "shear": (3, 1)},
    ],
    ids=str,
)
def test_arguments_of_affine_maps(arguments):
    with pytest.raises(cf.ArgumentError):
        RandomAffine(**arguments)


# ---- noise, normalisation --------------------------------------------------------------------------


def test_noise_is_normal():
    noise = applied(GaussianNoise(0.5, mean=2.0), np.zeros((200, 200), np.float64))
    assert abs(noise.mean() - 2) < 0.02
    assert abs(noise.std() - 0.5) < 0.01
    assert abs((np.abs(noise - 2) < 0.5).mean() - 0.6827) < 0.01
    x = images(3, 4)
    np.testing.assert_array_equal(applied(GaussianNoise(0.0), x), x)
    for sigma in (-1, "a", float("nan"), float("inf")):
        with pytest.raises(cf.ArgumentError):
            GaussianNoise(sigma)


@pytest.mark.parametrize("shape", [(6, 3), (6, 3, 4), (6, 3, 4, 5)])
def test_normalize(shape):
    x = np.random.default_rng(0).normal(5, 3, shape)
    scale = Normalize.fit(cf.from_numpy(x))
    out = applied(scale, x)
    for feature in range(3):
        part = x[:, feature]
        np.testing.assert_allclose(out[:, feature], (part - part.mean()) / part.std(), rtol=1e-12)
    other = applied(scale, x + 1)  # the numbers of the training data, everywhere
    np.testing.assert_allclose(other[:, 0], out[:, 0] + 1 / x[:, 0].std(), rtol=1e-9)
    np.testing.assert_allclose(applied(Normalize(2.0, 4.0), x), (x - 2) / 4)


def test_normalize_keeps_the_scale_of_a_constant():
    x = np.array([[1.0, 7.0], [3.0, 7.0]])
    assert applied(Normalize.fit(cf.from_numpy(x)), x).tolist() == [[-1, 0], [1, 0]]


@pytest.mark.parametrize(
    ("mean", "std"), [(0, 0), (0, -1), ([0, 0], [1, 0]), (np.nan, 1), (0, np.inf), ([[1]], 1)]
)
def test_numbers_that_cannot_normalise(mean, std):
    with pytest.raises(cf.ArgumentError, match="Normalize"):
        Normalize(mean, std)


def test_batches_that_cannot_be_normalised():
    with pytest.raises(cf.ShapeError, match="3 means"):
        Normalize([1, 2, 3], 1)(cf.zeros(2, 4))
    for shape in ((3,), (0, 3)):
        with pytest.raises(cf.ShapeError, match="fit"):
            Normalize.fit(cf.zeros(*shape))


# ---- erasing -----------------------------------------------------------------------------------------


def rectangle_of(mask):
    """Bounds of the erased pixels, which must fill a rectangle."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    assert mask[top:bottom, left:right].all()
    assert mask.sum() == (bottom - top) * (right - left)
    return top, bottom, left, right


def test_random_erasing():
    x = images(500, 2, 20, 30) + 1
    out = applied(RandomErasing(p=1, scale=(0.05, 0.3), ratio=(0.5, 2), value=-1), x)
    areas, ratios = [], []
    for before, after in zip(x, out, strict=True):
        erased = after != before
        np.testing.assert_array_equal(erased[0], erased[1])  # the same place in every channel
        assert (after[erased] == -1).all()
        top, bottom, left, right = rectangle_of(erased[0])
        areas.append((bottom - top) * (right - left) / 600)
        ratios.append((bottom - top) / (right - left))
    assert 0.035 < min(areas) < 0.06
    assert 0.27 < max(areas) < 0.34
    assert 0.35 < min(ratios) < 0.7
    assert 1.5 < max(ratios) < 2.8
    np.testing.assert_array_equal(applied(RandomErasing(p=0), x), x)
    some = (applied(RandomErasing(p=0.25, value=-1), x) != x).any(axis=(1, 2, 3))
    assert 0.17 < some.mean() < 0.33


def test_random_erasing_with_noise():
    x = np.full((200, 1, 16, 16), 100.0, np.float32)
    out = applied(RandomErasing(p=1, value="random"), x)
    noise = out[out != 100]
    assert abs(noise.mean()) < 0.1
    assert abs(noise.std() - 1) < 0.1


def test_cutout_is_a_square_cut_at_the_border():
    x = images(400, 1, 9, 9) + 1
    out = applied(Cutout(4), x)
    sizes, centres = set(), set()
    for before, after in zip(x[:, 0], out[:, 0], strict=True):
        top, bottom, left, right = rectangle_of(after != before)
        assert (after[top:bottom, left:right] == 0).all()
        sizes.add((bottom - top, right - left))
        centres.add((bottom, right))
    assert (4, 4) in sizes
    assert max(map(max, sizes)) == 4
    assert min(map(min, sizes)) == 2  # half of it lies outside
    assert len(centres) > 40


@pytest.mark.parametrize(
    "make",
    [
        lambda: RandomErasing(p=1.5),
        lambda: RandomErasing(p="often"),
        lambda: RandomErasing(scale=(0.5, 0.1)),
        lambda: RandomErasing(scale=(-0.1, 0.5)),
        lambda: RandomErasing(scale=(0.1, 1.5)),
        lambda: RandomErasing(ratio=(0, 1)),
        lambda: RandomErasing(value="black"),
        lambda: Cutout(0),
        lambda: RandomHorizontalFlip(p=-0.1),
        lambda: RandomCrop(3, padding=-1),
        lambda: MixUp(alpha=0),
        lambda: MixUp(alpha="a"),
        lambda: CutMix(alpha=-1),
    ],
)
def test_arguments_outside_their_domain(make):
    with pytest.raises(cf.ArgumentError):
        make()


# ---- mixing --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(40, 3), (40, 1, 4, 4)])
def test_mixup_blends_samples_and_labels_by_the_same_share(shape):
    x = np.random.default_rng(0).random(shape)
    labels = np.arange(40) % 4
    mixed, y = MixUp(alpha=1.0, num_classes=4)(
        cf.from_numpy(x), cf.from_numpy(labels), generator=seeded()
    )
    mixed, y = mixed.numpy().reshape(40, -1), y.numpy()
    flat = x.reshape(40, -1)
    np.testing.assert_allclose(y.sum(1), 1)
    blended = 0
    for i in range(40):
        fits = []
        for j in range(40):  # which partner, and which share, explains all features?
            direction = flat[i] - flat[j]
            if i == j:
                continue
            lam = ((mixed[i] - flat[j]) @ direction) / (direction @ direction)
            if np.allclose(lam * flat[i] + (1 - lam) * flat[j], mixed[i], atol=1e-9):
                fits.append((lam, j))
        if not fits:
            np.testing.assert_allclose(mixed[i], flat[i])  # its partner was itself
            continue
        share = [
            lam * (labels[i] == c) + (1 - lam) * (labels[j] == c)
            for lam, j in fits[:1]
            for c in range(4)
        ]
        assert 0 <= fits[0][0] <= 1
        np.testing.assert_allclose(y[i], share, atol=1e-9)
        blended += 1
    assert blended > 35


def test_the_share_is_beta_distributed():
    n = 5000
    x = np.repeat([[0.0], [1.0]], n // 2, 0)
    y = np.repeat([[1.0, 0.0], [0.0, 1.0]], n // 2, 0)
    for alpha in (0.2, 2.0):
        _, out = MixUp(alpha)(cf.from_numpy(x), cf.from_numpy(y), generator=seeded())
        lam = out.numpy()[: n // 2, 0]
        lam = lam[lam < 1]  # partners of the same class leave 1
        # Beta(a, a) has mean 1/2 and variance 1 / (4 (2 a + 1))
        assert abs(lam.mean() - 0.5) < 0.05
        assert abs(lam.var() - 1 / (4 * (2 * alpha + 1))) < 0.02


@pytest.mark.parametrize("channels", [True, False])
def test_cutmix_pastes_a_rectangle_and_mixes_labels_by_its_area(channels):
    x = np.arange(30.0)[:, None, None, None] * np.ones((1, 2, 8, 10)) + 1
    x = x if channels else x[:, 0]
    eye = np.eye(30)
    mixed, y = CutMix(alpha=1.0)(cf.from_numpy(x), cf.from_numpy(eye), generator=seeded())
    mixed, y = mixed.numpy(), y.numpy()
    if channels:
        np.testing.assert_array_equal(mixed[:, 0], mixed[:, 1])
        mixed = mixed[:, 0]
    pasted = 0
    for i in range(30):
        foreign = mixed[i] != i + 1
        share = foreign.mean()
        np.testing.assert_allclose(y[i, i], 1 - share, atol=1e-12)
        if foreign.any():
            rectangle_of(foreign)
            (partner,) = set(mixed[i][foreign])
            np.testing.assert_allclose(y[i, int(partner) - 1], share, atol=1e-12)
            pasted += 1
    assert pasted > 15


def test_mixing_works_with_cross_entropy():
    x, y = MixUp(num_classes=3)(cf.rand(6, 3), cf.tensor([0, 1, 2, 0, 1, 2]))
    assert y.dtype is cf.float32
    loss = cf.nn.CrossEntropyLoss()(x, y)
    assert loss.shape == ()


@pytest.mark.parametrize("kind", [MixUp, CutMix])
def test_what_cannot_be_mixed(kind):
    x, y = cf.rand(4, 1, 2, 2), cf.tensor([0, 1, 2, 0])
    mix = kind(num_classes=3)
    for call, error, says in [
        (lambda: mix(x), cf.ArgumentError, "labels"),
        (lambda: mix(x, cf.tensor([0, 1])), cf.ShapeError, "4 samples, but 2 labels"),
        (lambda: mix(x, y + 1), cf.IndexOutOfRange, r"1\.\.3"),
        (lambda: mix(x, y.float()), cf.DTypeError, "class indices"),
        (lambda: kind()(x, y), cf.ArgumentError, "num_classes"),
        (lambda: mix((x * 255).to(cf.uint8), y), cf.DTypeError, "float"),
    ]:
        with pytest.raises(error, match=says):
            call()
    with pytest.raises(cf.ShapeError, match="CutMix takes images"):
        CutMix(num_classes=3)(cf.rand(4, 2), y)
