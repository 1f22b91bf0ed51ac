"""Signatures by OpenSSL's command line over one message, good ones and such as a lax verifier takes for good."""
import hashlib, os, subprocess

MESSAGE = bytes(range(256)) * 3 + b"octets"
open("message.bin", "wb").write(MESSAGE)


def openssl(*arguments):
    return subprocess.run(["openssl", *arguments], check=True, capture_output=True).stdout


def signature(key, *options):
    return openssl("pkeyutl", "-sign", "-inkey", f"{key}.key", "-rawin", "-in", "message.bin", *options)


def show(key, algorithm, value):
    print(f'\nkey = "{key}"\nalgorithm = "{algorithm}"\nsignature = {value.hex()}')


def numbers(key):
    text = openssl("rsa", "-in", f"{key}.key", "-noout", "-text").decode()
    field = lambda name, end: int(text.split(name)[1].split(end)[0].replace(":", "").replace("\n", "").replace(" ", ""), 16)
    return field("modulus:", "publicExponent"), field("privateExponent:", "prime1")


print("# Made by make.sh with", openssl("version").decode().strip() + ".")
print("\nkey = \"message\"\nmessage =", MESSAGE.hex())
for digest in ("sha1", "sha256", "sha384", "sha512"):
    for key in ("rsa", "rsa4096"):
        show(key, f"pkcs1-{digest}", signature(key, "-digest", digest))
for digest in ("sha1", "sha256", "sha384", "sha512"):
    pss = ("-digest", digest, "-pkeyopt", "rsa_padding_mode:pss", "-pkeyopt")
    show("rsa", f"pss-{digest}", signature("rsa", *pss, "rsa_pss_saltlen:digest"))
    show("rsa", f"pss-{digest}-long-salt", signature("rsa", *pss, "rsa_pss_saltlen:max"))
    show("rsa", f"pss-{digest}-no-salt", signature("rsa", *pss, "rsa_pss_saltlen:0"))
for key in ("p256", "p384", "p521"):
    for digest in ("sha256", "sha384", "sha512"):
        show(key, f"ecdsa-{digest}", signature(key, "-digest", digest))
show("ed25519", "ed25519", openssl("pkeyutl", "-sign", "-inkey", "ed25519.key", "-rawin", "-in", "message.bin"))

# PKCS#1 paddings that only a parser would accept (CVE-2006-4339 and its descendants), made with the private key.
info = bytes.fromhex("3031300d060960864801650304020105000420") + hashlib.sha256(MESSAGE).digest()
no_null = bytes.fromhex("302f300b0609608648016503040201" + "0420") + hashlib.sha256(MESSAGE).digest()
long_length = bytes.fromhex("308131300d060960864801650304020105000420") + hashlib.sha256(MESSAGE).digest()
modulus, private = numbers("rsa")
def pad(info, fill, start=b"\0\x01", end=b"\0", tail=b""):
    count = 256 - len(start) - len(end) - len(info) - len(tail)
    return start + fill * count + end + info + tail
for name, block in {
    "good": pad(info, b"\xff"),
    "trailing": (b"\0\x01" + b"\xff" * 8 + b"\0" + info).ljust(256, b"\0"),
    "short-fill": (b"\0\x01" + b"\xff" * 8 + b"\0" + info).ljust(256, b"\x5a"),
    "zero-fill": pad(info, b"\0"),
    "type-2": pad(info, b"\xaa", start=b"\0\x02"),
    "type-0": pad(info, b"\0", start=b"\0\0"),
    "no-separator": pad(info, b"\xff", end=b""),
    "without-null": pad(no_null, b"\xff"),
    "long-form-length": pad(long_length, b"\xff"),
    "bare-hash": pad(hashlib.sha256(MESSAGE).digest(), b"\xff"),
    "parameters-garbage": pad(bytes.fromhex("3033300f0609608648016503040201" + "0502abcd" + "0420") + hashlib.sha256(MESSAGE).digest(), b"\xff"),
}.items():
    show("rsa", f"padding-{name}", pow(int.from_bytes(block, "big"), private, modulus).to_bytes(256, "big"))

# Bleichenbacher's forgery for e = 3 (CVE-2006-4339, CVE-2018-16151): a cube whose first bytes look right, made without the private key.
modulus, _ = numbers("rsa-e3")
prefix = b"\0\x01" + b"\xff" * 8 + b"\0" + info
target = int.from_bytes(prefix.ljust(256, b"\xff"), "big")
low, high = 0, 1 << 700
while low < high:
    middle = (low + high + 1) // 2
    low, high = (middle, high) if middle**3 <= target else (low, middle - 1)
assert (low**3).to_bytes(256, "big").startswith(prefix)
show("rsa-e3", "forged-cube", low.to_bytes(256, "big"))
os.remove("message.bin")
