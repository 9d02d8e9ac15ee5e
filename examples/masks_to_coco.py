"""Label a folder of images as a COCO file: an RLE mask, its box and area for each class in each image.

    pip install 'rtseg[coco]'
    python examples/masks_to_coco.py photos labels.json

It opens in pycocotools, FiftyOne, CVAT and whatever else reads COCO's format.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from pycocotools import mask

import rtseg


def to_coco(folder: str, **settings: Any) -> dict[str, Any]:
    """COCO's tables for the images of a folder; `settings` are those of `rtseg.stream`."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    categories: dict[str, int] = {}
    for result in rtseg.stream(folder, **settings):
        categories = {name: number for number, name in enumerate(result.classes, 1)}  # COCO's ids start at 1
        height, width = result.labels.shape
        image = {"id": len(images) + 1, "file_name": result.frame.path.name, "height": height, "width": width}
        images.append(image)
        for name, rle in result.to_coco_rle().items():
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image["id"],
                    "category_id": categories[name],
                    "segmentation": rle,
                    "area": int(mask.area(rle)),
                    "bbox": mask.toBbox(rle).tolist(),
                    "iscrowd": 0,
                }
            )
    table = [{"id": number, "name": name} for name, number in categories.items()]
    return {"images": images, "annotations": annotations, "categories": table}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("output", type=Path)
    args = parser.parse_args()
    try:
        coco = to_coco(args.folder)
    except rtseg.RtsegError as error:
        sys.exit(f"masks_to_coco: {error}")
    args.output.write_text(json.dumps(coco), encoding="utf-8")
    print(f"{args.output}: {len(coco['images'])} images, {len(coco['annotations'])} masks")


if __name__ == "__main__":
    main()
