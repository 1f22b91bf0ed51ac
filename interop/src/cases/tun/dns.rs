//! DNS servers of the gateway: by systemd-resolved, by `resolvconf`, by the file.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Result, ensure};

use super::{Case, case, profile};
use crate::{
    config::{self, Lines, Transport},
    needs::Need,
    net::Place,
    process::{Process, run},
    resolv_conf::ResolvConf,
    rig::Rig,
    server::Server,
    tools::dns,
    up::{self, Up},
};

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("tun_dns_file", file),
        case("tun_dns_two", two).takes(15),
        case("tun_dns_resolvconf", resolvconf),
        case("tun_dns_resolvconf_broken", resolvconf_broken),
        case("tun_dns_resolved", resolved).needs(Need::Resolved),
        case("tun_dns_elsewhere", elsewhere).needs(Need::Resolved),
    ]
}

pub(super) const BEFORE: &str = "# as the case has it\nnameserver 203.0.113.53\n";

fn server_with_dns(rig: &Rig) -> Result<Server> {
    let server: Lines = config::server(&rig.pki, Transport::Udp)
        .with("push \"dhcp-option DNS 192.168.100.30\"\npush \"dhcp-option DOMAIN-SEARCH corp.example\"");
    Server::start(rig, &server)
}

/// The page of a host that only the gateway's DNS knows, by the machine's own resolver.
fn page_by_name(rig: &Rig) -> Result<String> {
    let page = format!("http://{}:8080/", dns::NAME);
    run(rig.net.command(Place::Client, "curl").args(["--silent", "--show-error", "--max-time", "20", &page]))
}

fn file(rig: &Rig) -> Result<()> {
    let _lan = rig.start_lan()?;
    let resolver = ResolvConf::new(rig, Place::Client, BEFORE)?;
    let _server = server_with_dns(rig)?;
    let before = up::picture(rig, Place::Client)?;
    ensure!(before.contains("203.0.113.53"), "the namespace has no resolv.conf of its own: {before}");
    let up = Up::openvpn(rig, &profile(rig)?, &["--dns", "file"])?;
    ensure!(page_by_name(rig)? == crate::tools::serve::HELLO, "another page");
    ensure!(resolver.text()?.contains("search corp.example"), "the file is {:?}", resolver.text()?);
    up.close()?;
    up::prove_undone(rig, &before)?;
    // After a crash, too.
    Up::openvpn(rig, &profile(rig)?, &["--dns", "file"])?.end("KILL", None)?;
    ensure!(resolver.text()? != BEFORE, "there was nothing to undo");
    run(rig.net.command(Place::Client, &rig.adit).args(["down", "--state-dir"]).arg(up::state_dir(rig)))?;
    ensure!(resolver.text()? == BEFORE, "the file is {:?}", resolver.text()?);
    rig.prove_gone()
}

/// Two processes write to one file, where there was one before and where there was none; whichever ends first, the other is asked
/// until it ends, too, and then it is as before.
fn two(rig: &Rig) -> Result<()> {
    let _lan = rig.start_lan()?;
    let dns = "push \"dhcp-option DNS 192.168.100.30\"";
    let _server = Server::start(rig, &config::server(&rig.pki, Transport::Udp).with(dns).with("duplicate-cn"))?;
    let name = rig.net.name(Place::Client);
    let folder = Path::new("/etc/netns").join(&name);
    // Each has a way to the server of names.
    let begin = |device: &str| {
        let route = if device == "one0" { "192.168.100.0/24" } else { "192.168.100.30/32" };
        Up::openvpn(rig, &profile(rig)?, &["--name", device, "--route", route, "--netns", &name])
    };
    for existed in [true, false] {
        for first in ["one0", "two0"] {
            let resolver = existed.then(|| ResolvConf::new(rig, Place::Client, BEFORE)).transpose()?;
            let before = up::picture(rig, Place::Client)?;
            let (one, two) = (begin("one0")?, begin("two0")?);
            let text = || fs::read_to_string(folder.join("resolv.conf"));
            ensure!(text()?.contains("for one0") && text()?.contains("for two0"), "the file is {:?}", text()?);
            let (ends, stays, other) = if first == "one0" { (one, two, "two0") } else { (two, one, "one0") };
            ends.close()?;
            ensure!(!text()?.contains(first), "{first} has ended, the file is {:?}", text()?);
            ensure!(text()?.starts_with(&format!("# Written by adit for {other}")), "the file is {:?}", text()?);
            ensure!(page_by_name(rig)? == crate::tools::serve::HELLO, "another page");
            stays.close()?;
            match &resolver {
                Some(resolver) => ensure!(resolver.text()? == BEFORE, "the file is {:?}", resolver.text()?),
                None => ensure!(!folder.exists(), "{} was left behind", folder.display()),
            }
            up::prove_undone(rig, &before)?;
        }
    }
    rig.prove_gone()
}

