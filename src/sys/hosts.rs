//! The host names that a server of this program accepts. Pure, except for the machine's own name.
//!
//! A page in a browser can send requests to any address, this machine's included, and the owner of a name can point it
//! here. So a request must name this server in `Host`: by the address that the server is bound to, by `localhost` if
//! that is the loopback address, by the machine's name if it is not, or by a name that the user allows. A page's origin
//! is in `Origin`; if that is not this server, the request is foreign whatever its `Host`.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// The names of a server.
#[derive(Debug, Clone)]
pub struct Hosts {
    bound: SocketAddr,
    machine: Option<String>,
    allowed: Vec<String>,
}

impl Hosts {
    /// Returns the names of a server that is bound to an address; `allowed` are further names, each with a port or for
    /// any port. Invalid names ([`is_name`]) allow nothing.
    #[must_use]
    pub fn new(bound: SocketAddr, allowed: &[String]) -> Self {
        let machine = if is_loopback(bound.ip()) { None } else { machine_name() };
        let allowed = allowed.iter().map(|name| in_brackets(name).to_ascii_lowercase()).collect();
        Self { bound, machine, allowed }
    }

    /// Returns whether a `Host` header, or the authority of a request's target, names this server. `local` is the
    /// address at which the request arrived, which is more precise than a wildcard address that the server is bound to.
    #[must_use]
    pub fn answer_to(&self, host: &str, local: Option<IpAddr>) -> bool {
        self.answer(host, local, 80)
    }

    /// Returns whether an `Origin` header names this server.
    #[must_use]
    pub fn are_origin(&self, origin: &str, local: Option<IpAddr>) -> bool {
        match origin.split_once("://") {
            Some(("http", host)) => self.answer(host, local, 80),
            // Sent by a TLS proxy before this server, which has an allowed name.
            Some(("https", host)) => self.is_allowed(&host.to_ascii_lowercase(), 443),
            _ => false,
        }
    }

    fn answer(&self, host: &str, local: Option<IpAddr>, default_port: u16) -> bool {
        let host = host.to_ascii_lowercase();
        if self.is_allowed(&host, default_port) {
            return true;
        }
        let Some((name, port)) = parts(&host) else { return false };
        if port.unwrap_or(default_port) != self.bound.port() {
            return false;
        }
        let arrived_at_loopback = is_loopback(self.bound.ip()) || local.is_some_and(is_loopback);
        match address_of(name) {
            Some(address) => {
                let is_bound = address == self.bound.ip().to_canonical() && !address.is_unspecified();
                let is_local = local.is_some_and(|local| local.to_canonical() == address);
                is_bound || is_local || (arrived_at_loopback && is_loopback(address))
            }
            None => (arrived_at_loopback && name == "localhost") || self.machine.as_deref() == Some(name),
        }
    }

    fn is_allowed(&self, host: &str, default_port: u16) -> bool {
        let Some((name, port)) = parts(host) else { return false };
        let port = port.unwrap_or(default_port);
        self.allowed.iter().any(|allowed| match parts(allowed) {
            Some((allowed, wanted)) => is_same(allowed, name) && wanted.is_none_or(|wanted| wanted == port),
            None => false,
        })
    }
}

/// Returns whether a text is a valid server name: of letters, an IPv4 address, or an IPv6 address with or without
/// brackets. A port may follow; with an IPv6 address only after the brackets.
#[must_use]
pub fn is_name(name: &str) -> bool {
    parts(&in_brackets(name)).is_some_and(|(name, _)| match name.contains(['[', ']', ':']) {
        true => address_of(name).is_some(),
        false => true,
    })
}

/// Returns a bare IPv6 address in brackets, as requests write it.
fn in_brackets(name: &str) -> Cow<'_, str> {
    match name.parse::<Ipv6Addr>() {
        Ok(address) => format!("[{address}]").into(),
        Err(_) => name.into(),
    }
}

/// Compares addresses by value, because an address has many spellings.
fn is_same(one: &str, other: &str) -> bool {
    one == other || address_of(one).is_some_and(|address| address_of(other) == Some(address))
}

fn address_of(name: &str) -> Option<IpAddr> {
    let address = match name.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?.parse::<Ipv6Addr>().ok()?.into(),
        None => name.parse::<IpAddr>().ok()?,
    };
    Some(address.to_canonical())
}

/// Returns whether only this machine reaches an address.
#[must_use]
pub fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// Splits a host into its name, without a final dot, and its port. IPv6 addresses keep their brackets.
fn parts(host: &str) -> Option<(&str, Option<u16>)> {
    let name_length = match host.strip_prefix('[') {
        Some(inside) => inside.find(']')? + 2,
        None => host.find(':').unwrap_or(host.len()),
    };
    let (name, port) = host.split_at_checked(name_length)?;
    let name = name.strip_suffix('.').unwrap_or(name);
    let is_name =
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:[]".contains(&byte));
    let port = match port.strip_prefix(':') {
        Some(digits) if digits.bytes().all(|digit| digit.is_ascii_digit()) => Some(digits.parse().ok()?),
        None if port.is_empty() => None,
        _ => return None,
    };
    is_name.then_some((name, port))
}

