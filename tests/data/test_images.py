import numpy as np
import pytest
from PIL import Image

from stepax.data import load

RED, GREEN = (255, 0, 0), (0, 255, 0)


@pytest.fixture
def folder(tmp_path):
    """A folder ``pets`` and a way to put an image, given as an array or a Pillow image, at a path in it."""

    def put(name, image, **options):
        path = tmp_path / "pets" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image = image if isinstance(image, Image.Image) else Image.fromarray(np.asarray(image, np.uint8))
        image.save(path, **options)
        return path

    put.root = tmp_path / "pets"
    return put


def grey(value, shape=(4, 6)):
    return np.full(shape, value)


def test_folders_are_classes_and_pixels_are_exact(folder):
    for i in range(5):
        folder(f"dog/{i}.png", grey(51 * i))
        folder(f"cat/{i}.PNG", grey(255))
    train, test = dataset = load(folder.root)
    assert (dataset.name, dataset.task, dataset.classes, dataset.features) == (
        "pets",
        "classification",
        ("cat", "dog"),
        None,
    )
    assert (train["x"].shape, test["x"].shape) == ((8, 4, 6, 1), (2, 4, 6, 1))
    assert (train["x"].dtype, train["y"].dtype) == (np.float32, np.int32)
    assert sorted(test["y"].tolist()) == [0, 1]
    everything = load(folder.root, test_fraction=0).train
    assert everything["y"].tolist() == [0] * 5 + [1] * 5
    np.testing.assert_allclose(everything["x"][5:, 0, 0, 0], [0, 0.2, 0.4, 0.6, 0.8], rtol=1e-6)


def test_colour_keeps_its_channels_and_makes_the_rest_of_the_folder_colour(folder):
    folder("a/1.png", Image.new("RGB", (6, 4), RED))
    folder("a/2.png", Image.new("RGBA", (6, 4), (*GREEN, 7)))
    folder("b/1.png", grey(255))
    folder("b/2.png", Image.new("P", (6, 4), 0))
    x = load(folder.root, test_fraction=0).train["x"]
    assert x.shape == (4, 4, 6, 3)
    assert x[:, 0, 0].tolist() == [[1, 0, 0], [0, 1, 0], [1, 1, 1], [0, 0, 0]]


def test_every_depth_of_grey_has_one_channel(folder):
    folder("a/1.png", Image.new("1", (6, 4), 1))
    folder("a/2.png", Image.new("LA", (6, 4), (255, 7)))
    folder("a/3.png", Image.fromarray(np.full((4, 6), 65535, np.uint16)))
    folder("a/4.jpeg", grey(255))
    x = load(folder.root, test_fraction=0).train["x"]
    assert x.shape == (4, 4, 6, 1)
    np.testing.assert_allclose(x, 1)


def test_size_is_height_by_width_and_averages(folder):
    board = np.indices((64, 64)).sum(axis=0) % 2 * 255
    folder("a/1.png", board)
    folder("a/2.jpg", grey(128, (31, 17)))
    x = load(folder.root, test_fraction=0, size=(4, 8)).train["x"]
    assert x.shape == (2, 4, 8, 1)
    np.testing.assert_allclose(x, 0.5, atol=0.02)


def test_a_cameras_rotation_is_carried_out(folder):
    exif = Image.Exif()
    exif[0x0112] = 6  # taken upright: the file lies on its left side
    folder("a/1.jpg", grey(9, (4, 6)), exif=exif)
    assert load(folder.root, test_fraction=0).train["x"].shape == (1, 6, 4, 1)


def test_train_and_test_folders_are_the_split(folder):
    folder("train/dog/1.png", grey(0))
    folder("train/cat/1.png", grey(255))
    folder("test/dog/1.png", Image.new("RGB", (6, 4), RED))
    train, test = dataset = load(folder.root)
    assert (dataset.classes, train["y"].tolist(), test["y"].tolist()) == (("cat", "dog"), [0, 1], [1])
    assert (train["x"].shape, test["x"].shape) == ((2, 4, 6, 3), (1, 4, 6, 3))
    with pytest.raises(ValueError, match=r"own test images: test_fraction=0.5 does not apply"):
        load(folder.root, test_fraction=0.5)
    folder("test/bird/1.png", grey(0))
    with pytest.raises(ValueError, match=r"test holds the class 'bird', which .*train lacks"):
        load(folder.root)


