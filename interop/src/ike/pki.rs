//! Certificates and keys of the IKEv2 cases, made by strongSwan's own `pki` as the customers do.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use anyhow::{Context, Result, anyhow};

use crate::{
    pki::{CLIENT_UID, PASSPHRASE},
    process::run,
};

/// The gateway's address in the customers' documentation, which their certificate names and nothing else.
pub(crate) const CUSTOMERS_ADDRESS: &str = "18.188.145.101";
/// The password of the container that the customers' recipe makes.
pub(crate) const CUSTOMERS_PASSWORD: &str = "password";

/// What `pki --gen` is told.
const KINDS: [(&str, &str); 6] = [
    ("", "--type ecdsa --size 256"),
    ("-rsa", "--type rsa --size 2048"),
    ("-p384", "--type ecdsa --size 384"),
    ("-p521", "--type ecdsa --size 521"),
    ("-ed25519", "--type ed25519"),
    ("-revoked", "--type ecdsa --size 256"),
];

/// A directory with everything below; certificates end with `.crt`, keys with `.key`.
///
/// - `ca`, `other-ca`: the CA of all the others, and one that signed nothing (ECDSA P-256); `crl.pem`: what `ca` revoked;
/// - `server`, `server-rsa`, `-p384`, `-p521`, `-ed25519`, `-expired`, `-revoked`: for `vpn.example.org` and the gateway's
///   addresses; `server-chain`: behind `sub1` and `sub2`, four kilobytes together;
/// - `client`, `client-rsa`, …: likewise, for `client.example.org`; `client-rsa-pkcs8.key`, `client-rsa-legacy.key` and
///   `client-rsa.p12` are encrypted with [`PASSPHRASE`];
/// - `radius`: the RADIUS server's, for `radius.example.org`;
/// - `customers-ca`, `customers-server`: the customers' recipe, RSA 4096; `customers-tls-ca`, `customers-client` and
///   `customers-client.p12`: its second part, encrypted with [`CUSTOMERS_PASSWORD`]; `customers-client-rc2.p12`: the same
///   container as the OpenSSL of Ubuntu 18.04 made it.
pub(crate) fn create(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir)?;
    let maker = Maker { dir: dir.to_owned() };
    // Two RSA keys of 4096 bits take as long as everything else together.
    thread::scope(|scope| {
        let customers = scope.spawn(|| maker.customers());
        maker.common()?;
        customers.join().map_err(|_| anyhow!("the customers' certificates: panic"))?
    })?;
    maker.set_permissions()
}

struct Maker {
    dir: PathBuf,
}

/// One certificate to be issued.
struct Leaf<'a> {
    name: &'a str,
    issuer: &'a str,
    subject: &'a str,
    /// Further arguments of `pki --issue`.
    args: String,
}

impl Maker {
    fn common(&self) -> Result<()> {
        self.authority("ca", "--type ecdsa --size 256", "C=CH, O=Interop, CN=Interop CA")?;
        self.authority("other-ca", "--type ecdsa --size 256", "C=CH, O=Interop, CN=Interop CA")?;
        let server = "--san vpn.example.org --san 203.0.113.1 --san 2001:db8::1 --flag serverAuth";
        let client = "--san client.example.org --san client@example.org --flag clientAuth";
        for (end, subject, args) in [
            ("server", "C=CH, O=Interop, CN=vpn.example.org", server),
            ("client", "C=CH, O=Interop, CN=client", client),
        ] {
            for (suffix, kind) in KINDS {
                let name = format!("{end}{suffix}");
                self.key(&name, kind)?;
                self.issue(&Leaf { name: &name, issuer: "ca", subject, args: args.to_owned() })?;
            }
            let name = format!("{end}-expired");
            self.key(&name, "--type ecdsa --size 256")?;
            let args = format!("{args} --dateform %Y-%m-%d --not-before 2020-01-01 --not-after 2021-01-01");
            self.issue(&Leaf { name: &name, issuer: "ca", subject, args })?;
        }
        self.chain(server)?;
        self.key("radius", "--type ecdsa --size 256")?;
        let args = "--san radius.example.org --flag serverAuth".to_owned();
        self.issue(&Leaf { name: "radius", issuer: "ca", subject: "CN=radius.example.org", args })?;
        let revoke = "--signcrl --cakey ca.key --cacert ca.crt --lifetime 30 --outform pem --cert server-revoked.crt --cert \
                      client-revoked.crt";
        self.pki(revoke, None, "crl.pem")?;
        self.wrapped_keys()
    }

