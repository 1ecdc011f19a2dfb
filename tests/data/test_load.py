import ast
import pathlib

import numpy as np
import pytest

import stepax.data
from stepax.data import load, names

HEAVY = {"sklearn", "pooch", "PIL", "rich", "requests", "pandas", "pickle"}


def test_every_small_name_loads():
    for name in set(names()) - {"mnist", "fashion_mnist"}:
        assert load(name).name == name


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [("minst", "'mnist'"), ("Iris", "'iris'"), ("fashion-mnist", "'fashion_mnist'"), ("qwzzk", None)],
)
def test_an_unknown_name_lists_the_known_and_suggests(name, suggestion):
    with pytest.raises(ValueError, match=f"unknown data set {name!r}: known are 'digits', .*'gates'") as caught:
        load(name)
    assert ("did you mean" in str(caught.value)) == (suggestion is not None)
    assert suggestion is None or str(caught.value).endswith(f"did you mean {suggestion}?")


@pytest.mark.parametrize("path", ["nothing.csv", "./nothing", "no/thing", pathlib.Path("iris_folder")])
def test_a_path_to_nothing_is_called_that(path):
    with pytest.raises(FileNotFoundError, match="there is no file or folder"):
        load(path)


def test_the_empty_name_is_not_the_current_folder():
    with pytest.raises(ValueError, match="unknown data set ''"):
        load("")


def test_a_name_comes_before_a_file_of_that_name_but_not_before_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pathlib.Path("iris").write_text("")
    assert len(load("iris").train["y"]) == 120
    for path in ("./iris", pathlib.Path("iris")):
        with pytest.raises(
            ValueError, match=r"iris is no kind of file that is read here: expected .csv, .npz or a folder"
        ):
            load(path)


def test_a_path_may_be_text_or_a_path_in_any_case(tmp_path):
    path = tmp_path / "A.NPZ"
    with path.open("wb") as file:
        np.savez(file, x=np.zeros((10, 2)), y=np.arange(10) % 2)
    assert load(path).name == load(str(path)).name == "A"


@pytest.mark.parametrize(
    ("source", "argument"),
    [
        ("iris", {"target": "species"}),
        ("iris", {"size": (8, 8)}),
        ("iris", {"task": "regression"}),
        ("mnist", {"test_fraction": 0.5}),
        ("xor", {"test_fraction": 0.5}),
        ("a.csv", {"size": (8, 8)}),
        ("iris", {"columns": ["a"]}),
        ("a.npz", {"drop": ["a"]}),
        ("a.npz", {"target": "y"}),
        (".", {"target": "y"}),
    ],
)
def test_an_argument_that_does_not_apply_is_refused(tmp_path, source, argument):
    if source not in names():
        source = tmp_path / source
        source.touch()
    with pytest.raises(ValueError, match=f"{next(iter(argument))}=.* does not apply to"):
        load(source, **argument)


@pytest.mark.parametrize("source", ["iris", "."])
@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"size": 4}, r"size: expected \(height, width\) in pixels, got int 4"),
        ({"size": "44"}, r"size: expected \(height, width\) in pixels, got str '44'"),
        ({"test_fraction": "x"}, "test_fraction: expected a number from 0 to below 1, got str 'x'"),
        ({"test_fraction": None}, "test_fraction: expected a number from 0 to below 1, got NoneType None"),
        ({"columns": "ab"}, "columns: expected a list of names of columns, got str 'ab'"),
        ({"drop": "ab"}, "drop: expected a list of names of columns, got str 'ab'"),
        ({"target": 3}, "target: expected the name of a column, got int 3"),
    ],
)
def test_an_argument_of_another_type_is_named(source, argument, message):
    with pytest.raises(TypeError, match=message):
        load(source, **argument)


@pytest.mark.parametrize("name", [None, 3, b"iris"])
def test_a_name_of_another_type_is_named(name):
    with pytest.raises(TypeError, match=f"name_or_path: expected a name or a path, got {type(name).__name__}"):
        load(name)


def test_numbers_of_numpy_are_numbers():
    assert len(load("iris", test_fraction=np.float32(0.5)).test["y"]) == 75


def test_no_module_reaches_into_its_neighbours():
    folder = pathlib.Path(stepax.data.__file__).parent
    for file in folder.glob("*.py"):
        nodes = list(ast.walk(ast.parse(file.read_text())))
        imported = [node for node in nodes if isinstance(node, ast.ImportFrom)]
        names = {alias.asname or alias.name for node in imported for alias in node.names}
        reached = {
            node.attr for node in nodes if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") in names
        }
        assert not [name for name in names | reached if name.startswith("_") and not name.startswith("__")], file.name


def test_importing_the_package_loads_nothing_heavy():
    folder = pathlib.Path(stepax.data.__file__).parent
    for file in folder.glob("*.py"):
        for node in ast.parse(file.read_text()).body:
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module] if isinstance(node, ast.ImportFrom) else []
            assert not {module.split(".")[0] for module in modules} & HEAVY, file.name


def test_public_names_are_documented():
    for name in stepax.data.__all__:
        assert getattr(stepax.data, name).__doc__, name


def test_another_kind_of_file_is_told_what_there_is(tmp_path):
    (tmp_path / "a.txt").write_text("a text")
    with pytest.raises(ValueError, match=r"expected .csv, .npz or a folder .*, or a .txt file for data.text"):
        load(tmp_path / "a.txt")
