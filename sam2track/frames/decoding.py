"""An open video file and its decoder, run forward from wherever frames are wanted."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import TYPE_CHECKING

import av
from av.video.frame import PictureType

from sam2track.frames.containers import silence
from sam2track.frames.packets import NO_STAMP, PacketIndex, coded_packets
from sam2track.frames.video_input import VideoInput

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

__all__ = ["Damage", "Decoder"]

# Each thread holds pictures of its own, and more bring little.
_THREADS = min(4, os.cpu_count() or 1)
# So many bad packets without a new picture, and the rest is taken as it comes.
_PATIENCE = 16
# Pictures that are made from others.
_DEPENDENT = frozenset({PictureType.P, PictureType.B, PictureType.S, PictureType.BI})


class _Damaged(Exception):
    """A packet that the decoder cannot take: begin again, now knowing of it."""


@dataclass
class Damage:
    """What is known of the bad packets of a file; shared by all that decode it.

    Attributes
    ----------
    threads : int
        Threads to decode with.
    packets : set of int
        Positions of packets that are not to be decoded.
    no_keys : set of int
        Positions at which decoding cannot begin, whatever the file says: for H.263 in AVI all
        packets count as keyframes.
    """

    threads: int = _THREADS
    packets: set[int] = field(default_factory=set)
    no_keys: set[int] = field(default_factory=set)


class Decoder:
    """Gives the frames of an indexed video from any one on.

    One walk at a time: a new one ends the one before.

    Parameters
    ----------
    video : VideoInput
        The file.
    index : PacketIndex
        Its packets.
    damage : Damage
        What is known of its bad packets; added to.
    """

    def __init__(self, video: VideoInput, index: PacketIndex, damage: Damage) -> None:
        self._video = video
        self._index = index
        self._damage = damage
        self._seekable = True
        self._fruitless = 0
        self._fresh = True
        self._open()

    def outputs(self, start: int) -> Iterator[tuple[int, VideoFrame]]:
        """Yield (frame number, picture) as the decoder gives them, numbers rising.

        Begins at or before ``start`` where the file allows. Frames that cannot be decoded are
        left out.
        """
        silence()  # whatever was imported meanwhile
        anchor = self._anchor(start)
        last = -1
        while True:
            keeps = anchor == 0
            try:
                for number, picture in self._decode(anchor):
                    if not keeps and number >= (promised := self._promised(anchor, start)):
                        keeps = number == promised and not self._depends(anchor, picture)
                        if not keeps:
                            break
                    if number > last:
                        last = number
                        self._fruitless = 0
                        yield number, picture
                else:
                    if keeps:
                        return
                anchor = self._before(anchor)
            except _Damaged:
                self._container.close()
                self._open()
                if last >= 0:
                    anchor = self._anchor(min(last + 1, len(self._index) - 1))

    def close(self) -> None:
        """Release the file."""
        self._container.close()

    def _decode(self, anchor: int) -> Iterator[tuple[int, VideoFrame]]:
        """Yield what the decoder gives, fed with the packets from ``anchor`` on."""
        packets = self._packets(anchor)
        codec = self._stream.codec_context
        count = 0
        while True:
            try:
                position, packet = next(packets, (-1, None))
            except av.FFmpegError:
                position, packet = -1, None  # the index ended here too, and said so
            if packet is not None:
                if position in self._damage.packets:
                    continue
                # What comes out is then known by its packet, whatever its stamps are worth.
                packet.pts = position
            try:
                pictures = codec.decode(packet)
            except av.FFmpegError as error:
                self._blame(position, error)
                pictures = []
            for picture in pictures:
                if picture.is_corrupt and self._threads > 1:
                    self._blame(position, None)
                number = self._number(picture, count)
                count += 1
                if number >= 0:
                    yield number, picture
            if packet is None:
                return

    def _anchor(self, frame: int) -> int:
        """Return the position of the last good keyframe from which ``frame`` can be decoded."""
        anchor = self._index.anchor(frame)
        return self._before(anchor) if self._is_bad(anchor) else anchor

    def _before(self, anchor: int) -> int:
        """Return the good keyframe before a position; 0 where there is none."""
        anchor = self._index.anchor_before(anchor)
        while anchor > 0 and self._is_bad(anchor):
            anchor = self._index.anchor_before(anchor)
        return anchor

    def _is_bad(self, anchor: int) -> bool:
        return anchor in self._damage.packets or anchor in self._damage.no_keys

    def _blame(self, position: int, error: av.FFmpegError | None) -> None:
        """Deal with a bad packet, at ``position`` where a single thread decodes.

        With several, what is lost along with it and how the rest is patched up is a matter of
        luck. With one, some decoders take nothing any more after a packet that they cannot take.
        """
        if self._threads > 1:
            self._damage.threads = 1
            raise _Damaged from error
        if position < 0:
            return
        self._damage.packets.add(position)
        self._fruitless += 1
        if self._fruitless <= _PATIENCE:
            raise _Damaged from error

    def _promised(self, anchor: int, start: int) -> int:
        """Return the frame that decoding from ``anchor`` must give at once.

        Where it does not, the keyframe is damaged or none, and what follows would be made from
        nothing.
        """
        shown = int(self._index.rank[anchor])
        return shown if shown >= 0 else start

    def _depends(self, anchor: int, picture: VideoFrame) -> bool:
        """Whether a keyframe's picture is made from others; notes that it is no keyframe then."""
        if picture.key_frame or picture.pict_type not in _DEPENDENT:
            return False
        self._damage.no_keys.add(anchor)
        return True

    def _number(self, picture: VideoFrame, count: int) -> int:
        """Return the frame number of what the decoder gave as its ``count``-th; -1 for none."""
        index = self._index
        if not index.ordered:
            return count if count < len(index) else -1
        if picture.pts is None or not 0 <= picture.pts < len(index.rank):
            return -1
        return int(index.rank[picture.pts])

    def _packets(self, anchor: int) -> Iterator[tuple[int, Packet[VideoStream]]]:
        """Move to ``anchor`` and return (position, packet) from there on."""
        packets = None if self._fresh and anchor == 0 else self._seek(anchor)
        if packets is None:
            if not self._fresh:
                self._container.close()
                self._open()
            packets = islice(coded_packets(self._container, self._stream), anchor, None)
        self._fresh = False
        return zip(range(anchor, len(self._index.sizes)), packets, strict=False)

    def _seek(self, anchor: int) -> Iterator[Packet[VideoStream]] | None:
        """Return the packets from ``anchor`` on; None where seeking does not lead there.

        Formats differ in whether they seek by presentation or by decoding time.
        """
        if not self._seekable:
            return None
        for stamp in (int(self._index.pts[anchor]), int(self._index.dts[anchor])):
            if stamp == NO_STAMP:
                continue
            self._fresh = False
            try:
                self._container.seek(stamp, stream=self._stream)
                packets = coded_packets(self._container, self._stream)
                for _, packet in zip(range(anchor + 1), packets, strict=False):
                    if self._is_at(packet, anchor):
                        return chain([packet], packets)
                    if self._is_past(packet, anchor):
                        break
            except av.FFmpegError:
                continue
        self._seekable = anchor == 0
        return None

    def _is_at(self, packet: Packet[VideoStream], position: int) -> bool:
        index = self._index
        if packet.size != index.sizes[position]:
            return False
        # Either stamp may be made up anew after a seek.
        return (packet.pts is not None and packet.pts == index.pts[position]) or (
            packet.dts is not None and packet.dts == index.dts[position]
        )

    def _is_past(self, packet: Packet[VideoStream], position: int) -> bool:
        limit = int(self._index.dts[position])
        return packet.dts is not None and limit != NO_STAMP and packet.dts > limit

    def _open(self) -> None:
        self._container, self._stream = self._video.open()
        self._threads = self._damage.threads
        self._stream.codec_context.thread_type = "AUTO" if self._threads > 1 else "NONE"
        self._stream.codec_context.thread_count = self._threads
        self._fresh = True
