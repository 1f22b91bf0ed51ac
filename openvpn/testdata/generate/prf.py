#!/usr/bin/env python3
"""Writes ../vectors/tls1_prf.txt and ../vectors/key_method_2.txt: the PRF of TLS 1.0 and the data keys made with it.

RFC 2246 §5 with hashlib and hmac, nothing of ours; each PRF output is checked against `openssl kdf TLS1-PRF`. The
inputs come from SHA-256 over a label, so that a second run writes the same files.
"""

import hashlib
import hmac
import pathlib
import subprocess

VECTORS = pathlib.Path(__file__).parent.parent / "vectors"


def stream(label, length):
    blocks = (hashlib.sha256(f"{label}/{i}".encode()).digest() for i in range(length // 32 + 1))
    return b"".join(blocks)[:length]


def p_hash(digest, secret, seed, length):
    out, a = b"", seed
    while len(out) < length:
        a = hmac.new(secret, a, digest).digest()
        out += hmac.new(secret, a + seed, digest).digest()
    return out[:length]


def prf(secret, seed, length):
    half = (len(secret) + 1) // 2
    md5 = p_hash("md5", secret[:half], seed, length)
    sha1 = p_hash("sha1", secret[len(secret) - half:], seed, length)
    out = bytes(a ^ b for a, b in zip(md5, sha1))
    openssl = ["openssl", "kdf", "-keylen", str(length), "-kdfopt", "digest:MD5-SHA1", "-kdfopt",
               f"hexsecret:{secret.hex()}", "-kdfopt", f"hexseed:{seed.hex()}", "TLS1-PRF"]
    theirs = subprocess.run(openssl, check=True, capture_output=True, text=True).stdout
    assert bytes.fromhex(theirs.replace(":", "")) == out
    return out


def write(name, vectors):
    with open(VECTORS / name, "w") as file:
        file.write("# Written by ../generate/prf.py (hashlib, hmac; checked against OpenSSL).\n")
        for vector in vectors:
            file.write("\n" + "".join(f"{key} = {value.hex()}\n" for key, value in vector.items()))


def tls1_prf():
    for secret, seed, length in [(48, 64, 48), (48, 80, 256), (1, 1, 1), (47, 13, 33), (16, 20, 20), (64, 5, 100)]:
        label = f"prf/{secret}/{seed}/{length}"
        vector = {"secret": stream(label + "/secret", secret), "seed": stream(label + "/seed", seed)}
        yield vector | {"output": prf(vector["secret"], vector["seed"], length)}


def key_method_2():
    """OpenVPN 2.6 `ssl.c`, generate_key_expansion_openvpn_prf."""
    for number in range(3):
        v = {name: stream(f"km2/{number}/{name}", length) for name, length in [
            ("pre_master", 48), ("client_random1", 32), ("client_random2", 32), ("server_random1", 32),
            ("server_random2", 32), ("client_session", 8), ("server_session", 8)]}
        master = prf(v["pre_master"], b"OpenVPN master secret" + v["client_random1"] + v["server_random1"], 48)
        seed = v["client_random2"] + v["server_random2"] + v["client_session"] + v["server_session"]
        yield v | {"keys": prf(master, b"OpenVPN key expansion" + seed, 256)}


write("tls1_prf.txt", tls1_prf())
write("key_method_2.txt", key_method_2())
