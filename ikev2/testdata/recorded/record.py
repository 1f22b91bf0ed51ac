#!/usr/bin/env python3
"""Records what two real strongSwan daemons say to each other, with the secrets they log.

    python3 record.py        (as root, on Debian 12 with strongSwan 5.9.8, tcpdump and openssl)

Each recording has two network namespaces of its own, joined by a cable that tcpdump listens to; ESP is strongSwan's
own (kernel-libipsec), so the inner packets can be taken from its TUN device. Nothing of this repository is used.
"""

import datetime
import os
import re
import struct
import subprocess
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
PLUGINS = ("random nonce aes sha1 sha2 md5 hmac kdf gmp openssl pem pkcs1 pkcs8 x509 revocation constraints pubkey "
           "curve25519 gcm ctr chapoly kernel-libipsec kernel-netlink socket-default vici eap-identity eap-mschapv2 updown")
CLIENT, GATEWAY, TARGET = "203.0.113.2", "203.0.113.1", "192.168.100.1"

PSK_SECRET = "a secret of both ends"
PASSWORD = "mypassword"

CASES = {
    "psk": {
        "about": "PSK, default proposals, default suites; CHILD_SA rekeyed with PFS, IKE_SA rekeyed, DELETE",
        "client": "local { auth = psk id = client@example.org }\nremote { auth = psk id = vpn.example.org }",
        "server": "local { auth = psk id = vpn.example.org }\nremote { auth = psk id = client@example.org }",
        "esp": "aes128-sha256-x25519",
        "steps": ["ping", "rekey-child", "ping", "rekey-ike", "ping", "terminate"],
        "secrets": 'ike { secret = "%s" }' % PSK_SECRET,
        "facts": {"psk": PSK_SECRET, "id_i": "client@example.org", "id_r": "vpn.example.org"},
    },
    "eap_mschapv2": {
        "about": "EAP-MSCHAPv2, RSA-2048 server certificate behind an intermediate CA, AES-GCM, fragments of 600 bytes",
        "client": "local { auth = eap-mschapv2 eap_id = myuser id = myuser }\n"
                  "remote { auth = pubkey id = vpn.example.org }",
        "server": "local { auth = pubkey certs = server.crt id = vpn.example.org }\n"
                  "remote { auth = eap-mschapv2 eap_id = %any }",
        "send_cert": "always",
        "fragment_size": 600,
        "ike": "aes256gcm16-prfsha384-ecp384",
        "esp": "aes256gcm16",
        "keys": {"server": "rsa:2048"},
        "intermediate": True,
        "steps": ["ping", "terminate"],
        "secrets": 'eap { id = myuser secret = "%s" }' % PASSWORD,
        "facts": {"user": "myuser", "password": PASSWORD, "id_i": "myuser", "id_r": "vpn.example.org"},
    },
    "ecdsa": {
        "about": "ECDSA P-256 certificates of both ends, ChaCha20-Poly1305, X25519",
        "client": "local { auth = pubkey certs = client.crt id = client.example.org }\n"
                  "remote { auth = pubkey id = vpn.example.org }",
        "server": "local { auth = pubkey certs = server.crt id = vpn.example.org }\nremote { auth = pubkey id = %any }",
        "send_cert": "always",
        "ike": "chacha20poly1305-prfsha256-x25519",
        "esp": "chacha20poly1305-x25519",
        "keys": {"server": "ec", "client": "ec"},
        "steps": ["ping", "rekey-child", "ping", "terminate"],
        "secrets": "",
        "facts": {"id_i": "client.example.org", "id_r": "vpn.example.org"},
    },
}


def run(*command, **options):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    if done.returncode != 0:
        raise SystemExit(f"{command} failed:\n{done.stdout}")
    return done.stdout


def wait_for(what, test, limit=20):
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        if test():
            return
        time.sleep(0.02)
    raise SystemExit(f"no sign of {what}")


