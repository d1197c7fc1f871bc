"""Mutations that keep enough structure to come past the first check; ``Mutate`` is libFuzzer's own, for the rest."""

from __future__ import annotations

import contextlib
import json
import random
import struct
from collections.abc import Callable, Sequence

from fuzz import seeds

Mutate = Callable[[bytes, int], bytes]
"""Takes bytes and the most that may come back."""
Mutator = Callable[[bytes, int, random.Random, Mutate], bytes]

Box = tuple[bytes, bytes, "list[Box]"]
"""(type, what comes before the children or all of the body, children)"""

_CHILDREN_AT = {b"meta": 4, b"iprp": 0, b"ipco": 0, b"iinf": 6}
_EDGES = (0, 1, 2, 7, 8, 63, 64, 65, 127, 128, 255, 256, 2**15, 2**16 - 1, 2**16, 2**31 - 1, 2**31, 2**32 - 1)


def plain(data: bytes, max_bytes: int, dice: random.Random, mutate: Mutate) -> bytes:
    """libFuzzer's own mutations."""
    return mutate(data, max_bytes)


def spoil(data: bytes, dice: random.Random, times: int) -> bytes:
    """Flip bits, write edge values, and cut, repeat or overwrite runs of bytes."""
    out = bytearray(data)
    for _ in range(times):
        if not out:
            return bytes([dice.randrange(256)])
        # Half of the changes hit the first bytes, where headers are.
        at = dice.randrange(min(len(out), 16) if dice.random() < 0.5 else len(out))
        run = slice(at, at + dice.choice((1, 2, 4, 16, 64)))
        match dice.randrange(6):
            case 0 | 1:
                out[at] ^= 1 << dice.randrange(8)
            case 2:
                out[at] = dice.randrange(256)
            case 3:
                size = dice.choice((1, 2, 4))
                value = (dice.choice(_EDGES) & (1 << 8 * size) - 1).to_bytes(size, "big")
                out[at : at + size] = value
            case 4:
                del out[run]
            case 5:
                out[at:at] = out[run] if dice.random() < 0.5 else dice.randbytes(dice.choice((1, 2, 4, 16)))
    return bytes(out)


def splice(data: bytes, other: bytes, dice: random.Random) -> bytes:
    """The beginning of one and the end of another."""
    return data[: dice.randint(0, len(data))] + other[dice.randint(0, len(other)) :]


def frame_body(data: bytes, max_bytes: int, dice: random.Random, mutate: Mutate) -> bytes:
    """A size's number and a frame body: mostly a real one, spoiled a little or spliced with another one of its size.

    Native decoders tell libFuzzer nothing of what they have reached, so that it keeps few inputs to go on from.
    """
    if len(data) < 2 or dice.random() < 0.1:
        return mutate(data, max_bytes)
    index = dice.randrange(len(seeds.SIZES))
    real = seeds.frame_bodies(*seeds.SIZES[index])
    body = data[1:] if dice.random() < 0.2 else dice.choice(real)
    if dice.random() < 0.4:
        body = splice(body, dice.choice(real), dice)
    body = mutate(body, max_bytes - 1) if dice.random() < 0.3 else spoil(body, dice, dice.choice((1, 1, 2, 4, 16)))
    return (bytes([index]) + body)[:max_bytes]


def sequence(
    pool: Sequence[bytes],
    split: Callable[[bytes], list[bytes]] = seeds.split_messages,
    join: Callable[[Sequence[bytes]], bytes] = seeds.join_messages,
) -> Mutator:
    """Mutates one message of a sequence, or its place in it; new ones come from the pool."""

    def change(data: bytes, max_bytes: int, dice: random.Random, mutate: Mutate) -> bytes:
        messages = split(data)
        if not messages or dice.random() < 0.05:
            return mutate(data, max_bytes)
        for _ in range(dice.choice((1, 1, 2, 3))):
            at = dice.randrange(len(messages))
            match dice.randrange(8):
                case 0 if len(messages) > 1:
                    del messages[at]
                case 1:
                    messages.insert(at, dice.choice(messages))
                case 2:
                    messages.insert(at, dice.choice(pool))
                case 3:
                    other = dice.randrange(len(messages))
                    messages[at], messages[other] = messages[other], messages[at]
                case 4 if messages[at]:
                    messages[at] = _change_json(messages[at], dice)
                case 5 if messages[at]:
                    messages[at] = mutate(messages[at], 4096)
                case _:
                    messages[at] = spoil(messages[at], dice, dice.choice((1, 2, 4)))
            messages = messages or [dice.choice(pool)]
        return join([message[:65_535] for message in messages])[:max_bytes]

    return change


