import numpy as np


def test_all_images_once_five_hundred_of_each(load):
    loaded = load("mnist_5k")
    labels = np.concatenate(list(loaded["labels"].values()))
    np.testing.assert_array_equal(np.bincount(labels), np.full(10, 500))
    images = [{row.tobytes() for row in rows} for rows in loaded["inputs"].values()]
    assert len(set.union(*images)) == sum(map(len, images)) == 5000
    assert all(rows.dtype == np.uint8 and rows.max() == 255 for rows in loaded["inputs"].values())