/// Returns the machine's name, if the system states it in a file.
fn machine_name() -> Option<String> {
    let name = fs_err::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim().to_ascii_lowercase()).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(bound: &str, allowed: &[&str]) -> Hosts {
        Hosts::new(bound.parse().unwrap(), &allowed.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn the_loopback_address_answers_to_its_own_names_and_port_only() {
        let ours = hosts("127.0.0.1:8000", &[]);
        for host in ["127.0.0.1:8000", "localhost:8000", "LocalHost.:8000", "[::1]:8000"] {
            assert!(ours.answer_to(host, None), "{host}");
        }
        for host in [
            "",
            "localhost",
            "127.0.0.1",
            "127.0.0.1:8001",
            "evil.example:8000",
            "localhost.evil.example:8000",
            "localhost:8000:8000",
            "localhost:+8000",
            "127.0.0.1:8000@evil",
            "[::1:8000",
            "[::1]8000",
            "0.0.0.0:8000",
            "10.0.0.1:8000",
            ":8000",
            "\u{7f}",
        ] {
            assert!(!ours.answer_to(host, None), "{host}");
        }
        assert!(hosts("127.0.0.1:80", &[]).answer_to("localhost", None));
    }

    #[test]
    fn other_addresses_answer_to_themselves_and_to_names_that_are_allowed() {
        let local = Some("10.0.0.7".parse().unwrap());
        let all = hosts("0.0.0.0:8000", &["Proxy.example", "other.example:9000"]);
        assert!(all.answer_to("10.0.0.7:8000", local) && all.answer_to("proxy.example", local));
        assert!(all.answer_to("proxy.example:1234", local) && all.answer_to("other.example:9000", local));
        assert!(all.answer_to("localhost:8000", Some("127.0.0.1".parse().unwrap())));
        for host in ["localhost:8000", "0.0.0.0:8000", "10.0.0.8:8000", "other.example:8000", "evil.example:8000"] {
            assert!(!all.answer_to(host, local), "{host}");
        }
        if let Some(name) = machine_name() {
            assert!(
                all.answer_to(&format!("{name}:8000"), local) && !hosts("127.0.0.1:8000", &[]).answer_to(&name, None)
            );
        }
    }

    #[test]
    fn origins_are_this_server_or_foreign() {
        let ours = hosts("127.0.0.1:8000", &["proxy.example"]);
        for origin in ["http://127.0.0.1:8000", "http://localhost:8000", "https://proxy.example"] {
            assert!(ours.are_origin(origin, None), "{origin}");
        }
        for origin in [
            "null",
            "",
            "http://localhost:3000",
            "https://localhost:8000",
            "http://evil.example",
            "file://localhost:8000",
        ] {
            assert!(!ours.are_origin(origin, None), "{origin}");
        }
    }

    #[test]
    fn addresses_of_version_6_are_allowed_in_every_spelling() {
        let local = Some("10.0.0.7".parse().unwrap());
        for allowed in ["fe80::7", "[fe80::7]", "FE80:0:0:0:0:0:0:7", "[fe80:0::7]"] {
            let all = hosts("0.0.0.0:8000", &[allowed]);
            for host in ["[fe80::7]", "[fe80::7]:9000", "[FE80:0::0007]:8000"] {
                assert!(is_name(allowed) && all.answer_to(host, local), "{allowed} {host}");
            }
            assert!(all.are_origin("https://[fe80::7]", local) && !all.answer_to("[fe80::8]", local), "{allowed}");
            assert!(!all.answer_to("fe80::7", local), "no host without its brackets");
        }
        let with_port = hosts("0.0.0.0:8000", &["[fe80:0::7]:9000", "proxy.example.:80"]);
        assert!(with_port.answer_to("[fe80::7]:9000", local) && !with_port.answer_to("[fe80::7]:8000", local));
        assert!(with_port.answer_to("proxy.example", local));
    }

    #[test]
    fn what_is_no_name_is_known() {
        for name in ["a", "proxy.example", "Proxy.example.:80", "10.0.0.7:1", "::1", "[::1]", "[::1]:80", "my_box"] {
            assert!(is_name(name), "{name}");
        }
        for name in [
            "",
            ".",
            "*",
            "a b",
            "http://a",
            "a/",
            "a:",
            "a:x",
            "a:99999",
            "a:1:2",
            "[a]",
            "[10.0.0.7]",
            "a]",
            "a[b]",
            "[::1",
            "::1]",
            "[::1]x",
            "fe80::7%eth0",
            "[fe80::7%eth0]",
            "user@a",
            "\u{e4}.example",
        ] {
            assert!(!is_name(name), "{name}");
        }
    }
}
