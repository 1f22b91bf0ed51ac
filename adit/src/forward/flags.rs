//! From the flags of `adit forward` to plans.

use std::collections::HashMap;

use crate::{
    arguments::Forward,
    config,
    error::{Error, Exit},
    plan::{ForwardKind, ForwardPlan, Listen, Login},
};

/// The forwards of the command line, in the order of its help.
pub(crate) fn plans(arguments: &Forward) -> Result<Vec<ForwardPlan>, Error> {
    let unusable = |problem: &str| Err(Error::new(Exit::Usage, problem));
    let login = match &arguments.proxy_login {
        None => None,
        Some(_) if arguments.socks.is_empty() && arguments.http_proxy.is_empty() => {
            return unusable("--proxy-login has no use without -D or --http-proxy");
        }
        Some(file) => Some(config::read_login(file)?),
    };
    if arguments.proxy_protocol && !has_proxy_protocol(arguments) {
        return unusable("--proxy-protocol has no use without a -L or -R for TCP");
    }
    let mut plans: Vec<_> = kinds(arguments, login.as_ref())
        .map(|kind| ForwardPlan {
            max_connections: arguments.max_connections.map(|most| most as usize),
            wait: Some(arguments.while_down.wait()),
            proxy_protocol: arguments.proxy_protocol && can_have_proxy_protocol(&kind),
            ..ForwardPlan::new(kind)
        })
        .collect();
    if arguments.socket_mode.is_some() && !plans.iter().any(|plan| unix_mode(&plan.kind).is_some()) {
        return unusable("--socket-mode has no use without a unix socket to listen on");
    }
    distinguish(&mut plans);
    Ok(plans)
}

fn kinds<'a>(arguments: &'a Forward, login: Option<&'a Login>) -> impl Iterator<Item = ForwardKind> + 'a {
    let with_mode = |listen: &Listen| match listen {
        Listen::Unix(path, _) => Listen::Unix(path.clone(), arguments.socket_mode),
        Listen::Tcp(_) | Listen::Udp(_) => listen.clone(),
    };
    let local = arguments.local.iter();
    let reverse = arguments.reverse.iter();
    let socks = arguments.socks.iter();
    let http = arguments.http_proxy.iter();
    local
        .map(move |spec| ForwardKind::Local { listen: with_mode(&spec.listen), to: spec.to.clone() })
        .chain(reverse.map(|spec| ForwardKind::Reverse {
            transport: spec.transport,
            port: spec.port,
            to: spec.to.clone(),
        }))
        .chain(socks.map(move |spec| ForwardKind::Socks {
            listen: with_mode(&spec.0),
            login: login.cloned(),
            udp: true,
        }))
        .chain(http.map(move |spec| ForwardKind::HttpProxy { listen: with_mode(&spec.0), login: login.cloned() }))
        .chain(arguments.stdio.iter().map(|spec| ForwardKind::Stdio { to: spec.0.clone() }))
}

fn has_proxy_protocol(arguments: &Forward) -> bool {
    kinds(arguments, None).any(|kind| can_have_proxy_protocol(&kind))
}

fn can_have_proxy_protocol(kind: &ForwardKind) -> bool {
    use crate::spec::TransportKind::Tcp;
    matches!(
        kind,
        ForwardKind::Local { listen: Listen::Tcp(_) | Listen::Unix(..), .. }
            | ForwardKind::Reverse { transport: Tcp, .. }
    )
}

fn unix_mode(kind: &ForwardKind) -> Option<u32> {
    match kind.listen() {
        Some(Listen::Unix(_, mode)) => *mode,
        Some(Listen::Tcp(_) | Listen::Udp(_)) | None => None,
    }
}

/// Names stand for one forward each: of those with the same, as of several at port 0, the later ones get a number.
fn distinguish(plans: &mut [ForwardPlan]) {
    let mut seen: HashMap<String, u32> = HashMap::new();
    for plan in plans {
        let count = seen.entry(plan.name.clone()).or_default();
        *count += 1;
        if *count > 1 {
            plan.name = format!("{}#{count}", plan.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser;

    use super::*;
    use crate::arguments::{Arguments, Command};

    fn planned(line: &str) -> Result<Vec<ForwardPlan>, Error> {
        let line = format!("adit forward -c x.ovpn {line}");
        let Command::Forward(forward) = Arguments::try_parse_from(line.split(' ')).unwrap().command else {
            panic!("another command")
        };
        plans(&forward)
    }

    #[test]
    fn every_flag_becomes_a_forward_with_a_name_of_its_own() {
        let plans = planned(
            "--stdio h:22 -L 0:h:1 -L 0:h:2 -L 0:h:3/udp -L unix:/x:h:4 -R 80:h:80 -R 80:h:80/udp -D 1080 \
             --http-proxy 3128 --while-down wait=3 --max-connections 7 --socket-mode 660 --proxy-protocol",
        )
        .unwrap();
        let names: Vec<_> = plans.iter().map(|plan| plan.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "127.0.0.1:0",
                "127.0.0.1:0#2",
                "127.0.0.1:0/udp",
                "unix:/x",
                "reverse:80",
                "reverse:80/udp",
                "127.0.0.1:1080",
                "127.0.0.1:3128",
                "stdio"
            ]
        );
        assert!(plans.iter().all(|plan| plan.max_connections == Some(7)));
        assert!(plans.iter().all(|plan| plan.wait == Some(Duration::from_secs(3))));
        let proxied: Vec<_> = plans.iter().map(|plan| plan.proxy_protocol).collect();
        assert_eq!(proxied, [true, true, false, true, true, false, false, false, false]);
        assert_eq!(unix_mode(&plans[3].kind), Some(0o660));
    }

    #[test]
    fn settings_without_a_use_are_refused() {
        for (line, option) in [
            ("-L 1:h:2 --proxy-login x", "--proxy-login"),
            ("-D 1 --proxy-protocol", "--proxy-protocol"),
            ("-L 1:h:2/udp --proxy-protocol", "--proxy-protocol"),
            ("-L 1:h:2 --socket-mode 600", "--socket-mode"),
        ] {
            let error = planned(line).unwrap_err();
            assert!(error.exit() == Exit::Usage && error.to_string().contains(option), "{error}");
        }
    }
}
