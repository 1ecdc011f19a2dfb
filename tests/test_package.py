"""The package as its users get it: what an import costs, what is documented, what the wheel holds."""

import doctest
import importlib
import inspect
import os
import pathlib
import pkgutil
import re
import subprocess
import sys
import tomllib
import types
import zipfile

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import stepax

ROOT = pathlib.Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
NAMES = ["stepax", *sorted(found.name for found in pkgutil.walk_packages(stepax.__path__, "stepax."))]
PUBLIC = [name for name in NAMES if not any(part.startswith("_") for part in name.split("."))]


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    paths = [str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **environment}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)


def test_import_touches_no_device() -> None:
    # On a platform that does not exist, whoever asks for a device fails.
    absent = {"JAX_PLATFORMS": "absent"}
    assert python("import jax; jax.devices()", **absent).returncode != 0, "the trap does not work: JAX found a device"
    result = python("import stepax", **absent)
    assert result.returncode == 0, result.stderr


def test_import_is_light() -> None:
    # Only who draws, saves or downloads pays for these. What Flax and Optax load anyway is not ours.
    heavy = [
        "grain",
        "matplotlib",
        "orbax",
        "PIL",
        "pooch",
        "rich",
        "scipy",
        "sklearn",
        "tensorboardX",
        "torch",
        "tyro",
    ]
    code = f"""
import sys, flax.linen, optax
before = set(sys.modules)
import stepax
print(*[name for name in {heavy} if name in sys.modules and name not in before])
"""
    result = python(code)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == []


def test_version() -> None:
    assert stepax.__version__ == PROJECT["version"]


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_exists_and_is_documented(name: str) -> None:
    module = importlib.import_module(name)
    assert (module.__doc__ or "").strip(), f"{name} has no docstring"
    names = getattr(module, "__all__", None)
    assert names is not None, f"{name} has no __all__"
    assert len(set(names)) == len(names), f"{name}.__all__ names something twice"
    missing = [public for public in names if not is_documented(getattr(module, public, None), public, module)]
    assert not missing, f"{name}: absent, or without a docstring: {missing}"


def is_documented(value: object, name: str, module: types.ModuleType) -> bool:
    if not hasattr(module, name):
        return False
    if not (inspect.isroutine(value) or inspect.isclass(value) or inspect.ismodule(value)):
        return True  # a constant or an alias
    text = (vars(value).get("__doc__") if inspect.isclass(value) else value.__doc__) or ""
    made_by_python = inspect.isclass(value) and text.startswith(f"{value.__name__}(")  # of a NamedTuple or a dataclass
    return bool(text.strip()) and not made_by_python


@pytest.mark.parametrize("name", NAMES)
def test_examples_in_docstrings(name: str) -> None:
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    failures, _ = doctest.testmod(importlib.import_module(name), optionflags=flags)
    assert failures == 0, f"{name}: an example in a docstring does not hold (its output is above)"


def test_the_wheel_holds_the_package_and_nothing_else(tmp_path: pathlib.Path) -> None:
    pytest.importorskip("hatchling", reason="the wheel is built with hatchling, of the extra `test`")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if not name.endswith("/")}
    info = f"stepax-{PROJECT['version']}.dist-info"
    assert {f"{info}/entry_points.txt", f"{info}/licenses/LICENSE", "stepax/py.typed"} <= held
    assert {name.split("/")[0] for name in held} == {"stepax", info}
    sources = {path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src").rglob("*.py")}
    assert {name for name in held if name.endswith(".py")} == sources


def pins(path: pathlib.Path) -> dict[str, str]:
    found = re.findall(r"^([\w.-]+)==(\S+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {canonicalize_name(name): version for name, version in found}


@pytest.mark.parametrize("path", sorted((ROOT / "constraints").glob("*.txt")), ids=lambda path: path.stem)
def test_pinned_versions_are_allowed(path: pathlib.Path) -> None:
    pinned = pins(path)
    for requirement in map(Requirement, PROJECT["dependencies"]):
        version = pinned[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), (
            f"{path.name}: {requirement.name}=={version} against {requirement}"
        )


def test_the_lower_bounds_are_those_tested() -> None:
    pinned = pins(ROOT / "constraints" / "lowest.txt")
    for requirement in map(Requirement, PROJECT["dependencies"]):
        version = pinned[canonicalize_name(requirement.name)]
        bound = next(specifier.version for specifier in requirement.specifier if specifier.operator == ">=")
        assert f"{version}.0.0".startswith(f"{bound}."), f"lowest.txt has {requirement.name}=={version}, not {bound}"