    /// Certificates that say more than they need to: a chain of four kilobytes.
    fn chain(&self, server: &str) -> Result<()> {
        let names: String = (0..14).map(|number| format!(" --san {}-{number}.example.org", "x".repeat(50))).collect();
        for (name, issuer) in [("sub1", "ca"), ("sub2", "sub1"), ("server-chain", "sub2")] {
            self.key(name, "--type rsa --size 2048")?;
            let own = if name == "server-chain" { server } else { "--ca" };
            let subject = format!("C=CH, O=Interop, CN={name}");
            self.issue(&Leaf { name, issuer, subject: &subject, args: format!("{own} {names}") })?;
        }
        Ok(())
    }

    /// The ways users keep their keys.
    fn wrapped_keys(&self) -> Result<()> {
        fs::write(self.dir.join("passphrase"), PASSPHRASE)?;
        self.openssl(
            "pkcs8 -topk8 -in client-rsa.key -out client-rsa-pkcs8.key -v2 aes-256-cbc -passout file:passphrase",
        )?;
        self.openssl(
            "rsa -traditional -in client-rsa.key -aes256 -out client-rsa-legacy.key -passout file:passphrase",
        )?;
        self.openssl(
            "pkcs12 -export -in client-rsa.crt -inkey client-rsa.key -certfile ca.crt -out client-rsa.p12 -passout \
             file:passphrase",
        )
    }

    /// The customers' recipe, with the arguments of their documentation (facts, servers §2.1).
    fn customers(&self) -> Result<()> {
        fs::write(self.dir.join("customers-password"), CUSTOMERS_PASSWORD)?;
        self.authority("customers-ca", "--type rsa --size 4096", "CN=VPN root CA")?;
        self.key("customers-server", "--type rsa --size 4096")?;
        let args = format!("--san {CUSTOMERS_ADDRESS} --flag serverAuth --flag ikeIntermediate");
        let subject = format!("CN={CUSTOMERS_ADDRESS}");
        self.issue(&Leaf { name: "customers-server", issuer: "customers-ca", subject: &subject, args })?;
        self.authority("customers-tls-ca", "", "CN=VPN CA")?;
        self.key("customers-client", "")?;
        let args = "--san client --flag clientAuth".to_owned();
        self.issue(&Leaf { name: "customers-client", issuer: "customers-tls-ca", subject: "CN=client", args })?;
        for (name, how) in [("customers-client", ""), ("customers-client-rc2", "-legacy")] {
            self.openssl(&format!(
                "pkcs12 -export {how} -inkey customers-client.key -in customers-client.crt -name client -certfile \
                 customers-tls-ca.crt -caname VPN-CA -out {name}.p12 -passout file:customers-password"
            ))?;
        }
        Ok(())
    }

    fn key(&self, name: &str, kind: &str) -> Result<()> {
        self.pki(&format!("--gen {kind} --outform pem"), None, &format!("{name}.key"))
    }

    fn authority(&self, name: &str, kind: &str, subject: &str) -> Result<()> {
        self.key(name, kind)?;
        let args = format!("--self --ca --lifetime 3650 --in {name}.key --type priv --outform pem");
        self.pki(&args, Some(subject), &format!("{name}.crt"))
    }

    fn issue(&self, leaf: &Leaf<'_>) -> Result<()> {
        let Leaf { name, issuer, subject, args } = leaf;
        let lifetime = if args.contains("--not-after") { "" } else { "--lifetime 1825" };
        let args = format!(
            "--issue --in {name}.key --type priv --cacert {issuer}.crt --cakey {issuer}.key {args} {lifetime} --outform pem"
        );
        self.pki(&args, Some(subject), &format!("{name}.crt"))
    }

    fn pki(&self, args: &str, subject: Option<&str>, target: &str) -> Result<()> {
        let mut command = Command::new("pki");
        command.current_dir(&self.dir).args(args.split_whitespace());
        command.args(subject.into_iter().flat_map(|subject| ["--dn", subject]));
        fs::write(self.dir.join(target), run(&mut command)?).with_context(|| format!("cannot write {target}"))
    }

    fn openssl(&self, args: &str) -> Result<()> {
        run(Command::new("openssl").current_dir(&self.dir).args(args.split_whitespace())).map(drop)
    }

    /// The daemons run as root; what is the client's must be readable for its user alone.
    fn set_permissions(&self) -> Result<()> {
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let secret = [".key", ".p12", "passphrase", "-password"].iter().any(|end| name.ends_with(end));
            fs::set_permissions(&path, fs::Permissions::from_mode(if secret { 0o600 } else { 0o644 }))?;
            if secret && (name.contains("client") || name.contains("pass")) {
                chown(&path, Some(CLIENT_UID), Some(CLIENT_UID))?;
            }
        }
        fs::set_permissions(&self.dir, fs::Permissions::from_mode(0o755))?;
        Ok(())
    }
}
