import numpy as np
import pytest
import scipy.io

import stepax as sx
from stepax.data.chorales import read_rolls


def cells(*pieces):
    """What MATLAB calls a cell array."""
    array = np.empty((1, len(pieces)), object)
    for i, piece in enumerate(pieces):
        array[0, i] = piece
    return array


ROLL = (np.arange(3 * 88).reshape(3, 88) % 7 == 0).astype(np.uint8)
GOOD = {"traindata": cells(ROLL, ROLL[:1]), "validdata": cells(ROLL[1:]), "testdata": cells(ROLL[:2])}


def written(path, content, **options):
    scipy.io.savemat(path, content, **options)
    return path


@pytest.mark.parametrize("compressed", [False, True])
def test_what_is_written_is_read(tmp_path, compressed):
    parts = read_rolls(written(tmp_path / "a.mat", GOOD | {"other": 3}, do_compression=compressed))
    assert {name: [len(piece) for piece in pieces] for name, pieces in parts.items()} == {
        "train": [3, 1],
        "validation": [2],
        "test": [2],
    }
    np.testing.assert_array_equal(parts["train"][0], ROLL)
    assert all(piece.dtype == np.float32 for pieces in parts.values() for piece in pieces)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"testdata": ROLL}, "testdata holds uint8: expected cells, one a piece"),
        ({"testdata": cells(ROLL, ROLL[:, :87])}, r"testdata, cell 1 has shape \[3, 87\]: expected \[time, 88\]"),
        ({"validdata": cells(ROLL[:0])}, r"validdata, cell 0 has shape \[0, 88\]"),
        ({"traindata": cells(ROLL + 1)}, "traindata, cell 0 holds numbers other than 0 and 1"),
        ({"traindata": cells(ROLL / np.nan)}, "traindata, cell 0 holds numbers other than 0 and 1"),
        ({"traindata": cells("a roll")}, "traindata, cell 0 is no array of numbers"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
def test_other_content_is_refused_by_its_place(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        read_rolls(written(tmp_path / "a.mat", GOOD | change))


def test_a_missing_part_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"a.mat has no variable 'testdata': expected 'traindata', 'validdata', "):
        read_rolls(written(tmp_path / "a.mat", {"traindata": cells(ROLL), "validdata": cells(ROLL)}))


def test_a_damaged_file_is_refused_before_it_is_read(tmp_path, monkeypatch):
    """By its checksum: SciPy's reader can end the whole process over a single bit."""
    (tmp_path / "poly_music").mkdir()
    written(tmp_path / "poly_music" / "JSB_Chorales.mat", GOOD)
    monkeypatch.setenv("STEPAX_DATA", str(tmp_path))
    monkeypatch.setattr(scipy.io, "loadmat", None)
    with pytest.raises(ValueError, match="it is damaged or another version"):
        sx.data.chorales()


def test_the_published_chorales(data_dir):
    if not (data_dir / "poly_music").is_dir():
        pytest.skip("poly_music is not in the folder of data sets")
    parts = sx.data.chorales()
    assert {name: len(pieces) for name, pieces in parts.items()} == {"train": 229, "validation": 76, "test": 77}
    assert parts["train"][0].shape == (129, 88)
    assert sum(map(len, parts["test"])) > 4000
