//! Certificates and keys: made once for a run, shared by its cases.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevocationReason, RevokedCertParams, SerialNumber,
};
use time::{Duration, OffsetDateTime};

use crate::process::run;

/// The user the client runs as: `nobody`, who owns nothing.
pub(crate) const CLIENT_UID: u32 = 65534;

/// The password of every encrypted key and container.
pub(crate) const PASSPHRASE: &str = "open sesame";

/// A directory with everything below.
///
/// - `ca.crt`, `other-ca.crt`: the CA of all the others, and one that signed nothing;
/// - `server`, `server-plain` (no key usages), `server-expired`, `server-revoked`: `.crt` and `.key`;
/// - `alice`, `mallory` (revoked): client certificates; `crl.pem`: the list that revokes `mallory` and `server-revoked`;
/// - `ta.key`, `other-ta.key`: static keys; `v2-server.key`, `v2-client.key`: tls-crypt-v2;
/// - `rsa-ca.crt`, `rsa-server`, `rsa-client`, `dh2048.pem`: what easy-rsa makes, RSA 2048;
/// - `rsa-client.p12`, `rsa-client-pkcs8.key`, `rsa-client-legacy.key`: encrypted with [`PASSPHRASE`].
#[derive(Debug, Clone)]
pub(crate) struct Pki {
    dir: PathBuf,
}

impl Pki {
    /// Makes everything; about half a second, most of it for RSA keys.
    pub(crate) fn create(dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir)?;
        let pki = Self { dir: dir.to_owned() };
        pki.create_elliptic()?;
        pki.create_rsa()?;
        pki.create_static()?;
        pki.set_permissions()?;
        Ok(pki)
    }

    /// What [`Self::create`] made earlier.
    pub(crate) fn open(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// The path of a file.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The path of a file of the IKEv2 cases.
    pub(crate) fn ike(&self, name: &str) -> PathBuf {
        self.dir.join("ike").join(name)
    }

    /// The text of a file.
    pub(crate) fn text(&self, name: &str) -> Result<String> {
        fs::read_to_string(self.path(name)).with_context(|| format!("pki file {name}"))
    }

    fn create_elliptic(&self) -> Result<()> {
        let ca = Authority::new("Interop CA")?;
        self.write("ca.crt", &ca.certificate)?;
        self.write("other-ca.crt", &Authority::new("Interop CA")?.certificate)?;
        let server =
            Leaf { name: "server", serial: 2, usage: Some(ExtendedKeyUsagePurpose::ServerAuth), expired: false };
        let client =
            Leaf { name: "alice", serial: 3, usage: Some(ExtendedKeyUsagePurpose::ClientAuth), expired: false };
        self.leaf(&ca, "server", &server)?;
        self.leaf(&ca, "server-plain", &Leaf { serial: 4, usage: None, ..server })?;
        self.leaf(&ca, "server-expired", &Leaf { serial: 5, expired: true, ..server.clone() })?;
        self.leaf(&ca, "server-revoked", &Leaf { serial: 6, ..server })?;
        self.leaf(&ca, "alice", &client)?;
        self.leaf(&ca, "mallory", &Leaf { name: "mallory", serial: 7, ..client })?;
        self.write("crl.pem", &ca.revoke(&[6, 7])?)
    }

    fn leaf(&self, ca: &Authority, file: &str, leaf: &Leaf) -> Result<()> {
        let (certificate, key) = ca.sign(leaf)?;
        self.write(&format!("{file}.crt"), &certificate)?;
        self.write(&format!("{file}.key"), &key)
    }

    /// RSA by `openssl`, with the extensions easy-rsa gives.
    fn create_rsa(&self) -> Result<()> {
        self.write("server.ext", "basicConstraints=CA:FALSE\nkeyUsage=digitalSignature,keyEncipherment\nextendedKeyUsage=serverAuth\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid,issuer\n")?;
        self.write("client.ext", "basicConstraints=CA:FALSE\nkeyUsage=digitalSignature\nextendedKeyUsage=clientAuth\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid,issuer\n")?;
        self.openssl(
            "req -x509 -newkey rsa:2048 -nodes -keyout rsa-ca.key -out rsa-ca.crt -days 30 -subj /CN=EasyRSA",
        )?;
        for (name, subject, kind) in [("rsa-server", "server", "server"), ("rsa-client", "bob", "client")] {
            self.openssl(&format!(
                "req -newkey rsa:2048 -nodes -keyout {name}.key -out {name}.csr -subj /CN={subject}"
            ))?;
            self.openssl(&format!(
                "x509 -req -in {name}.csr -CA rsa-ca.crt -CAkey rsa-ca.key -CAcreateserial -days 30 -extfile {kind}.ext \
                 -out {name}.crt"
            ))?;
        }
        self.openssl("genpkey -genparam -algorithm DH -pkeyopt group:ffdhe2048 -out dh2048.pem")?;
        self.write("passphrase", PASSPHRASE)?;
        self.openssl(
            "pkcs8 -topk8 -in rsa-client.key -out rsa-client-pkcs8.key -v2 aes-256-cbc -passout file:passphrase",
        )?;
        self.openssl(
            "rsa -traditional -in rsa-client.key -aes256 -out rsa-client-legacy.key -passout file:passphrase",
        )?;
        self.openssl(
            "pkcs12 -export -in rsa-client.crt -inkey rsa-client.key -certfile rsa-ca.crt -name bob -out rsa-client.p12 \
             -passout file:passphrase",
        )
    }

    fn create_static(&self) -> Result<()> {
        self.openvpn(&["--genkey", "secret", "ta.key"])?;
        self.openvpn(&["--genkey", "secret", "other-ta.key"])?;
        self.openvpn(&["--genkey", "tls-crypt-v2-server", "v2-server.key"])?;
        self.openvpn(&["--tls-crypt-v2", "v2-server.key", "--genkey", "tls-crypt-v2-client", "v2-client.key"])
    }

    /// Servers run as root; what is the client's must be readable for its user, and for nobody else where it is secret.
    fn set_permissions(&self) -> Result<()> {
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let secret = name.ends_with(".key") || name.ends_with(".p12") || name == "passphrase";
            let servers = name.starts_with("server") || name.starts_with("rsa-server") || name.starts_with("v2-server");
            fs::set_permissions(&path, fs::Permissions::from_mode(if secret { 0o600 } else { 0o644 }))?;
            if secret && !servers && !name.contains("-ca") {
                chown(&path, Some(CLIENT_UID), Some(CLIENT_UID))?;
            }
        }
        fs::set_permissions(&self.dir, fs::Permissions::from_mode(0o755))?;
        Ok(())
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        fs::write(self.path(name), text).with_context(|| format!("cannot write {name}"))
    }

    fn openssl(&self, arguments: &str) -> Result<()> {
        run(Command::new("openssl").current_dir(&self.dir).args(arguments.split_whitespace())).map(drop)
    }

    fn openvpn(&self, arguments: &[&str]) -> Result<()> {
        run(Command::new("openvpn").current_dir(&self.dir).args(arguments)).map(drop)
    }
}

struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

#[derive(Clone)]
struct Leaf {
    name: &'static str,
    serial: u64,
    usage: Option<ExtendedKeyUsagePurpose>,
    expired: bool,
}

impl Authority {
    fn new(name: &str) -> Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.not_before = OffsetDateTime::now_utc() - Duration::days(60);
        params.not_after = OffsetDateTime::now_utc() + Duration::days(30);
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?.pem();
        Ok(Self { certificate, issuer: Issuer::new(params, key) })
    }

    fn sign(&self, leaf: &Leaf) -> Result<(String, String)> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, leaf.name);
        params.serial_number = Some(SerialNumber::from(leaf.serial));
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        if let Some(usage) = &leaf.usage {
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            params.extended_key_usages = vec![usage.clone()];
        }
        let now = OffsetDateTime::now_utc();
        params.not_before = now - Duration::days(30);
        params.not_after = if leaf.expired { now - Duration::days(1) } else { now + Duration::days(30) };
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok((certificate.pem(), key.serialize_pem()))
    }

    fn revoke(&self, serials: &[u64]) -> Result<String> {
        let now = OffsetDateTime::now_utc();
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: now - Duration::days(1),
            reason_code: Some(RevocationReason::KeyCompromise),
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: now - Duration::days(1),
            next_update: now + Duration::days(30),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        Ok(params.signed_by(&self.issuer)?.pem()?)
    }
}
