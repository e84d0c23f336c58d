"""The contact sheet of a study's augmentation."""

import numpy as np
from points import changed

from mnistopt.results.sheets import (
    DRAWS,
    make_samples,
    read_samples,
    setting,
    write_samples,
)
from mnistopt.study.grid import make_point

PLAIN = make_point(model="mlp")


def test_settings_in_words_are_told_once_and_none_is_none():
    assert setting(PLAIN) == "" == setting(changed(PLAIN, lr=0.1))
    turned = changed(PLAIN, rotate=10, noise=0.2)
    assert setting(turned) == "rotate 10, noise 0.2"
    assert setting(changed(turned, lr=0.1)) == setting(turned)


def test_a_sheet_has_the_images_and_draws_of_each_setting(tiny, tmp_path):
    points = [PLAIN, changed(PLAIN, shift=3), changed(PLAIN, shift=3, lr=0.1)]
    points.append(changed(PLAIN, noise=0.5))
    table = make_samples(points, tiny)
    wide = len(table[table["row"] == 0])
    assert len(table) == wide * (1 + 2 * DRAWS)
    assert table["setting"].unique().tolist() == ["as they are", "shift 3", "noise 0.5"]
    assert table["image"].str.startswith("data:image/png;base64,").all()
    # Every draw differs from the others, and from the image.
    for _, same in table.groupby(["place"]):
        assert same["image"].nunique() == len(same)
    write_samples(tmp_path, points, tiny)
    assert read_samples(tmp_path).equals(table)


def test_without_augmentation_there_is_no_sheet(tiny, tmp_path):
    assert make_samples([PLAIN], tiny).empty
    write_samples(tmp_path, [PLAIN], tiny)
    assert read_samples(tmp_path).empty and not list(tmp_path.iterdir())


def test_own_images_of_any_kind_are_shown(tmp_path):
    from mnistopt.data.dataset import Dataset

    rng = np.random.default_rng(0)
    images = rng.random((40, 12, 9, 3), np.float32)
    data = Dataset.from_arrays(images, np.arange(40) % 3, name="own")
    table = make_samples([changed(PLAIN, rotate=20)], data)
    assert set(table["row"]) == {0, 1}
