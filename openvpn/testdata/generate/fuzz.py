#!/usr/bin/env python3
"""Writes ../fuzz/TARGET/*: what the fuzz targets of `src/fuzzing.rs` begin with.

Well-formed inputs of each kind, from the captures and keys beside them, and their usual ways to be wrong; files that a
fuzzer found are added by hand and stay. A second run writes the same files.
"""

import hashlib
import pathlib
import struct

HERE = pathlib.Path(__file__).parent.parent
KEYS = HERE / "keys"


def write(target, name, content):
    folder = HERE / "fuzz" / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def captured(name, count):
    lines = (HERE / "captures" / f"{name}.txt").read_text().splitlines()
    hexes = [line.split(" = ")[1] for line in lines if " = " in line]
    return [bytes.fromhex(text) for text in hexes[:count]]


def text(value):
    return struct.pack(">H", len(value) + 1) + value.encode() + b"\0"


# Control datagrams: both resets and a few packets of each wrap, an empty reset, a long list of acknowledgements.
for wrap, count in [("none", 6), ("tls_auth_sha1_bidirectional", 3), ("tls_crypt", 3), ("tls_crypt_v2_cookie", 4)]:
    for index, datagram in enumerate(captured(wrap, count)):
        write("openvpn_packet", f"{wrap}_{index}", datagram)
write("openvpn_packet", "acks_255", b"\x28" + bytes(8) + b"\xff" + bytes(255 * 4))
write("openvpn_packet", "ack_only", b"\x28" + b"S" * 8 + b"\x01\x00\x00\x00\x07" + b"C" * 8)
write("openvpn_packet", "empty", b"")

# Control messages.
write("push_reply", "usual", b"PUSH_REPLY,route 10.1.0.0 255.255.0.0,ping 10,ping-restart 120,ifconfig 10.8.0.6 10.8.0.5,peer-id 0,cipher AES-256-GCM\0")
write("push_reply", "continued", b"PUSH_REPLY,ping 10,push-continuation 2\0PUSH_REPLY,ifconfig 10.8.0.6 10.8.0.5,push-continuation 1\0")
write("push_reply", "quotes", b'PUSH_REPLY,dhcp-option "DOMAIN a,b",echo \\,\0')
write("push_reply", "others", b"AUTH_FAILED,CRV1:R,E:T0s=:dXNlcg==:Code?\0INFO_PRE,WEB_AUTH::https://vpn.example/x\0RESTART,N\0AUTH_PENDING,timeout 60\0")
write("push_reply", "update", b"PUSH_UPDATE,-route,?dns server 1 address 10.0.0.1\0")
write("push_reply", "without_end", b"PUSH_REPLY")

# Key method 2.
RANDOM = hashlib.sha256(b"1").digest() + hashlib.sha256(b"2").digest()
FULL = bytes(4) + b"\x02" + RANDOM + text("V4,dev-type tun,cipher AES-256-GCM") + bytes(4) + text("IV_VER=2.6.14\n")
write("key_exchange", "usual", FULL)
write("key_exchange", "old_server", bytes(4) + b"\x02" + RANDOM + text("V4,dev-type tun"))
write("key_exchange", "cut", FULL[:90])
write("key_exchange", "length_too_long", bytes(4) + b"\x02" + RANDOM + b"\xff\xff" + b"V4")
write("key_exchange", "method_1", bytes(4) + b"\x01" + RANDOM)

# Profiles. The target gives each file they name the profile's own text.
CA = (KEYS / "ca.crt").read_text()
CERT = (KEYS / "client.crt").read_text()
KEY = (KEYS / "ec.pkcs8.key").read_text()
STATIC = (KEYS / "static.txt").read_text()
BASE = f"client\nremote vpn.example 1194 udp\n<ca>\n{CA}</ca>\n"
write("profile", "password", f"{BASE}auth-user-pass\nremote-cert-tls server\n")
write("profile", "certificate", f"{BASE}<cert>\n{CERT}</cert>\n<key>\n{KEY}</key>\n<tls-crypt>\n{STATIC}</tls-crypt>\n")
write("profile", "connections", f"{BASE}auth-user-pass\n<connection>\nremote a\nproto tcp\n</connection>\n<connection>\nremote b 1 udp6\nmssfix 1300 mtu\n</connection>\n")
write("profile", "windows", f"\ufeff{BASE}auth-user-pass\nsetenv opt block-outside-dns\n; comment\n".replace("\n", "\r\n"))
write("profile", "list", f"{BASE}auth-user-pass\n<crl-verify>\n{(KEYS / 'crl.pem').read_text()}</crl-verify>\n")
write("profile", "quotes", f"{BASE}auth-user-pass\nverify-x509-name 'C=DE, CN=\"x\"'\nstatic-challenge \"a \\\"b\\\"\" 1\npull-filter ignore \"route \"\n")
write("profile", "open_block", "client\n<ca>\n-----BEGIN CERTIFICATE-----\n")
write("profile", "utf16", "\ufeffclient\nremote h\n".encode("utf-16-le"))
write("profile", "binary", hashlib.sha512(b"binary").digest() * 4)

