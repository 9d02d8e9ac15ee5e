"""Parameters and multiply-adds of the networks as published, for `test_zoo.py`."""

from __future__ import annotations

from typing import NamedTuple


class Published(NamedTuple):
    """What a paper or a published definition says of a network: counts without auxiliary heads unless `heads`."""

    parameters: float
    gmac: float | None
    size: tuple[int, int]
    classes: int
    source: str
    heads: bool = False


SMP = "segmentation_models.pytorch 0.6"
SMP_V3PLUS = f"{SMP}, whose first refining convolution is at stride 16: 2.1 GMAC less"

PUBLISHED: dict[str, Published] = {
    "pidnet-s": Published(7.63e6, 11.8, (512, 1024), 19, "Xu et al. 2023, published definition"),
    "pidnet-m": Published(28.54e6, 44.3, (512, 1024), 19, "Xu et al. 2023, published definition"),
    "pidnet-l": Published(36.94e6, 68.7, (512, 1024), 19, "Xu et al. 2023, published definition"),
    "ddrnet-23-slim": Published(5.7e6, 36.3, (1024, 2048), 19, "Hong et al. 2021, table 4; arXiv 2101.06085"),
    "bisenetv2": Published(3.36e6, 98.4, (1024, 2048), 19, "definition of CoinCheung/BiSeNet; RDRNet's comparison"),
    "fast-scnn": Published(
        1.14e6, 6.7, (1024, 2048), 19, "definition of Tramac/Fast-SCNN-pytorch; 1.11 M in the paper"
    ),
    "segformer-b0": Published(3.8e6, 8.4, (512, 512), 150, "Xie et al. 2021, table 1"),
    "fcn-32s-alexnet": Published(57.1e6, None, (512, 512), 21, "Long et al. 2015, table 1: 57 M"),
    "fcn-32s-vgg16": Published(134.3e6, None, (512, 512), 21, "Long et al. 2015, table 1: 134 M"),
    "fcn-32s-googlenet": Published(
        6_624_904 - 1_025_000 + 21_525, None, (512, 512), 21, "torchvision's googlenet, scored; paper's table 1: 6 M"
    ),
    "fcn-resnet50": Published(
        35_322_218, 152.717 - 9.991, (520, 520), 21, "torchvision; its GMAC are with the auxiliary head", heads=True
    ),
    "fcn-resnet101": Published(
        54_314_346, 232.738 - 9.991, (520, 520), 21, "torchvision; its GMAC are with the auxiliary head", heads=True
    ),
    "segnet": Published(
        29.46e6, 286.03 / 2 * 352 / 360, (352, 640), 12, "Paszke et al. 2016, table 3: 286.03 GFLOPs at 360x640"
    ),
    "deeplabv1-vgg16": Published(20.5e6, None, (512, 512), 21, "Chen et al. 2015, table 2"),
    "deeplabv3-resnet50": Published(
        42_004_074, 178.722 - 9.991, (520, 520), 21, "torchvision; its GMAC are with the auxiliary head", heads=True
    ),
    "deeplabv3-resnet101": Published(
        60_996_202, 258.743 - 9.991, (520, 520), 21, "torchvision; its GMAC are with the auxiliary head", heads=True
    ),
    "deeplabv3-mobilenetv3-large": Published(11.02e6, 19.6, (512, 1024), 19, "torchvision's definition, counted"),
    "lraspp-mobilenetv3-large": Published(3.22e6, 15.8, (1024, 2048), 19, "torchvision's definition, counted"),
    "deeplabv3plus-resnet18": Published(12.3e6, None, (512, 1024), 19, SMP_V3PLUS),
    "deeplabv3plus-resnet50": Published(26.7e6, None, (512, 1024), 19, SMP_V3PLUS),
    "deeplabv3plus-mobilenetv2": Published(4.4e6, None, (512, 1024), 19, SMP_V3PLUS),
    "unet-resnet18": Published(14.3e6, 44.5, (512, 1024), 19, SMP),
    "unet-resnet34": Published(24.4e6, 63.9, (512, 1024), 19, SMP),
    "unet-mobilenetv2": Published(6.6e6, 28.1, (512, 1024), 19, SMP),
    "unet": Published(31_037_698, None, (512, 512), 2, "milesial/Pytorch-UNet, the usual form with normalisation"),
    "unet-binary": Published(31_037_698 - 65, None, (512, 512), 2, "as unet, less the second class"),
    "unet-residual": Published(
        7.8e6 + 0.43e6, None, (224, 224), 2, "Zhang et al. 2018: 7.8 M, and 0.43 M of 1x1 shortcuts"
    ),
    "pspnet-resnet50": Published(
        46.5827e6, 357.1719 / 2, (512, 512), 21, "Open Model Zoo's pspnet-pytorch: 357.1719 GFLOPs"
    ),
}
