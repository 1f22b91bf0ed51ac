#!/usr/bin/env python3
"""Writes ../vectors/data_packets.txt and ../vectors/data_received.txt: whole data channel datagrams.

Built from the description of the wire format with Python's `cryptography` and `lz4`, nothing of ours:

    AEAD  header | packet id:u32 | tag[16] | ciphertext; additional data is header and packet id (DATA_V2) or the packet
          id alone (DATA_V1); the nonce is the packet id and the first 8 bytes of the HMAC half
    CBC   header | HMAC | IV[16] | CBC(packet id:u32, payload, PKCS#7); the HMAC covers IV and ciphertext

`data_packets.txt` is what a sealer must produce, byte for byte, and an opener must open. The IVs in it follow our own
rule: the packet id as one block, encrypted with AES-256 under bytes 32..64 of the direction's cipher half.
`data_received.txt` is what only peers produce: other IVs, LZ4, escapes.
"""

import hashlib
import hmac
import pathlib

import lz4.block
from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

VECTORS = pathlib.Path(__file__).parent.parent / "vectors"

AEADS = {
    "AES-128-GCM": (AESGCM, 16),
    "AES-192-GCM": (AESGCM, 24),
    "AES-256-GCM": (AESGCM, 32),
    "CHACHA20-POLY1305": (ChaCha20Poly1305, 32),
}
CBCS = {"AES-128-CBC": 16, "AES-192-CBC": 24, "AES-256-CBC": 32}
FRAMINGS = ("none", "v1", "v1-swap", "v2")


def stream(label, length):
    blocks = (hashlib.sha256(f"{label}/{i}".encode()).digest() for i in range(length // 32 + 1))
    return b"".join(blocks)[:length]


def ipv4(label, length):
    return (b"\x45\x00" + length.to_bytes(2, "big") + stream(label, length))[:length]


def header(key_id, peer_id):
    if peer_id is None:
        return bytes([6 << 3 | key_id])
    return bytes([9 << 3 | key_id]) + peer_id


def frame(framing, packet):
    if framing == "v1":
        return b"\xfa" + packet
    if framing == "v1-swap":
        return b"\xfb" + packet[1:] + packet[:1]
    return packet


def aes(key, mode, data):
    encryptor = Cipher(algorithms.AES(key), mode).encryptor()
    return encryptor.update(data) + encryptor.finalize()


def seal(cipher, auth, half, head, packet_id, payload, iv=None):
    """`half` is the 128 bytes of one direction."""
    pid = packet_id.to_bytes(4, "big")
    if cipher in AEADS:
        make, key_len = AEADS[cipher]
        aad = head + pid if len(head) == 4 else pid
        sealed = make(half[:key_len]).encrypt(pid + half[64:72], payload, aad)
        return head + pid + sealed[-16:] + sealed[:-16]
    if iv is None:
        iv = aes(half[32:64], modes.ECB(), bytes(12) + pid)
    padder = padding.PKCS7(128).padder()
    padded = padder.update(pid + payload) + padder.finalize()
    covered = iv + aes(half[: CBCS[cipher]], modes.CBC(iv), padded)
    key = half[64 : 64 + hashlib.new(auth).digest_size]
    return head + hmac.new(key, covered, auth).digest() + covered


def vector(cipher, auth, sender, framing, key_id, peer_id, packet_id, packet, payload, iv=None, **more):
    keys = stream(f"{cipher}/{auth}/{key_id}", 256)
    half = keys[:128] if sender == "client" else keys[128:]
    fields = {
        "cipher": cipher,
        "auth": auth.upper(),
        "sender": sender,
        "framing": framing,
        "keys": keys,
        "key_id": bytes([key_id]),
    }
    if peer_id is not None:
        fields["peer_id"] = peer_id
    fields |= {"packet_id": packet_id.to_bytes(4, "big"), "packet": packet}
    fields["datagram"] = seal(cipher, auth, half, header(key_id, peer_id), packet_id, payload, iv)
    return fields | more


def sealed():
    auths = ("sha1", "sha256", "sha384", "sha512")
    for i, cipher in enumerate([*AEADS, *CBCS]):
        for j, framing in enumerate(FRAMINGS):
            for k, peer_id in enumerate((None, b"\x00\x00\x00", b"\xab\xcd\xef")):
                sender = ("client", "server")[(i + j + k) % 2]
                auth = auths[(i + j + k) % 4] if cipher in CBCS else "sha1"
                packet_id = (1, 2, 0x00FFFFFF, 0xFFFFFFFF)[(j + k) % 4]
                packet = ipv4(f"{i}/{j}/{k}", (20, 84, 91, 92, 93, 107, 108)[(i + 2 * j + 3 * k) % 7])
                yield vector(
                    cipher, auth, sender, framing, (j + k) % 8, peer_id, packet_id, packet, frame(framing, packet)
                )


def received():
    common = {"sender": "server", "key_id": 3, "peer_id": b"\x00\x00\x05", "packet_id": 9}
    for cipher in ("AES-256-GCM", "AES-256-CBC"):
        # An IV by a rule other than ours; ignored by AEADs.
        base = common | {"cipher": cipher, "auth": "sha256", "iv": stream(f"iv/{cipher}", 16)}
        packet = ipv4("received", 60)
        for framing, payload in (
            ("none", packet),
            ("v1", frame("v1-swap", packet)),
            ("v1-swap", frame("v1", packet)),
            ("v2", b"\x50\x00" + packet),
        ):
            yield vector(framing=framing, packet=packet, payload=payload, **base)
        text = ipv4("text", 20) + b"GET / HTTP/1.1\r\nHost: intranet\r\n" * 40
        packed = lz4.block.compress(text, store_size=False)
        assert len(packed) < len(text) // 4
        for framing in ("v1", "v1-swap"):
            payload = b"\x69" + packed[1:] + packed[:1]
            yield vector(framing=framing, packet=text, payload=payload, compressed=b"\x01", **base)
        yield vector(framing="v2", packet=text, payload=b"\x50\x01" + packed, compressed=b"\x01", **base)


def write(name, tools, vectors):
    lines = [f"# Generated by testdata/generate/data_packets.py with {tools}."]
    for fields in vectors:
        lines.append("")
        for key, value in fields.items():
            lines.append(f'{key} = "{value}"' if isinstance(value, str) else f"{key} = {value.hex()}".rstrip())
    (VECTORS / name).write_text("\n".join(lines) + "\n")


write("data_packets.txt", "Python's cryptography and hmac", sealed())
write("data_received.txt", "Python's cryptography, hmac and lz4", received())