# Pushed options, one a line.
write("push_options", "usual", "topology subnet\nifconfig 10.8.0.2 255.255.255.0\nroute-gateway 10.8.0.1\nroute 10.1.0.0 255.255.0.0 vpn_gateway 5\nping 10\nping-restart 60\ndhcp-option DNS 10.8.0.1\npeer-id 0\ncipher AES-256-GCM\nprotocol-flags cc-exit tls-ekm dyn-tls-crypt\ntun-mtu 1400\n")
write("push_options", "ipv6", "ifconfig-ipv6 fd00::2/64 fd00::1\nroute-ipv6 fd01::/64\nredirect-gateway def1 ipv6 !ipv4\nblock-ipv6\n")
write("push_options", "dns", "dns server -128 address 10.0.0.1 [fd00::1]:53\ndns server 127 resolve-domains a b\ndns search-domains x.example\ndhcp-option DOMAIN-SEARCH y.example\n")
write("push_options", "wrong", "ifconfig 10.8.0.2\nroute x\nping 99999999999\npeer-id -1\nauth-token-user %%\ninactive 1 2 3\n")

# Keys, certificates and lists.
for name in ["ca.crt", "crl.pem", "ec.dek-aes-256-cbc.key", "ec.params.key", "ec.pbes1-md5-des.key", "ec.pbes2-aes-256-cbc.key", "ec.pkcs12-sha1-3des.key", "plain.p12", "rc2-40.p12", "modern.p12"]:
    write("key_files", name, (KEYS / name).read_bytes())
for name in ["static.txt", "tls-crypt-v2.txt"]:
    write("static_key", name, (KEYS / name).read_bytes())
write("static_key", "one_line_short", "\n".join(STATIC.splitlines()[:-2]))

# The first byte chooses framing, peer id and cipher; then what a packet holds.
PACKET = bytes.fromhex("45000054000040004001f6a70a080002c0a86401") + bytes(40)
for choice in range(0, 64, 5):
    write("data_open", f"packet_{choice:02}", bytes([choice]) + PACKET)
for choice, name, content in [(0, "ping", bytes.fromhex("2a187bf3641eb4cb07ed2d0a981fc748")), (1, "v1_plain", b"\xfa" + PACKET), (1, "v1_lz4", b"\x69\x1f\x45\x01\x00\x20\x50" + bytes(5)), (2, "v1_swap", b"\xfb" + PACKET[1:] + b"\x45"), (3, "v2_lz4", b"\x50\x0b\x1f\x45\x01\x00\x20\x50" + bytes(5)), (3, "v2_plain", b"\x50\x00" + PACKET), (3, "v2_unknown", b"\x50\x77" + PACKET), (0, "empty", b"")]:
    write("data_open", name, bytes([choice]) + content)

# Steps of a session: see `src/fuzzing/session.rs`. A packet is step 2, opcode and key id, packet id, choice of acknowledgements
# and whether a payload follows, the payload's length, the payload.
RESET = bytes([2, 0x40, 0, 1])
CONTROL = bytes([2, 0x20, 1, 209]) + b"\x07" + b"\x16\x03\x03\x00\x02\x02\x28"
write("session", "reset", b"\0" + RESET)
write("session", "reset_wrapped", b"\1" + RESET)
write("session", "alert", b"\0" + RESET + CONTROL)
write("session", "silence", b"\0" + bytes([5, 255]) * 4)
write("session", "slow", b"\0" + RESET + bytes([5, 20]) * 30 + CONTROL)
write("session", "closed_early", b"\0\x07\x00" + RESET)
write("session", "answered", b"\0\x06\x03abc" + RESET + b"\x07\x01\x07\x02\x07\x03")
write("session", "noise", b"\1" + b"".join(b"\0\x20" + hashlib.sha256(bytes([i])).digest() for i in range(8)))

# Steps of a server: see `src/fuzzing/server.rs`. A packet is step 2, opcode and key id, packet id, choice of acknowledgements and
# client, length and payload. The choice 1 acknowledges id 0 and returns the cookie.
HELLO = captured("none", 3)[2][26:]


def step(opcode, packet_id, choice, payload=b""):
    return bytes([2, opcode << 3, packet_id, choice, len(payload)]) + payload


KNOCK = step(7, 0, 0)
IN = KNOCK + step(4, 1, 1, HELLO[:200]) + step(4, 2, 1, HELLO[200:])
write("server", "hello", b"\0" + IN)
write("server", "hello_wrapped", b"\1" + IN)
write("server", "hello_over_tcp", b"\2" + IN)
write("server", "hello_out_of_order", b"\0" + KNOCK + step(5, 0, 1) + step(4, 2, 1, HELLO[200:]) + step(4, 1, 1, HELLO[:200]))
write("server", "alert", b"\1" + IN + step(4, 3, 2, bytes.fromhex("15030100020228")))
write("server", "slow", b"\0" + IN + bytes([5, 255]) * 4)
write("server", "closed", b"\1" + IN + b"\x07\0\0")
write("server", "moved", b"\0" + IN + b"\x07\2\3" + step(4, 3, 2, HELLO[:9]))
write("server", "verdicts", b"\1" + IN + bytes([6, 0, 6, 1, 6, 2, 6, 3]))
write("server", "two_clients", b"\0" + IN + step(7, 0, 64) + step(4, 1, 65, HELLO[:200]))
write("server", "soft_reset", b"\0" + IN + bytes([2, 3 << 3 | 1, 0, 0, 0]))
write("server", "no_cookie", b"\0" + step(4, 1, 1, HELLO[:200]) + step(9, 1, 1, b"data"))
write("server", "noise", b"\1" + b"".join(b"\0\1\x20" + hashlib.sha256(bytes([i])).digest() for i in range(8)))
