import pathlib

import pytest

from bench import machine


@pytest.mark.skipif(not pathlib.Path("/proc/stat").exists(), reason="only Linux tells")
def test_the_time_of_others_is_a_part_of_all() -> None:
    assert 0 <= machine.busy(0.1) <= 1


def test_the_name_fits_a_file() -> None:
    assert set(machine.described()["name"]) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
