#!/usr/bin/env python3
"""Writes ../vectors/esp_sealed.txt and ../vectors/esp_received.txt: whole ESP packets of every suite, with and without ESN.

Built from RFC 4303, RFC 4106, RFC 4309, RFC 7634, RFC 3602, RFC 3686 and RFC 4868 with Python's `cryptography` and `hmac`,
nothing of ours:

    SPI:u32 | low half of the sequence number:u32 | IV | encrypted ( packet | TFC | 1, 2, 3 … | pad length | next header ) | ICV

    AEAD        nonce: salt (the end of the key), IV; additional data: SPI and sequence number, of 64 bits with ESN
    CBC, CTR    ICV: an HMAC of everything before it, and with ESN of the high half of the sequence number

`esp_sealed.txt` is what a sealer must produce, byte for byte, and an opener must open. The IVs in it follow our own rule:
the sequence number; for CBC the sequence number as one block, encrypted with AES-256 under `iv_key`, or the first 8 bytes
of that. `esp_received.txt` is what only peers produce: other IVs, padding against traffic analysis, more padding than
necessary, dummy packets, sequence numbers around the places where the low half starts over. `newest` is the highest
sequence number that came before, `window` is 64.
"""

import hashlib
import hmac
import pathlib

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESCCM, AESGCM, ChaCha20Poly1305

VECTORS = pathlib.Path(__file__).parent.parent / "vectors"

AES_BITS = (128, 192, 256)
HMACS = {
    "HMAC_SHA1_96": ("sha1", 20, 12),
    "HMAC_SHA2_256_128": ("sha256", 32, 16),
    "HMAC_SHA2_384_192": ("sha384", 48, 24),
    "HMAC_SHA2_512_256": ("sha512", 64, 32),
}
AEAD_SUITES = (
    [(f"AES_{mode}_{tag}", bits, "NONE") for mode in ("GCM", "CCM") for tag in (8, 12, 16) for bits in AES_BITS]
    + [("CHACHA20_POLY1305", 256, "NONE")]
)
SUITES = (
    AEAD_SUITES
    + [("AES_CBC", bits, integrity) for bits in AES_BITS for integrity in HMACS]
    + [("AES_CTR", bits, "HMAC_SHA2_256_128") for bits in AES_BITS]
    + [("TRIPLE_DES", 192, "HMAC_SHA1_96")]
)
WRAP = 1 << 32


