//! FreeRADIUS beside the gateway: the EAP server for what strongSwan itself cannot do.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::Path,
    process::Command,
};

use anyhow::{Context, Result, ensure};

use super::charon::{CharonConfig, START};
use crate::{
    net::Place,
    process::{Process, run},
    rig::Rig,
};

/// What gateway and RADIUS server share.
const SECRET: &str = "testing123";

/// How the server shall behave.
#[derive(Debug, Clone)]
pub(crate) struct FreeRadiusConfig {
    /// The first EAP method offered: `md5`, `mschapv2`, `ttls`, `tls`, `gtc`.
    pub(crate) default_eap_type: &'static str,
    /// The EAP method offered first inside EAP-TTLS.
    pub(crate) inner_eap_type: &'static str,
    /// The lowest and the highest TLS version.
    pub(crate) tls_versions: (&'static str, &'static str),
    /// The `users` file: a user and password, and indented replies behind.
    pub(crate) users: String,
    /// Tell why MSCHAPv2 failed.
    pub(crate) send_error: bool,
}

impl FreeRadiusConfig {
    /// Offers this method first; `alice` with `secret` may in.
    pub(crate) fn new(default_eap_type: &'static str) -> Self {
        let users = user("alice", "secret", &[]);
        let tls_versions = ("1.2", "1.2");
        Self { default_eap_type, inner_eap_type: "mschapv2", tls_versions, users, send_error: false }
    }
}

/// An entry of the `users` file: replies such as `Session-Timeout = 25`.
pub(crate) fn user(name: &str, password: &str, replies: &[&str]) -> String {
    let replies = if replies.is_empty() { String::new() } else { format!("\t{}\n", replies.join(",\n\t")) };
    format!("{name} Cleartext-Password := \"{password}\"\n{replies}")
}

/// A running RADIUS server in the gateway namespace.
pub(crate) struct FreeRadius {
    pub(crate) process: Process,
}

impl FreeRadius {
    /// Starts the server and waits until it serves.
    pub(crate) fn start(rig: &Rig, config: &FreeRadiusConfig) -> Result<Self> {
        let name = rig.process_name("radius");
        let dir = rig.dir.join(&name);
        fs::create_dir_all(&dir)?;
        let (user, group) = freerad()?;
        let put = |name: &str, text: &str| -> Result<()> {
            let path = dir.join(name);
            fs::write(&path, text)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
            Ok(chown(&path, Some(user), Some(group))?)
        };
        for file in ["radius.crt", "radius.key", "ca.crt"] {
            put(file, &fs::read_to_string(rig.pki.ike(file))?)?;
        }
        put("users", &config.users)?;
        put("radiusd.conf", &radiusd_conf(&dir, config))?;
        chown(&dir, Some(user), Some(group))?;
        let mut command = rig.net.command(Place::Gateway, "setpriv");
        command.args([&format!("--reuid={user}"), &format!("--regid={group}"), "--clear-groups", "--", "freeradius"]);
        command.arg("-d").arg(&dir).args(["-X"]);
        let process = Process::spawn(&name, &rig.dir, &mut command)?;
        process.wait_text(0, "Ready to process requests", START).context("FreeRADIUS does not start")?;
        Ok(Self { process })
    }

    /// How often somebody was let in.
    pub(crate) fn logins(&self) -> usize {
        // Of the inner and the outer server of EAP-TTLS, the outer.
        self.process.count("Sent Access-Accept")
    }

    /// Demands a line that must be there by now.
    pub(crate) fn expect(&self, text: &str) -> Result<()> {
        ensure!(self.process.count(text) > 0, "the log of FreeRADIUS has no {text:?}");
        Ok(())
    }
}

/// A gateway that leaves EAP to the RADIUS server, and proves itself with its certificate.
pub(crate) fn gateway() -> CharonConfig {
    CharonConfig::gateway()
        .without_plugin("eap-mschapv2")
        .without_plugin("eap-tls")
        .without_plugin("eap-ttls")
        .plugin_before("eap-radius", "vici")
        .daemon("plugins.eap-radius.servers.fr.address", "127.0.0.1")
        .daemon("plugins.eap-radius.servers.fr.secret", SECRET)
        .certificate("server")
        .conn("send_cert", "always")
        .conn("over_time", "5s")
        .conn("pools", "radius, p4")
        .conn("remote.auth", "eap-radius")
        .conn("remote.eap_id", "%any")
        .conn("remote.id", "%any")
}

/// The user and group Debian's package made.
fn freerad() -> Result<(u32, u32)> {
    let id = |kind: &str| -> Result<u32> {
        run(Command::new("id").args([kind, "freerad"]))?.trim().parse().context("the id of freerad")
    };
    Ok((id("-u")?, id("-g")?))
}

fn radiusd_conf(dir: &Path, config: &FreeRadiusConfig) -> String {
    RADIUSD_CONF
        .replace("@DIR", &dir.display().to_string())
        .replace("@SECRET", SECRET)
        .replace("@TYPE", config.default_eap_type)
        .replace("@INNER", config.inner_eap_type)
        .replace("@MIN", config.tls_versions.0)
        .replace("@MAX", config.tls_versions.1)
        .replace("@ERROR", if config.send_error { "yes" } else { "no" })
}

const RADIUSD_CONF: &str = r#"
libdir = /usr/lib/freeradius
raddbdir = @DIR
logdir = @DIR
run_dir = @DIR
log {
  destination = stdout
  auth = yes
}
security {
  reject_delay = 0
}
proxy_requests = no
client gw {
  ipaddr = 127.0.0.1
  secret = @SECRET
}
modules {
  files {
    usersfile = @DIR/users
  }
  always ok {
    rcode = ok
  }
  pap {
  }
  chap {
  }
  mschap {
  }
  eap {
    default_eap_type = @TYPE
    md5 {
    }
    gtc {
      auth_type = PAP
    }
    mschapv2 {
      send_error = @ERROR
    }
    tls-config tls-common {
      private_key_file = @DIR/radius.key
      certificate_file = @DIR/radius.crt
      ca_file = @DIR/ca.crt
      tls_min_version = "@MIN"
      tls_max_version = "@MAX"
      cipher_list = "DEFAULT"
    }
    tls {
      tls = tls-common
    }
    ttls {
      tls = tls-common
      default_eap_type = @INNER
      use_tunneled_reply = yes
      virtual_server = inner
    }
    peap {
      tls = tls-common
      default_eap_type = mschapv2
      use_tunneled_reply = yes
      virtual_server = inner
    }
  }
}
server default {
  listen {
    type = auth
    ipaddr = 127.0.0.1
    port = 1812
  }
  listen {
    type = acct
    ipaddr = 127.0.0.1
    port = 1813
  }
  authorize {
    eap {
      ok = return
    }
    files
    mschap
    pap
  }
  authenticate {
    Auth-Type PAP {
      pap
    }
    Auth-Type MS-CHAP {
      mschap
    }
    eap
  }
  accounting {
    ok
  }
}
server inner {
  authorize {
    chap
    mschap
    eap {
      ok = return
    }
    files
    pap
  }
  authenticate {
    Auth-Type PAP {
      pap
    }
    Auth-Type CHAP {
      chap
    }
    Auth-Type MS-CHAP {
      mschap
    }
    eap
  }
}
"#;
