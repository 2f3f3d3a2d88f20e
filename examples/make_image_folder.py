"""Write scikit-learn's scans of digits as PNG files into the layout that ``dataset: folder:PATH`` reads.

    python examples/make_image_folder.py digits-folder

The layout is ``train/<class>/*`` and ``test/<class>/*``; put your own images in the same places.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

folder = Path(sys.argv[1])
scans = load_digits()
for index, (scan, label) in enumerate(zip(scans.images, scans.target, strict=True)):
    split = "test" if index % 5 == 0 else "train"
    place = folder / split / f"digit{label}"
    place.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.uint8(scan * 15)).resize((16, 16)).save(place / f"{index:04}.png")
print(f"wrote {len(scans.images)} images into {folder}")