/// Servers that cannot be taken out again keep nobody from starting; what is to be done is said, and then it can be forgotten.
fn resolvconf_broken(rig: &Rig) -> Result<()> {
    let _lan = rig.start_lan()?;
    let _server = server_with_dns(rig)?;
    let bin = rig.dir.join("bin");
    fs::create_dir_all(&bin)?;
    let program = bin.join("resolvconf");
    fs::write(&program, "#!/bin/sh\ncat > /dev/null\ntest \"$1\" = -a\n")?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    let file = rig.dir.join("office.ovpn");
    fs::write(&file, profile(rig)?.text())?;
    let source = ["--config".to_owned(), file.display().to_string()];
    let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", bin.display());
    let before = up::picture(rig, Place::Client)?;
    let start = || -> Result<Up> {
        let mut command = up::up_command(rig, &source, &["--dns", "resolvconf"]);
        let process = Process::spawn(&rig.process_name("up"), &rig.dir, command.env("PATH", &path))?;
        process.wait_text(0, "up adit0", up::UP)?;
        Ok(Up { process, inside: Place::Client })
    };
    let said = "DNS servers of resolvconf cannot be undone: ";
    let up = start()?;
    up.process.signal("TERM")?;
    up.process.wait_text(0, said, up::UP)?;
    up.process.wait_end(up::UP)?;
    start()?.end("KILL", None)?;
    let up = start()?;
    up.process.wait_text(0, &format!("of what an earlier process has left behind, {said}"), up::UP)?;
    up.process.wait_text(0, "by hand: `resolvconf -d adit0.adit`", up::UP)?;
    up.close()?;
    let down = |force: &[&str]| -> Result<Process> {
        let mut command = rig.net.command(Place::Client, &rig.adit);
        command.args(["down", "--state-dir"]).arg(up::state_dir(rig)).args(force).env("PATH", &path);
        let down = Process::spawn(&rig.process_name("down"), &rig.dir, &mut command)?;
        let status = down.wait_end(up::UP)?;
        let wanted = if force.is_empty() { 7 } else { 0 };
        ensure!(status.code() == Some(wanted), "{force:?}: it ended with {status}");
        down.wait_text(0, said, up::UP)?;
        Ok(down)
    };
    down(&[])?.wait_text(0, "`adit down --name adit0 --force` forgets it", up::UP)?;
    down(&["--force"])?;
    ensure!(fs::read_dir(up::state_dir(rig))?.next().is_none(), "a journal was left");
    up::prove_undone(rig, &before)?;
    rig.prove_gone()
}

