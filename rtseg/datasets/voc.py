"""Pascal VOC segmentation: 20 things and background (Everingham et al. 2010), also with the SBD masks ("aug")."""

from __future__ import annotations

from pathlib import Path

from rtseg.datasets._dataset import Dataset, Draw, Facts, Layout, missing_split
from rtseg.datasets._files import listed_names, read_image, read_mask
from rtseg.datasets._labels import ColorMap, IdMap
from rtseg.drawing.palette import published, voc_colormap
from rtseg.errors import ConfigError
from rtseg.frame import Labels

__all__ = ["FACTS", "LAYOUT"]

_palette, _classes = published("voc")
FACTS = Facts("voc", _classes, tuple(_palette), 255, "Flickr terms of use (images)", drives=False)
EXPECTED = "the 21 classes of VOC, or 255 for void"
IDS = IdMap({value: value for value in (*range(21), 255)}, EXPECTED)
COLORS = ColorMap({voc_colormap()[value]: value for value in (*range(21), 255)}, EXPECTED)
SPLITS = ("train", "val", "trainaug", "train_aug")


def root(folder: Path) -> Path | None:
    """The folder with JPEGImages: the one given, or the newest VOC year in it or in its VOCdevkit."""
    years = sorted([*folder.glob("VOC2*"), *folder.glob("VOCdevkit/VOC2*")], key=lambda path: path.name)
    for place in (folder, *reversed(years)):
        if (place / "JPEGImages").is_dir() and (place / "ImageSets" / "Segmentation").is_dir():
            return place
    return None


def splits(folder: Path) -> list[str]:
    """Splits with a list in ImageSets/Segmentation, apart from trainval, which is the sum of two."""
    place = root(folder)
    return [] if place is None else [name for name in SPLITS if _list(place, name).is_file()]


def open_split(folder: Path, split: str, draw: Draw) -> Dataset:
    """One split, in the order of its list; the masks of `trainaug` are those of SegmentationClassAug."""
    place = root(folder)
    if place is None:
        raise ConfigError(f"no VOC data in {folder}: expected {LAYOUT.wanted}")
    if not _list(place, split).is_file():
        raise missing_split(place, split, splits(folder))
    folders = ["SegmentationClass", "SegmentationClassAug"]
    if split.endswith("aug"):
        folders.reverse()
    images: list[Path] = []
    masks: list[Path] = []
    problems: list[str] = []
    for line in listed_names(_list(place, split)):
        name = Path(line.split()[0]).stem  # SBD's lists hold paths of image and mask
        image = place / "JPEGImages" / f"{name}.jpg"
        found = [place / where / f"{name}.png" for where in folders]
        mask = next((path for path in found if path.is_file()), None)
        if mask is not None and image.is_file():
            images.append(image)
            masks.append(mask)
        else:
            lacking = image if mask is not None else found[0]
            problems.append(f"{lacking.relative_to(folder)} is missing: {_list(place, split).name} lists {name}")

    def read_label(index: int) -> Labels:
        raw = read_mask(masks[index])
        return (IDS if raw.ndim == 2 else COLORS)(raw, str(masks[index]))

    names = [str(path.relative_to(folder)) for path in images]
    return Dataset(FACTS, split, names, lambda index: read_image(images[index]), read_label, problems)


def _list(place: Path, split: str) -> Path:
    return place / "ImageSets" / "Segmentation" / f"{split}.txt"


LAYOUT = Layout(
    "VOCdevkit/VOC2012 or VOC2012 with JPEGImages, SegmentationClass and ImageSets/Segmentation/<split>.txt",
    lambda folder: root(folder) is not None,
    splits,
    open_split,
)