_ODD_VALUES = (
    None, True, False, 0, -1, 1, 2, 8, 64, 65, 80, 256, 1024, 2**31, 2**63, 10**400, 0.0, -11.5, 1e-300, 1e300,
    float("nan"), float("inf"), "", "x", "\ud800", "\x1b[2J", "a" * 300, [], {}, [[]] * 3,
)  # fmt: skip


def _change_json(message: bytes, dice: random.Random) -> bytes:
    """One value of a message's JSON object, at any depth, becomes another one; its size is kept right."""
    start, end = message.find(b"{"), message.rfind(b"}") + 1
    if not 0 <= start < end:
        return spoil(message, dice, 1)
    try:
        values = json.loads(message[start:end])
    except (ValueError, RecursionError):
        return spoil(message, dice, 1)
    owner = values
    while owner:
        key = dice.choice(list(owner))
        if not isinstance(owner[key], dict) or dice.random() < 0.1:
            break
        owner = owner[key]
    if owner and dice.random() < 0.1:
        del owner[key]
    else:
        owner[key if owner else "mel"] = dice.choice(_ODD_VALUES)
    text = json.dumps(values).encode()
    head = message[:start]
    if len(head) == 4:  # a hello's, which ends with the size of its JSON
        head = head[:2] + struct.pack(">H", min(len(text), 65_535))
    return head + text + message[end:]


def avif(data: bytes, max_bytes: int, dice: random.Random, mutate: Mutate) -> bytes:
    """Changes a box or an AV1 unit of a still and, mostly, makes all sizes right again."""
    if dice.random() < 0.1:
        return mutate(data, max_bytes)
    boxes = _parse_boxes(data)
    if not boxes:
        return spoil(data, dice, 2)
    for _ in range(dice.choice((1, 1, 1, 2))):
        if not boxes:
            break
        if dice.random() < 0.6 and boxes[-1][0] == b"mdat":
            boxes[-1] = (b"mdat", _change_units(boxes[-1][1], dice, mutate), [])
        else:
            _change_boxes(boxes, dice)
    out = b"".join(map(_box_bytes, boxes))
    return (out if dice.random() < 0.1 else with_right_places(out))[:max_bytes]


def grid(data: bytes, max_bytes: int, dice: random.Random, mutate: Mutate) -> bytes:
    """Changes the settings, a box or the cells of a picture of sound and, mostly, lets its cells lie where it says."""
    boxes = _parse_boxes(data)
    if not boxes or dice.random() < 0.1:
        return mutate(data, max_bytes)
    for _ in range(dice.choice((1, 1, 1, 2))):
        match dice.randrange(3):
            case 0:
                _change_settings(boxes, dice)
            case 1 if boxes and boxes[-1][0] == b"mdat":
                boxes[-1] = (b"mdat", _overwrite(boxes[-1][1], dice), [])
            case _:
                _change_boxes(boxes, dice)
    out = b"".join(map(_box_bytes, boxes))
    return (out if dice.random() < 0.1 else _with_moved_cells(out, out.rfind(b"mdat") - data.rfind(b"mdat")))[
        :max_bytes
    ]


def _change_settings(boxes: list[Box], dice: random.Random) -> None:
    """Another value in the JSON of the Exif block, which keeps its size: there are spaces behind it."""
    for i, (kind, _, children) in enumerate(boxes):
        for j, (inner, body, _) in enumerate(children if kind == b"meta" else ()):
            start, end = body.find(b'{"'), body.rfind(b"}") + 1
            if inner == b"idat" and 0 <= start < end:
                room = end + len(body[end:]) - len(body[end:].lstrip(b" "))
                text = _change_json(body[start:end], dice)[: room - start]
                children[j] = (inner, body[:start] + text.ljust(room - start) + body[room:], [])
                boxes[i] = (kind, boxes[i][1], children)


def _overwrite(body: bytes, dice: random.Random) -> bytes:
    """Spoils bytes and leaves as many."""
    out = bytearray(body)
    for _ in range(dice.choice((1, 1, 2, 8)) if body else 0):
        at = dice.randrange(len(out))
        if dice.random() < 0.7:
            out[at] ^= 1 << dice.randrange(8)
        else:
            other = dice.randrange(len(out))
            run = out[other : other + dice.choice((1, 4, 64))]
            out[at : at + len(run)] = run
    return bytes(out[: len(body)])


