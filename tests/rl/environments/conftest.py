"""The reference that the environments are held against."""

from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def gymnasium() -> ModuleType:
    return pytest.importorskip("gymnasium", reason="Gymnasium is not here: it comes with the extra `test`")
