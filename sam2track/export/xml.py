"""XML that is written element by element, a line each."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO
from xml.sax.saxutils import XMLGenerator
from xml.sax.xmlreader import AttributesImpl

__all__ = ["Xml"]

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Xml:
    """Elements in a file that is open for bytes; the text is UTF-8.

    Values of attributes are written as Python does, truths in small letters; characters that XML
    cannot hold become U+FFFD.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._out = XMLGenerator(file, "UTF-8", short_empty_elements=True)
        self._depth = 0
        self._out.startDocument()

    @contextmanager
    def element(self, tag: str, **said: object) -> Iterator[None]:
        """Write an element that holds those that are written within."""
        self._begin(tag, said)
        self._out.characters("\n")
        self._depth += 1
        yield
        self._depth -= 1
        self._indent()
        self._end(tag)

    def put(self, tag: str, text: str = "", **said: object) -> None:
        """Write an element that holds no other."""
        self._begin(tag, said)
        if text:
            self._out.characters(_held(text))
        self._end(tag)

    def _begin(self, tag: str, said: Mapping[str, object]) -> None:
        self._indent()
        told = {name: _text(value) for name, value in said.items()}
        self._out.startElement(tag, AttributesImpl(told))

    def _end(self, tag: str) -> None:
        self._out.endElement(tag)
        self._out.ignorableWhitespace("\n")

    def _indent(self) -> None:
        self._out.ignorableWhitespace("  " * self._depth)


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else _held(str(value))


def _held(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)
