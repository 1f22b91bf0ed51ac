#!/usr/bin/env python3
"""Records the control packets of two real openvpn processes, one file for each way of wrapping.

    unshare --net python3 capture.py

Everything stays in a network namespace of its own: server and client talk over loopback through a relay in this
script, which notes each datagram. Keys are made anew, and committed beside the captures: they protect nothing.
"""

import os
import select
import socket
import subprocess
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
SERVER_PORT, RELAY_PORT = 11940, 11941
DATA_OPCODES = (6, 9)

CASES = {
    # name: (options of the server, options of the client)
    "none": ([], []),
    "tls_auth_sha1_bidirectional": (["--auth", "SHA1", "--tls-auth", "static.key"],) * 2,
    "tls_auth_sha256_inverse": (
        ["--auth", "SHA256", "--tls-auth", "static.key", "0"],
        ["--auth", "SHA256", "--tls-auth", "static.key", "1"],
    ),
    "tls_auth_sha512_normal": (
        ["--auth", "SHA512", "--tls-auth", "static.key", "1"],
        ["--auth", "SHA512", "--tls-auth", "static.key", "0"],
    ),
    "tls_crypt": (["--tls-crypt", "static.key"],) * 2,
    "tls_crypt_v2": (
        ["--tls-crypt-v2", "tls-crypt-v2-server.key", "allow-noncookie"],
        ["--tls-crypt-v2", "tls-crypt-v2-client.key"],
    ),
    "tls_crypt_v2_cookie": (
        ["--tls-crypt-v2", "tls-crypt-v2-server.key", "force-cookie"],
        ["--tls-crypt-v2", "tls-crypt-v2-client.key"],
    ),
}


def run(*command):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def make_certificates(directory):
    """A CA and one certificate for each end; thrown away afterwards."""
    os.chdir(directory)
    ec = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    run("openssl", "req", "-x509", *ec, "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=ca", "-days", "3650")
    for name in ("server", "client"):
        run("openssl", "req", *ec, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        run("openssl", "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-out",
            f"{name}.crt", "-days", "3650")


def make_keys():
    os.chdir(HERE)
    run("openvpn", "--genkey", "secret", "static.key")
    run("openvpn", "--genkey", "tls-crypt-v2-server", "tls-crypt-v2-server.key")
    run("openvpn", "--tls-crypt-v2", "tls-crypt-v2-server.key", "--genkey", "tls-crypt-v2-client",
        "tls-crypt-v2-client.key")


def wait_for(log, text, process):
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        content = open(log).read()
        if text in content:
            return
        if process.poll() is not None:
            break
        time.sleep(0.05)
    raise SystemExit(f"{log}: no {text!r}:\n{open(log).read()}")


def relay(done):
    """Passes datagrams on and notes them, until `done()` and then a second more."""
    outside = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    outside.bind(("127.0.0.1", RELAY_PORT))
    inside = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    inside.connect(("127.0.0.1", SERVER_PORT))
    packets, client, end = [], None, None
    while end is None or time.monotonic() < end:
        for ready in select.select([outside, inside], [], [], 0.1)[0]:
            if ready is outside:
                datagram, client = outside.recvfrom(65536)
                packets.append(("client", datagram))
                inside.send(datagram)
            else:
                datagram = inside.recv(65536)
                packets.append(("server", datagram))
                outside.sendto(datagram, client)
        if end is None and done():
            end = time.monotonic() + 1
    return [(who, datagram) for who, datagram in packets if datagram[0] >> 3 not in DATA_OPCODES]


def capture(name, certificates, server_options, client_options):
    def common(who):
        return ["--cd", HERE, "--verb", "4", "--dev", "tun", "--proto", "udp4", "--ca", f"{certificates}/ca.crt",
                "--cert", f"{certificates}/{who}.crt", "--key", f"{certificates}/{who}.key",
                "--log", f"{certificates}/{name}.{who}.log"]

    server_log, client_log = (f"{certificates}/{name}.{who}.log" for who in ("server", "client"))
    server = subprocess.Popen(
        ["openvpn", *common("server"), "--server", "10.77.0.0", "255.255.255.0", "--topology", "subnet", "--dh", "none",
         "--local", "127.0.0.1", "--port", str(SERVER_PORT), *server_options])
    client = None
    try:
        time.sleep(0.3)
        wait_for(server_log, "Initialization Sequence Completed", server)
        client = subprocess.Popen(
            ["openvpn", *common("client"), "--client", "--nobind", "--remote", "127.0.0.1", str(RELAY_PORT),
             "--ifconfig-noexec", "--route-noexec", *client_options])

        def done():
            if client.poll() is not None:
                raise SystemExit(open(client_log).read())
            return os.path.exists(client_log) and "Initialization Sequence Completed" in open(client_log).read()

        packets = relay(done)
    finally:
        for process in filter(None, (client, server)):
            process.terminate()
            process.wait()

    version = subprocess.run(["openvpn", "--version"], capture_output=True, text=True).stdout.split()[1]
    with open(f"{HERE}/{name}.txt", "w") as file:
        file.write(f"# Control packets of OpenVPN {version}, both ends, taken by capture.py.\n")
        file.write(f"# server: {' '.join(server_options)}\n# client: {' '.join(client_options)}\n")
        for who, datagram in packets:
            file.write(f"\n{who} = {datagram.hex()}\n")
    print(name, len(packets), "packets")


def main():
    run("ip", "link", "set", "lo", "up")
    make_keys()
    with tempfile.TemporaryDirectory() as certificates:
        make_certificates(certificates)
        for name, (server_options, client_options) in CASES.items():
            capture(name, certificates, server_options, client_options)


if __name__ == "__main__":
    main()
