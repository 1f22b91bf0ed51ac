//! `tun = { … }` of a connection: TUN mode.

use std::path::PathBuf;

use serde::Deserialize;
use toml::{Spanned, de::DeValue};

use super::{draft::Given, problems::Problems, source::Source};
use crate::up::{DNS_OF_NAMESPACE, DNS_OF_NAMESPACE_HINT, DnsWay, Routing, TunOptions};

/// As it stands in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TunTable {
    device: Option<Spanned<String>>,
    netns: Option<Spanned<String>>,
    routing: Option<Spanned<RoutingForm>>,
    dns: Option<Spanned<DnsName>>,
    mtu: Option<u16>,
    mss: Option<u16>,
    user: Option<Spanned<String>>,
    #[serde(default)]
    fail_closed: bool,
    #[serde(default)]
    block_ipv6: bool,
    state_dir: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RoutingForm {
    Word(RoutingWord),
    Networks(Vec<String>),
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum RoutingWord {
    Pushed,
    Split,
    Full,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum DnsName {
    Auto,
    Resolved,
    Resolvconf,
    File,
    Off,
}

/// The longest name of a device on Linux.
const MAX_DEVICE: usize = 15;

/// What the table says.
pub(super) fn tun(source: &Source, table: Spanned<DeValue<'_>>, problems: &mut Problems) -> Option<Given<TunOptions>> {
    let place = source.place(&table.span());
    let table: TunTable = problems.catch(source.deserialized(table))?;
    let device = table.device.map(|device| source.given(device));
    if let Some(device) = &device
        && !is_device(&device.value)
    {
        let error = device.error(format!("`{}` is no name of a device", device.value.escape_debug()));
        problems.error(error.hint(format!("write 1 to {MAX_DEVICE} letters, digits, `-`, `_` or `.`")));
    }
    let netns = table.netns.map(|netns| source.given(netns));
    if let Some(netns) = netns.as_ref().filter(|netns| netns.value.is_empty() || netns.value.contains('/')) {
        let error = netns.error(format!("`{}` is no name of a network namespace", netns.value.escape_debug()));
        problems.error(error.hint("write a name that `ip netns list` shows"));
    }
    if let Some(netns) = netns.as_ref().filter(|netns| problems.looks_around() && !is_namespace(&netns.value)) {
        let problem = format!("there is no network namespace `{}` on this machine", netns.value.escape_debug());
        problems.warning(netns.error(problem).hint(format!("`ip netns add {}` makes it", netns.value.escape_debug())));
    }
    let user = table.user.map(|user| source.given(user));
    if let Some(user) = user.as_ref().filter(|user| user.value.is_empty()) {
        problems.error(user.error("the user is empty").hint("write NAME, UID, or either with `:GROUP`"));
    }
    let routing = table.routing.map(|routing| source.given(routing));
    let routing = match routing.map(|routing| (routing.value, routing.place)) {
        None | Some((RoutingForm::Word(RoutingWord::Pushed), _)) => Routing::Pushed,
        Some((RoutingForm::Word(RoutingWord::Full), _)) => Routing::Full,
        Some((RoutingForm::Word(RoutingWord::Split), _)) => Routing::Split,
        Some((RoutingForm::Networks(networks), place)) => {
            let networks = networks.into_iter().map(|network| Given::new(network, place.as_str()).network());
            Routing::Only(networks.filter_map(|network| problems.catch(network)).collect())
        }
    };
    let dns = table.dns.map(|dns| source.given(dns));
    let dns_place = dns.as_ref().map(|dns| dns.place.clone());
    let dns = match dns.map(|dns| dns.value) {
        None | Some(DnsName::Auto) => DnsWay::Auto,
        Some(DnsName::Resolved) => DnsWay::Resolved,
        Some(DnsName::Resolvconf) => DnsWay::Resolvconf,
        Some(DnsName::File) => DnsWay::File,
        Some(DnsName::Off) => DnsWay::Off,
    };
    if let Some(place) = dns_place.filter(|_| netns.is_some() && !dns.is_of_namespaces()) {
        problems.error(Given::new((), place).error(DNS_OF_NAMESPACE).hint(DNS_OF_NAMESPACE_HINT));
    }
    let options = TunOptions {
        device: device.map(|device| device.value),
        netns: netns.map(|netns| netns.value),
        routing,
        dns,
        mtu: table.mtu,
        mss: table.mss,
        user: user.map(|user| user.value),
        fail_closed: table.fail_closed,
        block_ipv6: table.block_ipv6,
        state_dir: table.state_dir.map(|path| source.beside(&path)),
    };
    Some(Given::new(options, place))
}

/// Whether there is a network namespace of this name; what is no name was said to be none.
fn is_namespace(name: &str) -> bool {
    name.is_empty() || name.contains('/') || std::path::Path::new("/run/netns").join(name).exists()
}

fn is_device(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=MAX_DEVICE).contains(&name.len()) && name.bytes().all(fits) && name != "." && name != ".."
}