def _with_moved_cells(picture: bytes, by: int) -> bytes:
    """Makes up for a box before the cells that has grown by so many bytes."""
    at = picture.find(b"iloc")
    out = bytearray(picture)
    with contextlib.suppress(struct.error):
        version, (count,) = picture[at + 4 : at + 5], struct.unpack_from(">H", picture, at + 10)
        size, offset_at = (16, 8) if version == b"\1" else (14, 6)
        for entry in range(at + 12, at + 12 + size * min(count, 300), size):
            in_idat = version == b"\1" and picture[entry + 3 : entry + 4] == b"\1"
            (offset,) = struct.unpack_from(">I", picture, entry + offset_at)
            struct.pack_into(">I", out, entry + offset_at, offset if in_idat else max(0, offset + by) & 0xFFFFFFFF)
    return bytes(out)


def _change_boxes(boxes: list[Box], dice: random.Random) -> None:
    """Removes, repeats, renames or spoils one box, mostly one inside others."""
    owner = boxes
    while True:
        deeper = [children for _, _, children in owner if children]
        if not deeper or dice.random() < 0.1:
            break
        owner = dice.choice(deeper)
    if not owner:
        return
    at = dice.randrange(len(owner))
    kind, body, children = owner[at]
    match dice.randrange(8):
        case 0:
            del owner[at]
        case 1:
            owner.insert(dice.randint(0, len(owner)), owner[at])
        case 2:
            owner[at] = (dice.choice((b"irot", b"imir", b"clap", b"pasp", b"colr", b"free", b"iref")), body, children)
        case _:
            owner[at] = (kind, spoil(body, dice, 1), children)


def _parse_boxes(data: bytes) -> list[Box]:
    """The boxes of a file, as far as they fit."""
    boxes: list[Box] = []
    at = 0
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        if size < 8:
            break
        body = data[at + 8 : at + size]
        children_at = _CHILDREN_AT.get(kind)
        if children_at is None:
            boxes.append((kind, body, []))
        else:
            boxes.append((kind, body[:children_at], _parse_boxes(body[children_at:])))
        at += size
    return boxes


def _box_bytes(box: Box) -> bytes:
    kind, body, children = box
    whole = body + b"".join(map(_box_bytes, children))
    return struct.pack(">I4s", 8 + len(whole), kind) + whole


def _change_units(units: bytes, dice: random.Random, mutate: Mutate) -> bytes:
    """Spoils one AV1 unit (type, size in one to two bytes, body) and gives it its right size."""
    parts: list[tuple[int, bytes]] = []
    at = 0
    while at + 2 <= len(units):
        size, shift, start = 0, 0, at + 1
        while start < len(units) and shift < 28:
            size |= (units[start] & 0x7F) << shift
            shift, start = shift + 7, start + 1
            if not units[start - 1] & 0x80:
                break
        parts.append((units[at], units[start : start + size]))
        at = start + size
    if not parts:
        return mutate(units, 4096)
    which = dice.randrange(len(parts))
    head, body = parts[which]
    match dice.randrange(16):
        case 0:
            parts.insert(dice.randint(0, len(parts)), parts[which])
        case 1:
            parts[which] = (dice.choice((0x0A, 0x12, 0x1A, 0x22, 0x2A, 0x32, 0x3A, 0x42, 0x7A)), body)
        case _:
            parts[which] = (head, spoil(body, dice, dice.choice((1, 1, 2, 4))))
    return b"".join(bytes([head]) + _leb128(len(body)) + body for head, body in parts)


def _leb128(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def with_right_places(still: bytes) -> bytes:
    """Make the item's offset and length fit the mdat box again, and the promised size the sequence header."""
    iloc, mdat, ispe = still.find(b"iloc"), still.rfind(b"mdat"), still.find(b"ispe")
    if iloc < 0 or ispe < 0 or mdat < max(iloc + 26, ispe + 16):
        return still
    out = bytearray(still)
    struct.pack_into(">II", out, iloc + 18, mdat + 4, len(still) - mdat - 4)
    header = still[mdat + 4 :].lstrip(b"\x12\x00")[2:]
    bits = f"{int.from_bytes(header[:16], 'big'):0{8 * len(header[:16])}b}"
    with contextlib.suppress(ValueError):  # shorter than a header
        width_bits, height_bits = int(bits[10:14], 2) + 1, int(bits[14:18], 2) + 1
        width, height = bits[18 : 18 + width_bits], bits[18 + width_bits : 18 + width_bits + height_bits]
        struct.pack_into(">II", out, ispe + 8, int(width, 2) + 1, int(height, 2) + 1)
    return bytes(out)
