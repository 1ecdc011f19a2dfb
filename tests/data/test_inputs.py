import numpy as np
import pytest
from PIL import Image

from stepax.data.inputs import read_inputs


def test_columns_are_found_by_name_and_others_are_told(tmp_path):
    (tmp_path / "t.csv").write_text("b,id,a\n1,x,2\n3,y,4\n")
    inputs = read_inputs(tmp_path / "t.csv", (2,), ("a", "b"))
    np.testing.assert_array_equal(inputs.x, [[2, 1], [4, 3]])
    assert (inputs.x.dtype, inputs.names, inputs.left_out) == (np.float32, ("1", "2"), ("id",))


def test_without_names_all_columns_count_in_their_order(tmp_path):
    (tmp_path / "t.csv").write_text("b,a\n1,2\n")
    np.testing.assert_array_equal(read_inputs(tmp_path / "t.csv", (2,)).x, [[1, 2]])
    with pytest.raises(ValueError, match="2 columns, and the model takes inputs of shape 3"):
        read_inputs(tmp_path / "t.csv", (3,))


@pytest.mark.parametrize("shape", [(3, 4, 5, 1), (3, 4, 5), (4, 5, 1), (4, 5)])
def test_arrays_may_lack_the_axis_of_one_channel_or_of_rows(tmp_path, shape):
    x = np.random.default_rng(0).uniform(size=shape)
    np.save(tmp_path / "x.npy", x)
    read = read_inputs(tmp_path / "x.npy", (4, 5, 1)).x
    assert read.shape == (shape[0] if len(shape) > 2 and shape[0] == 3 else 1, 4, 5, 1)
    np.testing.assert_allclose(read.ravel(), x.ravel(), rtol=1e-6)


@pytest.mark.parametrize("shape", [(4, 5, 1), (4, 5, 3)])
@pytest.mark.parametrize("rows", [(), (2,)])
def test_bytes_are_images_also_a_single_one(tmp_path, shape, rows):
    given = (*rows, *(shape if shape[-1] == 3 else shape[:-1]))
    for axes in {given, (*rows, *shape)}:
        np.save(tmp_path / "x.npy", np.full(axes, 255, np.uint8))
        read = read_inputs(tmp_path / "x.npy", shape).x
        np.testing.assert_array_equal(read, np.ones((*(rows or (1,)), *shape)))


@pytest.mark.parametrize(
    ("given", "shape", "read"), [((4,), (4,), (1, 4)), ((4,), (1,), (4, 1)), ((), (1,), (1, 1)), ((1,), (1,), (1, 1))]
)
def test_a_single_row_of_a_table_and_a_single_column(tmp_path, given, shape, read):
    np.save(tmp_path / "x.npy", np.arange(np.prod(given, dtype=int)).reshape(given))
    assert read_inputs(tmp_path / "x.npy", shape).x.shape == read


def test_an_archive_is_read_by_the_name_x(tmp_path):
    np.savez(tmp_path / "x.npz", x=np.ones((2, 3)), y=np.zeros(2))
    assert read_inputs(tmp_path / "x.npz", (3,)).x.shape == (2, 3)
    np.savez(tmp_path / "keras.npz", x_train=np.ones((2, 3)), x_test=np.zeros((4, 3)))
    assert read_inputs(tmp_path / "keras.npz", (3,)).x.tolist() == [[0, 0, 0]] * 4
    np.savez(tmp_path / "no.npz", y=np.zeros(2))
    with pytest.raises(ValueError, match="no array 'x', it holds 'y'; expected x or x_test"):
        read_inputs(tmp_path / "no.npz", (3,))


def test_grey_images_become_colour_and_the_rest_only_on_request(tmp_path):
    Image.fromarray(np.full((4, 5), 51, np.uint8)).save(tmp_path / "grey.png")
    x = read_inputs(tmp_path / "grey.png", (4, 5, 3)).x
    np.testing.assert_allclose(x, np.full((1, 4, 5, 3), 0.2), rtol=1e-6)
    Image.new("RGB", (10, 8), (255, 0, 0)).save(tmp_path / "red.png")
    with pytest.raises(ValueError, match="8×10×3, and the model takes images of 4×5×1"):
        read_inputs(tmp_path / "red.png", (4, 5, 1))
    x = read_inputs(tmp_path / "red.png", (4, 5, 1), resize=True).x
    np.testing.assert_allclose(x, np.full((1, 4, 5, 1), 0.299), rtol=1e-4)


def test_a_folder_is_searched_at_any_depth_without_what_is_hidden(tmp_path):
    for name in ("b/2.png", "a/1.PNG", ".trash/3.png", "b/note.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        if path.suffix == ".txt":
            path.write_text("not an image")
        else:
            Image.new("L", (2, 2)).save(path)
    inputs = read_inputs(tmp_path, (2, 2, 1))
    assert (inputs.names, inputs.x.shape) == (("a/1.PNG", "b/2.png"), (2, 2, 2, 1))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.npy", b"no array", "not a readable .npy"),
        ("x.png", b"no image", "not a readable PNG"),
        ("x.pt", b"", "no kind of file"),
        ("x.csv", b"a,b,c\n1,,3\n", "line 2: column 'b' holds ''"),
    ],
)
def test_damaged_files_are_refused_by_name(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_inputs(tmp_path / name, (2, 2, 1) if name.endswith("png") else (3,))


def test_objects_are_never_loaded(tmp_path):
    np.save(tmp_path / "x.npy", np.array([{"a": 1}]), allow_pickle=True)
    with pytest.raises(ValueError, match=r"not a readable \.npy"):
        read_inputs(tmp_path / "x.npy", (3,))


def test_other_shapes_nan_and_nothing_are_refused(tmp_path):
    np.save(tmp_path / "x.npy", np.ones((2, 3)))
    with pytest.raises(ValueError, match="shape 3, and the model takes 4"):
        read_inputs(tmp_path / "x.npy", (4,))
    np.save(tmp_path / "scalar.npy", 3.0)
    with pytest.raises(ValueError, match="is a scalar"):
        read_inputs(tmp_path / "scalar.npy", (4,))
    np.save(tmp_path / "nan.npy", np.array([[np.nan, 1]]))
    with pytest.raises(ValueError, match="NaN"):
        read_inputs(tmp_path / "nan.npy", (2,))
    with pytest.raises(FileNotFoundError, match="no file or folder"):
        read_inputs(tmp_path / "none.csv", (2,))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no PNG or JPEG"):
        read_inputs(tmp_path / "empty", (2, 2, 1))
    with pytest.raises(ValueError, match="resize is for images"):
        read_inputs(tmp_path / "x.npy", (3,), resize=True)
