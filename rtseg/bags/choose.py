"""Which topics of a bag are pictures, and which of them were requested."""

from __future__ import annotations

from collections.abc import Sequence

from rtseg.bags.contract import Bag, Topic
from rtseg.errors import SourceError, nearest
from rtseg.messages.records import COMPRESSED_IMAGE, IMAGE

__all__ = ["choose", "is_picture"]


def choose(bag: Bag, names: Sequence[str]) -> tuple[str, ...]:
    """The image topics called `names`, or the only one of the bag where none is named. Errors: SourceError."""
    if names:
        return tuple(dict.fromkeys(_named(bag, name) for name in names))
    pictures = dict.fromkeys(topic.name for topic in bag.topics if is_picture(topic))
    if len(pictures) == 1:
        return tuple(pictures)
    if pictures:
        # A bag that rtseg wrote: its masks are pictures too, and nobody wants them segmented.
        example = next((name for name in pictures if "/segmentation/" not in name), next(iter(pictures)))
        raise SourceError(
            f"{bag.path} has {len(pictures)} image topics: choose by '{bag.path}#{example}', several "
            f"separated by commas: {_list([topic for topic in bag.topics if is_picture(topic)])}"
        )
    found = _list(bag.topics) if bag.topics else bag.warning or "it has no topics"
    raise SourceError(f"{bag.path} has no topic of {IMAGE} or {COMPRESSED_IMAGE}: {found}")


def _named(bag: Bag, name: str) -> str:
    """The name of the topic that is meant."""
    # Pictures last: of several topics of one name they are the ones that are meant.
    every = {topic.name: topic for topic in sorted(bag.topics, key=is_picture)}
    found = every.get(name) or every.get(f"/{name}")
    if found is None:
        pictures = [topic.name for topic in bag.topics if is_picture(topic)]
        raise SourceError(f"{bag.path} has no topic '{name}': {nearest(name, pictures or every)}")
    if not is_picture(found):
        raise SourceError(
            f"topic '{found.name}' of {bag.path} holds {found.kind or 'messages'} ({found.encoding}), expected {IMAGE} "
            f"or {COMPRESSED_IMAGE} (cdr or ros1)"
        )
    return found.name


def is_picture(topic: Topic) -> bool:
    """Whether messages of a topic hold pictures that can be read."""
    return topic.kind in (IMAGE, COMPRESSED_IMAGE) and topic.encoding in ("cdr", "ros1")


def _list(topics: Sequence[Topic]) -> str:
    """Names, types and counts."""
    shown = [f"{topic.name} ({topic.kind or 'no type'}, {topic.count})" for topic in topics[:40]]
    return ", ".join(shown + (["…"] if len(topics) > 40 else []))
