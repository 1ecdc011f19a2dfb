"""JSON that keeps every float, and files that are whole or not there."""

import errno
import json
import math
import os
import pathlib
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from stepax import files


@pytest.mark.parametrize(
    "value",
    [
        {},
        [],
        None,
        "NaN",
        {"a": [1, 2.5, "x", None, True], "b": {"c": [{"d": -0.0}]}},
        1e-310,
        2**53 + 1,
        "Grün\u2028\n",
    ],
)
def test_round_trip(tmp_path: pathlib.Path, value: Any) -> None:
    files.write_json(tmp_path / "a.json", value)
    assert files.read_json(tmp_path / "a.json") == value
    assert files.parsed(files.one_line(value)) == value
    assert "\n" not in files.one_line(value)


def test_floats_that_json_does_not_know(tmp_path: pathlib.Path) -> None:
    files.write_json(tmp_path / "a.json", {"loss": [0.5, float("nan"), float("inf")], "worst": -np.inf})
    text = (tmp_path / "a.json").read_text()
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert '{"float": "nan"}' in text
    value = files.read_json(tmp_path / "a.json")
    assert value["loss"][0] == 0.5
    assert math.isnan(value["loss"][1])
    assert value["loss"][2] == math.inf
    assert value["worst"] == -math.inf


def test_arrays_become_lists() -> None:
    value = {"a": np.float32(0.5), "b": jnp.arange(3), "c": (np.bool_(True), np.int64(4)), "d": np.array([[np.nan]])}
    assert json.loads(files.one_line(value)) == {"a": 0.5, "b": [0, 1, 2], "c": [True, 4], "d": [[{"float": "nan"}]]}


def test_what_json_cannot_hold_is_named(tmp_path: pathlib.Path) -> None:
    with pytest.raises(TypeError, match=r"value\['a'\]\[1\].*of type object"):
        files.write_json(tmp_path / "a.json", {"a": [1, object()]})
    assert not list(tmp_path.iterdir())


def test_a_list_stands_in_one_line(tmp_path: pathlib.Path) -> None:
    files.write_json(tmp_path / "a.json", {"a": {"b": [1, 2]}, "c": float("nan")})
    assert (tmp_path / "a.json").read_text() == '{\n  "a": {\n    "b": [1, 2]\n  },\n  "c": {"float": "nan"}\n}\n'


def test_a_write_that_fails_leaves_the_old_file(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files.write_text(tmp_path / "a", "old")

    def full(*paths: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="no space"):
        files.write_text(tmp_path / "a", "new")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


@pytest.mark.parametrize(
    ("own", "everybodys", "expected"),
    [
        ("/a/b", "/c", "/a/b"),
        ("~/a", "/c", "{home}/a"),
        ("", "/c", "/c/stepax"),
        (None, "~/c", "{home}/c/stepax"),
        (None, "", "{home}/.cache/stepax"),
        (None, None, "{home}/.cache/stepax"),
    ],
)
@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_the_folder_for_what_can_be_made_again(
    monkeypatch: pytest.MonkeyPatch, platform: str, own: str | None, everybodys: str | None, expected: str
) -> None:
    monkeypatch.setattr("sys.platform", platform)
    for name, value in {"STEPAX_CACHE": own, "XDG_CACHE_HOME": everybodys}.items():
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    assert files.cache_dir() == pathlib.Path(expected.format(home=pathlib.Path.home()))


def test_bytes_are_written_in_one_go(tmp_path: pathlib.Path) -> None:
    files.write_bytes(tmp_path / "a", b"\x00old")
    files.write_bytes(tmp_path / "a", b"\xffnew")
    assert (tmp_path / "a").read_bytes() == b"\xffnew"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_where_no_file_can_be_is_told_by_the_path_that_was_given(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_text("old")
    for path, error, message in [
        (tmp_path, IsADirectoryError, "it is a folder: expected the name of a file"),
        (tmp_path / "no" / "b", FileNotFoundError, f"there is no folder {tmp_path / 'no'} to write it into"),
        (tmp_path / "a" / "b", NotADirectoryError, f"{tmp_path / 'a'} is no folder to write it into"),
    ]:
        for write in (
            files.check_target,
            lambda path: files.write_bytes(path, b""),
            lambda path: files.write_json(path, 1),
        ):
            with pytest.raises(error) as raised:
                write(path)
            assert str(raised.value) == f"{path}: {message}"
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(PermissionError, match="b: nothing may be written into the folder"):
        files.check_target(tmp_path / "b")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_an_error_of_the_system_names_the_file_and_not_the_temporary_one(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(temporary: pathlib.Path, path: pathlib.Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(temporary), None, str(path))

    monkeypatch.setattr(os, "replace", denied)
    with pytest.raises(PermissionError) as raised:
        files.write_text(tmp_path / "a", "")
    assert str(raised.value) == f"[Errno {errno.EACCES}] Permission denied: '{tmp_path / 'a'}'"
    assert not list(tmp_path.iterdir())
