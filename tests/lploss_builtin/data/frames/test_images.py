from __future__ import annotations

import warnings

import cv2
import numpy as np
import pytest
from PIL import Image

from lploss.errors import DataError
from lploss_builtin.data.frames.images import read_image, read_image_sizes
from tests.lploss_builtin.data.small_projects import HEIGHT, WIDTH, picture, write_image


@pytest.fixture
def image(tmp_path):
    return write_image(tmp_path / "a.png", picture(7))


def test_the_whole_image(image):
    pixels = read_image(image, None, (HEIGHT, WIDTH))
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, picture(7))


def test_a_crop(image):
    pixels = read_image(image, (5.0, 9.0, 20.0, 30.0), (20, 30))
    np.testing.assert_array_equal(pixels, picture(7)[9:29, 5:35])


def test_a_crop_that_is_resized(image):
    """The image's colours are linear in x and y, and so are those of any box of it."""
    pixels = read_image(image, (10.5, 4.25, 24.0, 32.0), (48, 96))
    x = 10.5 + (np.arange(96) + 0.5) / 3 - 0.5
    y = 4.25 + (np.arange(48) + 0.5) / 2 - 0.5
    # At the edges of the crop PIL has no pixels beyond it.
    inner = np.s_[3:-3, 3:-3]
    assert np.abs(pixels[..., 0][inner] - 3 * x[None, 3:-3]).max() <= 1
    assert np.abs(pixels[..., 1][inner] - 4 * y[3:-3, None]).max() <= 1
    assert (pixels[..., 2] == 7).all()


def test_a_smaller_image_is_antialiased(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = write_image(tmp_path / "a.png", noise)
    expected = cv2.resize(noise.astype(np.float32), (16, 16), interpolation=cv2.INTER_AREA)
    # A box of 4 x 4 pixels, against PIL's triangle of 8 x 8: both take off most of the noise.
    pixels = read_image(path, None, (16, 16))
    assert noise.std() > 70
    assert pixels.std() < 15
    assert expected.std() < 25
    assert np.corrcoef(pixels.ravel(), expected.ravel())[0, 1] > 0.75


def ramp(values, dtype):
    return np.broadcast_to(np.asarray(values, dtype=dtype), (4, len(values))).copy()


@pytest.mark.parametrize(
    ("name", "picture", "expected"),
    [
        ("a.png", Image.fromarray(ramp([0, 128, 255], np.uint8)), [0, 128, 255]),
        ("a.png", Image.fromarray(ramp([0, 256, 65535], np.uint16)), [0, 1, 255]),
        ("a.tiff", Image.fromarray(ramp([0, 256, 65535], np.uint16)), [0, 1, 255]),
        ("a.tiff", Image.fromarray(ramp([-5, 256, 70000], np.int32)), [0, 1, 255]),
        ("a.png", Image.fromarray(ramp([0, 0, 255], np.uint8)).convert("1"), [0, 0, 255]),
        ("a.png", Image.fromarray(ramp([9, 9, 200], np.uint8)).convert("LA"), [9, 9, 200]),
        ("a.png", Image.fromarray(ramp([9, 9, 200], np.uint8)).convert("RGBA"), [9, 9, 200]),
        ("a.gif", Image.fromarray(ramp([9, 9, 200], np.uint8)).convert("P"), [9, 9, 200]),
        ("a.bmp", Image.fromarray(ramp([9, 9, 200], np.uint8)).convert("RGB"), [9, 9, 200]),
        ("a.tiff", Image.fromarray(ramp([0, 0, 255], np.uint8)).convert("CMYK"), [0, 0, 255]),
    ],
)
def test_kinds_of_pixels(tmp_path, name, picture, expected):
    picture.save(tmp_path / name)
    pixels = read_image(tmp_path / name, None, (4, 3))
    assert pixels.shape == (4, 3, 3)
    assert pixels[1].tolist() == [[value] * 3 for value in expected]
    assert read_image_sizes([tmp_path / name]) == {tmp_path / name: (4, 3)}


def test_a_palette_with_transparent_colours(tmp_path):
    palette = Image.fromarray(ramp([0, 1, 1], np.uint8), mode="L").convert("P")
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.save(tmp_path / "a.png", transparency=bytes([0, 255]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pixels = read_image(tmp_path / "a.png", None, (4, 3))
    assert pixels[0].tolist() == [[10, 20, 30], [40, 50, 60], [40, 50, 60]]


def test_sizes(image, tmp_path):
    write_image(tmp_path / "b.jpg", picture(0, 10, 20))
    (tmp_path / "c.png").write_bytes(b"no image")
    (tmp_path / "d.png").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    paths = [tmp_path / name for name in ("a.png", "b.jpg", "c.png", "d.png", "e.png", "folder")]
    sizes = read_image_sizes([*paths, *paths])
    assert list(sizes) == paths
    assert list(sizes.values())[:2] == [(HEIGHT, WIDTH), (10, 20)]
    assert [str(sizes[path]) for path in paths[2:4]] == [
        f"{path} cannot be read: it holds no image" for path in paths[2:4]
    ]
    assert sizes[paths[4]] is None
    assert "is a folder, not a file" in str(sizes[paths[5]])


def test_images_that_cannot_be_read(image, tmp_path):
    def message(path, box=None):
        with pytest.raises(DataError) as raised:
            read_image(path, box, (8, 8))
        return str(raised.value)

    assert message(tmp_path / "no.png") == f"the image {tmp_path}/no.png does not exist"
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    assert message(broken) == f"the image {broken} cannot be read: it holds no image"
    content = image.read_bytes()
    broken.write_bytes(content[: len(content) // 2])
    assert message(broken).startswith(f"the image {broken} cannot be read: ")
    # A damaged checksum, which PIL reports as a syntax error.
    broken.write_bytes(content[:60] + bytes([content[60] ^ 255]) + content[61:])
    assert message(broken).startswith(f"the image {broken} cannot be read: ")
    assert message(image, (60.0, 0.0, 8.0, 8.0)) == (
        f"the image {image} has height 48 and width 64, its box x 60, y 0, height 8, width 8 is "
        "not within"
    )
    Image.new("F", (4, 4)).save(tmp_path / "f.tiff")
    assert message(tmp_path / "f.tiff") == (
        f"the image {tmp_path}/f.tiff cannot be read: its pixels are floating-point numbers, "
        "expected 8 or 16 bits a channel"
    )