def stream(label, length):
    blocks = (hashlib.sha256(f"{label}/{i}".encode()).digest() for i in range(length // 32 + 1))
    return b"".join(blocks)[:length]


def salt_len(encryption):
    if encryption.startswith("AES_CCM"):
        return 3
    return 4 if encryption.startswith(("AES_GCM", "CHACHA", "AES_CTR")) else 0


def iv_len(encryption):
    return 16 if encryption == "AES_CBC" else 8


def block_len(encryption):
    return {"AES_CBC": 16, "TRIPLE_DES": 8}.get(encryption, 4)


def aead_encrypt(encryption, key, nonce, content, aad):
    if encryption == "CHACHA20_POLY1305":
        return ChaCha20Poly1305(key).encrypt(nonce, content, aad)
    tag_len = int(encryption.rsplit("_", 1)[1])
    if encryption.startswith("AES_CCM"):
        return AESCCM(key, tag_length=tag_len).encrypt(nonce, content, aad)
    # A shorter tag is the beginning of the whole one (NIST SP 800-38D §7.1).
    return AESGCM(key).encrypt(nonce, content, aad)[: len(content) + tag_len]


def cipher(encryption, key, salt, iv):
    if encryption == "AES_CTR":
        return Cipher(algorithms.AES(key), modes.CTR(salt + iv + (1).to_bytes(4, "big")))
    return Cipher(TripleDES(key) if encryption == "TRIPLE_DES" else algorithms.AES(key), modes.CBC(iv))


def esp(suite, keys, esn, spi, sequence, iv, content):
    encryption, _, integrity = suite
    key, salt = keys["encryption"], b""
    if salt_len(encryption):
        key, salt = key[: -salt_len(encryption)], key[-salt_len(encryption):]
    whole = sequence.to_bytes(8, "big")
    header = spi + whole[4:]
    if integrity == "NONE":
        return header + iv + aead_encrypt(encryption, key, salt + iv, content, spi + whole if esn else header)
    encryptor = cipher(encryption, key, salt, iv).encryptor()
    covered = header + iv + encryptor.update(content) + encryptor.finalize()
    name, _, icv_len = HMACS[integrity]
    return covered + hmac.digest(keys["integrity"], covered + (whole[:4] if esn else b""), name)[:icv_len]


def padded(suite, payload, next_header, more=0):
    block = block_len(suite[0])
    pad_len = -(len(payload) + 2) % block + more * block
    assert pad_len < 256
    return payload + bytes(range(1, pad_len + 1)) + bytes([pad_len, next_header])


def ipv4(length, label):
    header = b"\x45\0" + length.to_bytes(2, "big") + b"\0\0\0\0\x40\x11\0\0" + b"\xc0\0\x02\x01" + b"\x0a\0\0\x07"
    return header + stream(label, length - 20)


def ipv6(length, label):
    addresses = bytes.fromhex("20010db8000000000000000000000001" "20010db8000000000000000000000007")
    return b"\x60\0\0\0" + (length - 40).to_bytes(2, "big") + b"\x11\x40" + addresses + stream(label, length - 40)


def keys_of(suite, label):
    encryption, bits, integrity = suite
    keys = {"encryption": stream(label + "/encryption", bits // 8 + salt_len(encryption))}
    if integrity != "NONE":
        keys["integrity"] = stream(label + "/integrity", HMACS[integrity][1])
    return keys


def our_iv(suite, iv_key, sequence):
    if suite[0] in ("AES_CBC", "TRIPLE_DES"):
        encryptor = Cipher(algorithms.AES(iv_key), modes.ECB()).encryptor()
        return encryptor.update(sequence.to_bytes(16, "big"))[: iv_len(suite[0])]
    return sequence.to_bytes(8, "big")


def record(suite, keys, esn, fields):
    encryption, bits, integrity = suite
    lines = [f'encryption = "{encryption}"', f"key_bits = {bits:04x}", f'integrity = "{integrity}"', f"esn = {esn:02x}"]
    lines += [f"{name}_key = {key.hex()}" for name, key in keys.items()]
    lines += [f"{name} = {value.hex()}" for name, value in fields.items()]
    return "\n".join(lines)


def sealed():
    for suite in SUITES:
        for esn, sequence in ((0, 1), (0, WRAP - 1), (1, 2), (1, 0x0123456789ABCDEF)):
            label = f"sealed/{suite}/{sequence}"
            keys, iv_key, spi = keys_of(suite, label), stream(label + "/iv", 32), stream(label + "/spi", 4)
            packet, next_header = (ipv6(77, label), 41) if esn and sequence > WRAP else (ipv4(53 + sequence % 4, label), 4)
            datagram = esp(suite, keys, esn, spi, sequence, our_iv(suite, iv_key, sequence), padded(suite, packet, next_header))
            yield record(suite, keys, esn, {
                "iv_key": iv_key, "spi": spi, "sequence": sequence.to_bytes(8, "big"), "packet": packet, "datagram": datagram,
            })


def received():
    v4, v6 = ipv4(61, "received"), ipv6(90, "received")
    contents = [
        (v4, 4, 0, v4), (v6, 41, 0, v6),
        (v4 + stream("tfc", 700), 4, 0, v4), (v6 + stream("tfc", 3), 41, 3, v6),
        (v4, 4, 12, v4), (b"", 59, 0, b""), (stream("dummy", 333), 59, 1, b""),
    ]
    # (newest, sequence): RFC 4303 appendix A2.2, both cases, both outcomes, and both ends of them.
    numbers = [
        (0, 1), (100, WRAP - 1), (WRAP - 1, WRAP), (WRAP - 10, WRAP + 1000), (WRAP + 5, WRAP - 1), (WRAP + 5, WRAP - 58),
        (WRAP + 5, 2 * WRAP - 59), (WRAP + 62, WRAP - 1), (WRAP + 63, 2 * WRAP - 1), (WRAP + 63, WRAP),
        (5 * WRAP + 7000, 5 * WRAP + 6999), (5 * WRAP + 7000, 6 * WRAP + 6936), (2**64 - 2, 2**64 - 1),
    ]
    suites = [
        ("AES_GCM_16", 256, "NONE"), ("CHACHA20_POLY1305", 256, "NONE"),
        ("AES_CBC", 128, "HMAC_SHA2_256_128"), ("AES_CBC", 256, "HMAC_SHA2_512_256"),
    ]
    for suite in suites:
        cases = [(0, 7, 9, *content) for content in contents] + [(1, *number, *contents[0]) for number in numbers]
        for i, (esn, newest, sequence, payload, next_header, more, packet) in enumerate(cases):
            label = f"received/{suite}/{i}"
            keys, spi, iv = keys_of(suite, label), stream(label + "/spi", 4), stream(label + "/iv", iv_len(suite[0]))
            datagram = esp(suite, keys, esn, spi, sequence, iv, padded(suite, payload, next_header, more))
            yield record(suite, keys, esn, {
                "newest": newest.to_bytes(8, "big"), "sequence": sequence.to_bytes(8, "big"), "packet": packet,
                "datagram": datagram,
            })


def write(name, records):
    head = "# Generated by testdata/generate/esp_packets.py with Python's cryptography and hmac.\n\n"
    (VECTORS / name).write_text(head + "\n\n".join(records) + "\n")


write("esp_sealed.txt", sealed())
write("esp_received.txt", received())