class Network:
    def __init__(self):
        self.names = {who: f"rec-{os.getpid()}-{who}" for who in ("client", "server")}
        for name in self.names.values():
            run("ip", "netns", "add", name)
            self.inside(name, "sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6;"
                        "echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6")
            run("ip", "-n", name, "link", "set", "lo", "up")
        client, server = self.names["client"], self.names["server"]
        run("ip", "-n", server, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", client)
        for name, address in ((client, CLIENT), (server, GATEWAY)):
            run("ip", "-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
            run("ip", "-n", name, "link", "set", "eth0", "up")
        run("ip", "-n", server, "addr", "add", f"{TARGET}/32", "dev", "lo")

    @staticmethod
    def inside(name, *command):
        return run("ip", "netns", "exec", name, *command)

    def close(self):
        for name in self.names.values():
            subprocess.run(["ip", "netns", "delete", name])


def certificates(case, directory):
    """A CA for ten years and what it signed, with openssl."""
    def openssl(*args):
        run("openssl", *args, cwd=directory)

    def write(name, text):
        with open(f"{directory}/{name}", "w") as file:
            file.write(text)

    new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    openssl("req", "-x509", *new, "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/C=CH/O=Recorded/CN=Root",
            "-days", "3650", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
    issuer = "ca"
    if case.get("intermediate"):
        write("sub.ext", "basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign,cRLSign\n"
              "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid")
        openssl("req", *new, "-keyout", "sub.key", "-out", "sub.csr", "-subj", "/C=CH/O=Recorded/CN=Sub")
        openssl("x509", "-req", "-in", "sub.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-days", "3650", "-extfile",
                "sub.ext", "-out", "sub.crt")
        issuer = "sub"
    for who, kind in case["keys"].items():
        host = "vpn.example.org" if who == "server" else "client.example.org"
        usage = "serverAuth" if who == "server" else "clientAuth"
        write("leaf.ext", f"basicConstraints=CA:FALSE\nkeyUsage=digitalSignature\nextendedKeyUsage={usage}\n"
              f"subjectAltName=DNS:{host}\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid")
        key = ["-newkey", kind, "-nodes"] if kind.startswith("rsa") else new
        openssl("req", *key, "-keyout", f"{who}.key", "-out", f"{who}.csr", "-subj", f"/C=CH/O=Recorded/CN={host}")
        openssl("x509", "-req", "-in", f"{who}.csr", "-CA", f"{issuer}.crt", "-CAkey", f"{issuer}.key", "-days",
                "3650", "-extfile", "leaf.ext", "-out", f"{who}.crt")


class Daemon:
    """One charon, with a /run of its own."""

    def __init__(self, who, case, net, directory, pki):
        self.who, self.name = who, net.names[who]
        self.dir = f"{directory}/{who}"
        for part in ("run", "x509", "x509ca", "private"):
            os.makedirs(f"{self.dir}/{part}")
        if "keys" in case:
            run("cp", f"{pki}/ca.crt", f"{self.dir}/x509ca/")
            if who in case["keys"]:
                run("cp", f"{pki}/{who}.crt", f"{self.dir}/x509/")
                run("cp", f"{pki}/{who}.key", f"{self.dir}/private/")
            if case.get("intermediate") and who == "server":
                run("cp", f"{pki}/sub.crt", f"{self.dir}/x509ca/")
        self.log = f"{self.dir}/charon.log"
        fragment = f"fragment_size = {case['fragment_size']}" if "fragment_size" in case else ""
        self.write("strongswan.conf", f"""charon {{
  load = {PLUGINS}
  {fragment}
  filelog {{ all {{ path = {self.log}
    default = 1
    ike = 4
    chd = 4
    enc = 1
    cfg = 1
    flush_line = yes }} }}
  plugins {{ vici {{ socket = unix://{self.dir}/vici.sock }}
    kernel-libipsec {{ allow_peer_ts = yes }} kernel-netlink {{ fwmark = !0x42 }} socket-default {{ fwmark = 0x42 }} }}
}}
""")
        other = GATEWAY if who == "client" else CLIENT
        proposals = f"proposals = {case['ike']}" if "ike" in case else ""
        esp = f"esp_proposals = {case['esp']}" if "esp" in case else ""
        send = f"send_cert = {case['send_cert']}" if "send_cert" in case else ""
        addresses = f"local_addrs = {CLIENT if who == 'client' else GATEWAY}\nremote_addrs = {other}"
        vips = "vips = 0.0.0.0" if who == "client" else "pools = pool"
        ts = "remote_ts = 0.0.0.0/0" if who == "client" else "local_ts = 0.0.0.0/0"
        self.write("swanctl.conf", f"""connections {{ rec {{
  version = 2
  {addresses}
  {proposals}
  {send}
  {vips}
  {case[who]}
  children {{ net {{
    {esp}
    {ts} }} }} }} }}
pools {{ pool {{
  addrs = 10.10.10.0/24
  dns = 192.168.100.53 }} }}
secrets {{ {case['secrets']} }}
""".replace(" id =", "\n id =").replace(" eap_id =", "\n eap_id =").replace(" certs =", "\n certs =")
                   .replace(" secret =", "\n secret ="))
        script = (f"mount --make-rprivate / && mount --bind {self.dir}/run /run && "
                  f"STRONGSWAN_CONF={self.dir}/strongswan.conf exec /usr/lib/ipsec/charon")
        self.process = subprocess.Popen(["ip", "netns", "exec", self.name, "unshare", "-m", "sh", "-c", script],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for("the socket of charon", lambda: os.path.exists(f"{self.dir}/vici.sock"))
        print(self.swanctl("--load-all", "--noprompt"))

    def write(self, name, text):
        with open(f"{self.dir}/{name}", "w") as file:
            file.write(text)

    def swanctl(self, *args):
        env = dict(os.environ, SWANCTL_DIR=self.dir, STRONGSWAN_CONF=f"{self.dir}/strongswan.conf")
        return run("swanctl", *args, "--uri", f"unix://{self.dir}/vici.sock", env=env)

    def text(self):
        return open(self.log).read()

    def close(self):
        self.process.terminate()
        self.process.wait()


class Capture:
    def __init__(self, net, who, device, path, expression=()):
        self.path = path
        self.process = subprocess.Popen(["ip", "netns", "exec", net.names[who], "tcpdump", "-i", device, "--immediate-mode", "-U", "-n",
                                         "-s", "0", "-Z", "root", "-B", "4096", "-w", path, *expression],
                                        stderr=subprocess.PIPE, text=True)
        for line in self.process.stderr:
            if "listening on" in line:
                break

    def close(self):
        self.process.terminate()
        self.process.wait()

    def packets(self):
        """IP packets, in order."""
        data = open(self.path, "rb").read()
        link = struct.unpack("<I", data[20:24])[0]
        skip = {1: 14, 101: 0, 12: 0}[link]
        at, found = 24, []
        while at < len(data):
            _, _, length, _ = struct.unpack("<IIII", data[at:at + 16])
            packet = data[at + 16 + skip:at + 16 + length]
            if packet[0] >> 4 == 4:
                found.append(packet[:struct.unpack(">H", packet[2:4])[0]])
            at += 16 + length
        return found


def record(name, case):
    net = Network()
    daemons, captures = [], []
    try:
        with tempfile.TemporaryDirectory() as directory:
            if "keys" in case:
                certificates(case, directory)
            server = Daemon("server", case, net, directory, directory)
            daemons.append(server)
            client = Daemon("client", case, net, directory, directory)
            daemons.append(client)
            outer = Capture(net, "server", "eth0", f"{directory}/outer.pcap", ["udp"])
            captures.append(outer)
            wait_for("the TUN device", lambda: "ipsec0" in run("ip", "-n", net.names["client"], "link"))
            inner = Capture(net, "client", "ipsec0", f"{directory}/inner.pcap")
            captures.append(inner)
            client.swanctl("--initiate", "--child", "net")
            for step in case["steps"]:
                if step == "ping":
                    net.inside(net.names["client"], "ping", "-c", "3", "-i", "0.05", "-s", "72", TARGET)
                elif step == "terminate":
                    client.swanctl("--terminate", "--ike", "rec")
                else:
                    client.swanctl("--rekey", "--child" if step == "rekey-child" else "--ike",
                                   "net" if step == "rekey-child" else "rec")
                    # The old SA is deleted in an exchange of its own.
                    gone = "CHILD_SA closed" if step == "rekey-child" else "IKE_SA deleted"
                    wait_for(step, lambda: gone in client.text())
            time.sleep(0.3)
            for part in captures:
                part.close()
            captures.clear()
            write(name, case, directory, outer.packets(), inner.packets(), client.text())
    finally:
        for part in captures + daemons:
            part.close()
        net.close()


def dumps(log):
    """All `name => N bytes` dumps of a log and its other lines, in order."""
    found, current = [], None
    for line in log.splitlines():
        text = re.sub(r"^\d+\[\w+\] (<[^>]*> )?", "", line)
        start = re.match(r"(.*?) ?=> (\d+) bytes @ 0x", text)
        row = re.match(r"\s+\d+: ((?:[0-9A-F]{2} ?){1,16})", text)
        if start:
            current = [start.group(1), int(start.group(2)), b""]
            found.append(current)
        elif row and current is not None and len(current[2]) < current[1]:
            current[2] += bytes.fromhex(row.group(1))[:current[1] - len(current[2])]
        else:
            current = None
            found.append([text, None, None])
    return found


def write(name, case, directory, outer, inner, log):
    lines = dumps(log)
    version = re.search(r"\(strongSwan ([0-9.]+)", log).group(1)
    date = datetime.date.today().isoformat()
    with open(f"{HERE}/{name}.txt", "w") as file:
        def block(entries):
            file.write("\n" + "".join(f"{key} = {quote(value)}\n" for key, value in entries))

        file.write(f"# Two strongSwan {version} daemons (Debian 12), recorded by record.py on {date}; see README.md.\n")
        file.write(f"# {case['about']}.\n")
        facts = [("record", "facts"), *case["facts"].items()]
        if "password" in case["facts"]:
            # The key that both AUTH payloads of an EAP authentication are made with is the MSK (RFC 7296 section 2.16).
            facts.append(("msk", next(value for text, length, value in lines if text == "secret" and length == 64)))
        if "keys" in case:
            der = lambda kind, path: subprocess.run(
                ["openssl", kind, "-in", f"{directory}/{path}", "-outform", "DER"], check=True, capture_output=True).stdout
            facts.append(("ca", der("x509", "ca.crt")))
            for who in case["keys"]:
                facts.append((f"{who}_certificate", der("x509", f"{who}.crt")))
                key = subprocess.run(["openssl", "pkcs8", "-topk8", "-nocrypt", "-in", f"{directory}/{who}.key",
                                      "-outform", "DER"], check=True, capture_output=True).stdout
                facts.append((f"{who}_key_pkcs8", key))
        block(facts)
        datagrams = [parse(packet) for packet in outer]
        datagrams = [datagram for datagram in datagrams if datagram]
        for sa in ike_keys(lines, datagrams):
            block(sa)
        for sa in child_keys(lines):
            block(sa)
        insides = {"initiator": [], "responder": []}
        for packet in inner:
            insides["responder" if packet[12:16] == bytes([192, 168, 100, 1]) else "initiator"].append(packet)
        for who, source, target, payload in datagrams:
            entries = [("from", who), ("source_port", struct.pack(">H", source)),
                       ("destination_port", struct.pack(">H", target)), ("datagram", payload)]
            if payload[:4] != bytes(4) and target != 500 and len(payload) > 1:
                entries.insert(0, ("record", "esp"))
                entries.append(("inner", insides[who].pop(0)))
            else:
                entries.insert(0, ("record", "keepalive" if len(payload) == 1 else "ike"))
            block(entries)
        assert not insides["initiator"] and not insides["responder"], "inner packets without ESP"
    print(name, len(datagrams), "datagrams")


def quote(value):
    return f'"{value}"' if isinstance(value, str) else value.hex()


def parse(packet):
    header = (packet[0] & 15) * 4
    if packet[9] != 17:
        return None
    source, target, length = struct.unpack(">HHH", packet[header:header + 6])
    who = "initiator" if packet[12:16] == bytes([203, 0, 113, 2]) else "responder"
    return who, source, target, packet[header + 8:header + length]


NAMES = {"shared Diffie Hellman secret": "g_ir", "SKEYSEED": "skeyseed", "Sk_d secret": "sk_d", "Sk_ai secret": "sk_ai",
         "Sk_ar secret": "sk_ar", "Sk_ei secret": "sk_ei", "Sk_er secret": "sk_er", "Sk_pi secret": "sk_pi",
         "Sk_pr secret": "sk_pr"}


def ike_keys(lines, datagrams):
    """A block for each IKE SA, in the order of their making: the SPIs are those of the datagrams."""
    spis = []
    for _, _, target, payload in datagrams:
        message = payload if target == 500 else payload[4:] if payload[:4] == bytes(4) else b""
        pair = message[:16]
        if len(message) >= 28 and pair[8:] != bytes(8) and pair not in spis:
            spis.append(pair)
    blocks, shared = [], None
    for text, length, value in lines:
        if length is None or text not in NAMES:
            continue
        if text == "shared Diffie Hellman secret":
            shared = value
            continue
        if text == "SKEYSEED":
            blocks.append([("record", "ike_sa"), ("g_ir", shared)])
        blocks[-1].append((NAMES[text], value))
    suites = [re.sub(r".*selected proposal: IKE:", "", text) for text, length, _ in lines
              if length is None and "selected proposal: IKE:" in text]
    assert len(blocks) == len(spis) == len(suites), (len(blocks), len(spis), suites)
    for entries, pair, suite in zip(blocks, spis, suites):
        entries[1:1] = [("spi_i", pair[:8]), ("spi_r", pair[8:]), ("suite", suite)]
    return blocks


def child_keys(lines):
    blocks, keys, suites = [], {}, []
    for text, length, value in lines:
        if length is not None and text == "DH secret":
            keys["g_ir"] = value
        found = re.match(r"(encryption|integrity) (initiator|responder) key", text)
        if length is not None and found:
            short = {"encryption": "encr", "integrity": "integ"}[found.group(1)]
            keys[f"{short}_{found.group(2)[0]}"] = value
        if length is None and "selected proposal: ESP:" in text:
            suites.append(re.sub(r".*selected proposal: ESP:", "", text))
        done = re.search(r"(?<!outbound )CHILD_SA net\{\d+\} established with SPIs ([0-9a-f]{8})_i ([0-9a-f]{8})_o", text)
        if length is None and done:
            blocks.append([("record", "child_sa"), ("suite", suites[-1]), ("spi_to_i", bytes.fromhex(done.group(1))),
                           ("spi_to_r", bytes.fromhex(done.group(2))), *sorted(keys.items())])
            keys = {}
    return blocks


def main():
    for name, case in CASES.items():
        record(name, case)


if __name__ == "__main__":
    main()
