"""A workdir belongs to its data, and has one writer."""

import dataclasses
from pathlib import Path

import pytest

from mnistopt.errors import InputError, see
from mnistopt.results.config import CONFIG, write_config
from mnistopt.study.workdir import PAGE, Workdir
from tests.configs import DATA, make_config


def test_a_new_workdir_is_made_with_its_parents_when_it_is_written_to(tmp_path):
    folder = tmp_path / "some" / "where"
    workdir = Workdir(folder, DATA)
    assert workdir.config is None and not folder.exists()
    with workdir.writing():
        assert [path.name for path in folder.iterdir()] == [".lock"]
        workdir.write(**vars(make_config()))
    again = Workdir(folder, DATA)
    assert again.config == workdir.config == make_config()


def test_parts_of_a_known_config_are_changed(tmp_path):
    write_config(tmp_path, make_config(python="3.1"))
    workdir = Workdir(tmp_path, DATA)
    with workdir.writing():
        workdir.write(lanes={"p1": "1x2"})
    assert Workdir(tmp_path, DATA).config == make_config(
        python="3.1", lanes={"p1": "1x2"}
    )


def test_a_workdir_of_other_data_is_refused_with_every_difference(tmp_path):
    write_config(tmp_path, make_config())
    changes = {"train_examples": 30, "train": 30, "fingerprint": "f" * 16}
    with pytest.raises(InputError) as refusal:
        Workdir(tmp_path, dataclasses.replace(DATA, **changes))
    assert str(refusal.value).splitlines() == [
        f"workdir {tmp_path} holds a study of other data:",
        "  train_examples: None in the study, 30 requested",
        "  train: 90 in the study, 30 requested",
        f"  fingerprint: {DATA.fingerprint} in the study, {'f' * 16} requested",
        "Give another `workdir`, or the settings it was made with",
        see(PAGE).strip(),
    ]


@pytest.mark.parametrize(
    "name", ["dataset", "train", "validation", "test", "class_names", "image_shape"]
)
def test_any_one_difference_is_enough(tmp_path, name):
    write_config(tmp_path, make_config())
    with pytest.raises(InputError, match=f"  {name}: .* in the study, 7 requested"):
        Workdir(tmp_path, dataclasses.replace(DATA, **{name: 7}))


def test_what_follows_from_the_examples_makes_no_difference(tmp_path):
    write_config(tmp_path, make_config())
    other = dataclasses.replace(DATA, image_size=(28, 28), dark_on_light=True)
    assert Workdir(tmp_path, other).config == make_config()


def test_what_another_run_has_written_meanwhile_is_seen(tmp_path):
    write_config(tmp_path, make_config())
    workdir = Workdir(tmp_path, DATA)
    write_config(tmp_path, make_config(python="4"))
    with workdir.writing():
        assert workdir.config == make_config(python="4")


@pytest.mark.parametrize("name", [CONFIG, "trials.csv", "checkpoints", "figures"])
def test_what_is_in_the_way_is_named(tmp_path, name):
    wanted = "a file" if "." in name else "a folder"
    if wanted == "a file":
        (tmp_path / name).mkdir()
    else:
        (tmp_path / name).write_text("mine")
    with pytest.raises(InputError, match=f"in the way of {wanted}"):
        Workdir(tmp_path, DATA)


@pytest.mark.parametrize("below", ["", "deeper"])
def test_a_file_in_the_way_of_the_workdir_is_refused(tmp_path, below):
    (tmp_path / "file").write_text("mine")
    workdir = Workdir(tmp_path / "file" / below, DATA)
    refused = pytest.raises(InputError, match=r"cannot be written to .*`workdir`")
    with refused, workdir.writing():
        pytest.fail("let in")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_without_the_right_to_write_is_refused(tmp_path, monkeypatch):
    def refuse(path, *_, **__):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "touch", refuse)
    refused = pytest.raises(InputError, match=r"written to \(Permission denied\)")
    with refused, Workdir(tmp_path, DATA).writing():
        pytest.fail("let in")
