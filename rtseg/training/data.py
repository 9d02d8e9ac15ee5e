"""Training batches as a function of the step, and what the spec of a trained network says of its data set."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import numpy as np
import numpy.typing as npt

from rtseg.datasets import Dataset
from rtseg.drawing.palette import published
from rtseg.errors import ConfigError
from rtseg.packages.spec import ModelSpec
from rtseg.training.transforms import Augmentation, augment

__all__ = ["CAMVID", "Batches", "spec_of_data"]

_palette, _classes = published("camvid")
CAMVID = ModelSpec(
    name="camvid",
    classes=_classes,
    palette=tuple(_palette),
    ignore_index=11,
    short_side=360,
    multiple=8,
    output_stride=8,
    license="CC BY-NC 4.0 (weights trained on CamVid)",
)
"""What every network trained on CamVid has in common; name, network and provenance are filled in at export."""

Image = npt.NDArray[np.uint8]


class Labelled(Protocol):
    """Labelled images, as `rtseg.datasets.Dataset` is."""

    @property
    def ignore_index(self) -> int: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[Image, Image]: ...


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
    terms = dataset.license
    return ModelSpec(
        name=dataset.name,
        classes=dataset.classes,
        palette=tuple(dataset.palette),
        ignore_index=dataset.ignore_index,
        short_side=min(dataset.label(0).shape),
        license=f"{terms} (weights trained on {dataset.name})" if terms != "unknown" else terms,
    )
