#!/usr/bin/env python3
"""Writes ../fuzz/esp_open/*: what the fuzz target `esp_open` begins with.

One byte that chooses suite (bits 0-1), ESN (bit 2) and narrow selectors (bit 3), then what is encrypted: a packet, padding,
pad length, next header; a multiple of 16 bytes. Files that a fuzzer found are added by hand and stay.
"""

import pathlib

FOLDER = pathlib.Path(__file__).parent.parent / "fuzz" / "esp_open"
FOLDER.mkdir(parents=True, exist_ok=True)


def content(payload, next_header, more=0):
    pad_len = -(len(payload) + 2) % 16 + 16 * more
    return payload + bytes(range(1, pad_len + 1)) + bytes([pad_len, next_header])


def ipv4(payload, protocol=6, offset=0):
    head = b"\x45\0" + (20 + len(payload)).to_bytes(2, "big") + b"\0\0" + offset.to_bytes(2, "big")
    return head + bytes([64, protocol]) + b"\0\0\xc0\0\x02\x01\x0a\0\0\x07" + payload


def ipv6(payload, next_header=6):
    addresses = bytes.fromhex("20010db8000000000000000000000001" "20010db8000000000000000000000007")
    return b"\x60\0\0\0" + len(payload).to_bytes(2, "big") + bytes([next_header, 64]) + addresses + payload


PORTS = b"\x00\x50\x12\x34" + bytes(16)
CONTENTS = {
    "v4": content(ipv4(PORTS), 4),
    "v6": content(ipv6(PORTS), 41),
    "v4_tfc": content(ipv4(PORTS) + bytes(100), 4),
    "v6_more_padding": content(ipv6(PORTS), 41, 14),
    "v6_extensions": content(ipv6(b"\x2b\0" + bytes(6) + b"\x2c\0" + bytes(6) + b"\x06\0\0\x01\0\0\0\x09" + PORTS, 0), 41),
    "v4_fragment": content(ipv4(PORTS, offset=1), 4),
    "dummy": content(bytes(40), 59),
    "empty": content(b"", 4),
    "transport_mode": content(PORTS, 6),
    "bad_padding": content(ipv4(PORTS), 4)[:-4] + b"\0\0\x07\x04",
    "long_padding": bytes(14) + b"\xff\x04",
}
for index, (name, body) in enumerate(CONTENTS.items()):
    for narrow in (0, 8):
        (FOLDER / f"{name}_{'narrow' if narrow else 'wide'}").write_bytes(bytes([index % 8 | narrow]) + body)
(FOLDER / "nothing").write_bytes(b"")
