"""What MkDocs does to pages of docs/ beside building them: links that leave docs/ become the names of their files.

They lead somewhere in the repository, where the pages are read too; the site has no copy of what is behind them.
"""

from __future__ import annotations

import posixpath
import re
from typing import Any

LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)#\s:]+)(#[^)\s]*)?\)")
DATA = (".json", ".rviz")
"""Files under docs/ that are data and have no place on the site, or are of use in a checkout alone."""


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """`[text](../tools/x.md)` -> text (`tools/x.md` in the repository), and the same for files of data."""
    folder = posixpath.dirname(page.file.src_uri)

    def inside(match: re.Match[str]) -> str:
        text, target = match[1], match[2]
        path = posixpath.normpath(posixpath.join("docs", folder, target))
        if path.startswith("docs/") and not path.endswith(DATA):
            return match[0]
        return text if text.strip("`") == path else f"{text} (`{path}` in the repository)"

    return LINK.sub(inside, markdown)