def test_test_images_of_another_size_are_refused(folder):
    folder("train/a/1.png", grey(0))
    odd = folder("test/a/1.png", grey(0, (5, 6)))
    with pytest.raises(ValueError, match=f"{odd} is 5 high and 6 wide .pixels.: expected 4 high and 6 wide"):
        load(folder.root)
    assert load(folder.root, size=(2, 2)).test["x"].shape == (1, 2, 2, 1)


def test_a_third_folder_beside_train_and_test_is_named(folder):
    for part in ("train", "test", "valid"):
        folder(f"{part}/a/1.png", grey(0))
    with pytest.raises(ValueError, match="others beside them: valid"):
        load(folder.root)


def test_the_odd_size_is_named(folder):
    folder("a/1.png", grey(0))
    odd = folder("b/1.png", grey(0, (6, 4)))
    with pytest.raises(
        ValueError, match=f"{odd} is 6 high and 4 wide .pixels.: expected 4 high and 6 wide, like .*a/1.png"
    ):
        load(folder.root)


def test_other_files_are_left_out_with_a_warning(folder):
    folder("a/0.png", grey(0))
    for name in ("1.gif", "notes.txt"):
        (folder.root / "a" / name).write_bytes(b"text")
    with pytest.warns(UserWarning, match=r"left out, not PNG or JPEG files: .*1\.gif and 1 other files"):
        assert len(load(folder.root, test_fraction=0).train["y"]) == 1
    (folder.root / "a" / "notes.txt").unlink()
    with pytest.warns(UserWarning, match=r"left out, not PNG or JPEG files: .*1\.gif$"):
        load(folder.root, test_fraction=0)


@pytest.mark.parametrize("name", ["deeper/1.png", "folder.png/1.png"])
def test_a_folder_among_the_images_is_named(folder, name):
    folder("a/0.png", grey(0))
    path = folder.root / "a" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"text")
    with pytest.raises(ValueError, match=r"is a folder: expected images only") as caught:
        load(folder.root)
    assert str(folder.root / "a" / name.split("/")[0]) in str(caught.value)


def test_hidden_files_do_not_count(folder):
    folder("a/0.png", grey(0))
    for name in (".DS_Store", "a/.thumbnail.png", ".git/a.png"):
        path = folder.root / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"text")
    assert load(folder.root, test_fraction=0).classes == ("a",)


@pytest.mark.parametrize("damage", ["truncated", "text", "empty", "other format"])
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_an_unreadable_image_is_named(folder, damage, suffix):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64))
    folder(f"a/0.{suffix}", noise)
    path = folder(f"a/1.{suffix}", noise)
    content = {"truncated": path.read_bytes()[:-900], "text": b"not found", "empty": b""}
    if damage == "other format":
        Image.fromarray(noise.astype(np.uint8)).save(path, format="GIF")
    else:
        path.write_bytes(content[damage])
    with pytest.raises(ValueError, match=f"{path} is not a readable PNG or JPEG image"):
        load(folder.root, test_fraction=0)


def test_folders_without_classes_or_images_are_refused(folder):
    folder.root.mkdir()
    with pytest.raises(ValueError, match="pets holds no folders: expected one for each class"):
        load(folder.root)
    (folder.root / "a").mkdir()
    with pytest.raises(ValueError, match="pets holds no images in its class folders a"):
        load(folder.root)
    folder("loose.png", grey(0))
    with pytest.raises(ValueError, match=r"loose.png is in no class folder: expected pets/<class>/loose.png"):
        load(folder.root)


@pytest.mark.parametrize(
    ("size", "error", "message"),
    [
        ((8,), ValueError, r"size is \(8,\): expected .height, width."),
        ((8, 0), ValueError, "size: the width: expected at least 1, got 0"),
        ((8.0, 8), TypeError, "size: the height: expected a whole number"),
    ],
)
def test_a_bad_size_is_refused(folder, size, error, message):
    folder("a/0.png", grey(0))
    with pytest.raises(error, match=message):
        load(folder.root, size=size)