/// A program of that name that notes what it is told: neither of the real ones can run here beside the machine's own.
fn resolvconf(rig: &Rig) -> Result<()> {
    let _lan = rig.start_lan()?;
    let _server = server_with_dns(rig)?;
    let (bin, noted) = (rig.dir.join("bin"), rig.dir.join("resolvconf.txt"));
    fs::create_dir_all(&bin)?;
    let program = bin.join("resolvconf");
    fs::write(&program, format!("#!/bin/sh\n(echo \"$@\"; cat) >> {}\n", noted.display()))?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    let file = rig.dir.join("office.ovpn");
    fs::write(&file, profile(rig)?.text())?;
    let source = ["--config".to_owned(), file.display().to_string()];
    let mut command = up::up_command(rig, &source, &["--dns", "resolvconf"]);
    command.env("PATH", format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", bin.display()));
    let process = Process::spawn(&rig.process_name("up"), &rig.dir, &mut command)?;
    process.wait_text(0, "up adit0", up::UP)?;
    Up { process, inside: Place::Client }.close()?;
    let noted = fs::read_to_string(noted)?;
    let lines: Vec<&str> = noted.lines().filter(|line| !line.starts_with('#')).collect();
    ensure!(
        lines == ["-a adit0.adit -m 0 -x", "search corp.example", "nameserver 192.168.100.30", "-d adit0.adit"],
        "it was told {noted:?}"
    );
    rig.prove_gone()
}

/// The real systemd-resolved, on a bus of its own in the client's namespace.
fn resolved(rig: &Rig) -> Result<()> {
    let _lan = rig.start_lan()?;
    let _server = server_with_dns(rig)?;
    let service = Service::start(rig, Place::Client)?;
    rig.note("systemd-resolved is the real one, on a bus of its own")?;
    let before = up::picture(rig, Place::Client)?;
    let asleep = service.link()?;
    let file = rig.dir.join("office.ovpn");
    fs::write(&file, profile(rig)?.text())?;
    let source = ["--config".to_owned(), file.display().to_string()];
    let dns = ["--dns", "resolved"];
    let run_as = ["--dns", "resolved", "--run-as", "65534"];
    for mut command in [
        up::up_command(rig, &source, &dns),
        up::up_command(rig, &source, &run_as),
        // What resolved judges by is who asks, not what it may: the unit is root therefore.
        up::unit_command(rig, &source, &dns),
    ] {
        command.env("DBUS_SYSTEM_BUS_ADDRESS", service.bus());
        let process = Process::spawn(&rig.process_name("up"), &rig.dir, &mut command)?;
        process.wait_text(0, "up adit0", up::UP)?;
        let up = Up { process, inside: Place::Client };
        let told = service.link()?;
        ensure!(told.contains("192.168.100.30") && told.contains("corp.example"), "resolved knows {told}");
        let found = service.resolve(dns::NAME)?;
        ensure!(found.contains("192.168.100.30"), "resolved finds {found:?}");
        up.close()?;
        ensure!(service.link()? == asleep, "resolved still knows {}", service.link()?);
    }
    up::prove_undone(rig, &before)?;
    Ok(())
}

/// systemd-resolved of another namespace, whose bus can be reached: by default it is told nothing, also where it has a link of the same
/// number, and the namespace's own file is used, which may have to be made. Whoever wants it nevertheless is refused.
fn elsewhere(rig: &Rig) -> Result<()> {
    let _lan = rig.start_lan()?;
    let _server = server_with_dns(rig)?;
    let links: String = (3..20)
        .map(|index| format!("link add d{index} index {index} type veth peer name e{index} index 9{index}\n"))
        .collect();
    rig.net.change(Place::Lan, &links)?;
    let service = Service::start(rig, Place::Lan)?;
    let asleep = service.link()?;
    let file = rig.dir.join("office.ovpn");
    fs::write(&file, profile(rig)?.text())?;
    let source = ["--config".to_owned(), file.display().to_string()];
    let start = |dns: &[&str]| -> Result<Process> {
        let mut command = rig.net.command(Place::Client, &rig.adit);
        command.args(["up", "--state-dir"]).arg(up::state_dir(rig)).args(&source).args(dns);
        Process::spawn(&rig.process_name("up"), &rig.dir, command.env("DBUS_SYSTEM_BUS_ADDRESS", service.bus()))
    };
    let folder = Path::new("/etc/netns").join(rig.net.name(Place::Client));
    for existed in [true, false] {
        let resolver = existed.then(|| ResolvConf::new(rig, Place::Client, BEFORE)).transpose()?;
        let before = up::picture(rig, Place::Client)?;
        let process = start(&[])?;
        process.wait_text(0, "up adit0", up::UP)?;
        let told = service.link()?;
        ensure!(told == asleep, "the other systemd-resolved was told {told}");
        process.wait_text(0, "systemd-resolved and resolvconf are not of this network namespace", up::UP)?;
        let text = fs::read_to_string(folder.join("resolv.conf"))?;
        ensure!(text.contains("192.168.100.30"), "the file is {text:?}");
        ensure!(page_by_name(rig)? == crate::tools::serve::HELLO, "another page");
        Up { process, inside: Place::Client }.close()?;
        match &resolver {
            Some(resolver) => ensure!(resolver.text()? == BEFORE, "the file is {:?}", resolver.text()?),
            None => ensure!(!folder.exists(), "{} was left behind", folder.display()),
        }
        up::prove_undone(rig, &before)?;
    }
    let refused = start(&["--dns", "resolved"])?;
    let status = refused.wait_end(up::UP)?;
    ensure!(status.code() == Some(7), "it ended with {status}");
    refused.wait_text(0, "is of another network namespace; say `file` for this one", up::UP)?;
    ensure!(service.link()? == asleep, "the other systemd-resolved was told {}", service.link()?);
    rig.prove_gone()
}

/// For either: with a `/run` of its own, a user to become, and no server that would be asked for what the case asks.
const START: &str = "\
mount --make-rprivate /
mkdir -p run/systemd/resolve run/systemd/resolved.conf.d
printf '[Resolve]\\nDNSStubListener=no\\nLLMNR=no\\nMulticastDNS=no\\nDNSSEC=no\\nDNS=203.0.113.53\\n' > run/systemd/resolved.conf.d/case.conf
for file in passwd group; do cp /etc/$file $file.new; mv $file.new $file; done
grep -q ^systemd-resolve: passwd || echo 'systemd-resolve:x:4243:4243::/:/usr/sbin/nologin' >> passwd
grep -q ^systemd-resolve: group || echo 'systemd-resolve:x:4243:' >> group
for file in passwd group; do mount --bind $file /etc/$file; done
chown systemd-resolve:systemd-resolve run/systemd/resolve
mount --bind run /run
exec \"$0\" \"$@\"
";

/// A bus and systemd-resolved on it.
struct Service {
    bus: PathBuf,
    net: Box<dyn Fn(&str) -> Command>,
    _processes: [Process; 2],
}

const BUS: &str = r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path=@BUS</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_destination="*" eavesdrop="false"/>
<allow receive_sender="*"/></policy></busconfig>
"#;

impl Service {
    fn start(rig: &Rig, place: Place) -> Result<Self> {
        let folder = rig.dir.join("bus");
        fs::create_dir_all(&folder)?;
        let (bus, config) = (folder.join("socket"), folder.join("bus.conf"));
        fs::write(&config, BUS.replace("@BUS", &bus.display().to_string()))?;
        let start = |program: &str| {
            let mut command = rig.net.command(place, "unshare");
            command.current_dir(&folder).args(["--mount", "sh", "-ec", START, program]);
            command
        };
        let mut command = start("dbus-daemon");
        command.arg(format!("--config-file={}", config.display())).args(["--nofork", "--print-address"]);
        let daemon = Process::spawn(&rig.process_name("dbus"), &rig.dir, &mut command)?;
        daemon.wait_text(0, "unix:path=", Duration::from_secs(10))?;
        let mut command = start(RESOLVED);
        command.env("DBUS_SYSTEM_BUS_ADDRESS", address(&bus)).env("SYSTEMD_LOG_LEVEL", "debug");
        command.env("SYSTEMD_LOG_TARGET", "console");
        let resolved = Process::spawn(&rig.process_name("resolved"), &rig.dir, &mut command)?;
        let name = rig.net.name(place);
        let net = move |program: &str| {
            let mut command = Command::new("ip");
            command.args(["netns", "exec", &name, program]);
            command
        };
        let this = Self { bus, net: Box::new(net), _processes: [daemon, resolved] };
        this.wait_ready()?;
        Ok(this)
    }

    fn bus(&self) -> String {
        address(&self.bus)
    }

    /// Waits until it has its name on the bus.
    fn wait_ready(&self) -> Result<()> {
        let mut command = (self.net)("busctl");
        command.args(["--timeout=30", "--watch-bind=yes", "introspect", "org.freedesktop.resolve1"]);
        command.arg("/org/freedesktop/resolve1").env("DBUS_SYSTEM_BUS_ADDRESS", self.bus());
        let deadline = std::time::Instant::now() + Duration::from_secs(30);
        // The bus cannot start it, so it says at once that there is nobody.
        while let Err(error) = run(&mut command) {
            ensure!(std::time::Instant::now() < deadline, "systemd-resolved does not come: {error}");
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// Servers and domains of all links.
    fn link(&self) -> Result<String> {
        let mut all = String::new();
        for property in ["DNS", "Domains"] {
            let mut command = (self.net)("busctl");
            command.args(["--json=short", "get-property", "org.freedesktop.resolve1", "/org/freedesktop/resolve1"]);
            command.args(["org.freedesktop.resolve1.Manager", property]).env("DBUS_SYSTEM_BUS_ADDRESS", self.bus());
            all += &readable(&run(&mut command)?)?;
        }
        Ok(all)
    }

    /// The IPv4 addresses of a name.
    fn resolve(&self, name: &str) -> Result<String> {
        let mut command = (self.net)("busctl");
        command.args(["--json=short", "call", "org.freedesktop.resolve1", "/org/freedesktop/resolve1"]);
        command.args(["org.freedesktop.resolve1.Manager", "ResolveHostname", "isit", "0", name, "2", "0"]);
        readable(&run(command.env("DBUS_SYSTEM_BUS_ADDRESS", self.bus()))?)
    }
}

const RESOLVED: &str = crate::needs::RESOLVED;

fn address(bus: &Path) -> String {
    format!("unix:path={}", bus.display())
}

/// The answer with addresses as people write them, in place of lists of four numbers.
fn readable(json: &str) -> Result<String> {
    fn walk(value: &serde_json::Value, all: &mut String) {
        if let Some(list) = value.as_array() {
            let bytes: Vec<u64> = list.iter().filter_map(serde_json::Value::as_u64).collect();
            if bytes.len() == 4 && list.len() == 4 {
                *all += &bytes.iter().map(u64::to_string).collect::<Vec<_>>().join(".");
                *all += " ";
                return;
            }
            list.iter().for_each(|value| walk(value, all));
        } else if let Some(object) = value.as_object() {
            object.values().for_each(|value| walk(value, all));
        } else {
            *all += &format!("{value} ");
        }
    }
    let mut all = String::new();
    walk(&serde_json::from_str(json)?, &mut all);
    Ok(all)
}
