//! `HOST[:PORT]`, as people write it: names, IPv4, and IPv6 with or without brackets.

use std::fmt;
use std::net::IpAddr;

/// A host with perhaps a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// A name or an IP literal without brackets; never empty.
    pub host: String,
    /// TCP port, never 0.
    pub port: Option<u16>,
}

/// Why a text is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadAddress(String);

impl HostPort {
    /// Reads `HOST[:PORT]`.
    pub fn parse(text: &str) -> Result<Self, BadAddress> {
        let (host, port) = split(text)?;
        Ok(Self { host: checked_host(host, text)?, port: port.map(|port| checked_port(port, text)).transpose()? })
    }

    /// Reads `HOST:PORT`.
    pub fn parse_with_port(text: &str) -> Result<(String, u16), BadAddress> {
        match Self::parse(text)? {
            Self { host, port: Some(port) } => Ok((host, port)),
            Self { host: _, port: None } => Err(BadAddress(format!("{text:?} has no port: HOST:PORT is wanted"))),
        }
    }
}

/// Whether binding this host means every interface, so that it tells nobody where to dial.
pub fn is_wildcard(host: &str) -> bool {
    host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified())
}

/// `host:port`, with the brackets that an IPv6 literal needs.
pub fn join(host: &str, port: u16) -> String {
    HostPort { host: host.to_owned(), port: Some(port) }.to_string()
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.host.contains(':'), self.port) {
            (true, Some(port)) => write!(f, "[{}]:{port}", self.host),
            (false, Some(port)) => write!(f, "{}:{port}", self.host),
            (_, None) => f.write_str(&self.host),
        }
    }
}

fn split(text: &str) -> Result<(&str, Option<&str>), BadAddress> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, after) =
            rest.split_once(']').ok_or_else(|| BadAddress(format!("{text:?} lacks its closing bracket")))?;
        return match after.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if after.is_empty() => Ok((host, None)),
            None => Err(BadAddress(format!("{text:?} goes on oddly after its closing bracket"))),
        };
    }
    match text.matches(':').count() {
        0 => Ok((text, None)),
        1 => Ok(text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)))),
        // More than one colon and no bracket: an IPv6 literal alone.
        _ => Ok((text, None)),
    }
}

fn checked_host(host: &str, text: &str) -> Result<String, BadAddress> {
    let is_name =
        !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    // A zone (`fe80::1%eth0`) says which interface.
    let without_zone = host.split_once('%').map_or(host, |(ip, _)| ip);
    let is_v6 = without_zone.contains(':') && without_zone.parse::<IpAddr>().is_ok();
    if is_name || is_v6 {
        return Ok(host.to_owned());
    }
    let hint = if text.contains("://") { ": leave out what ends with ://" } else { "" };
    Err(BadAddress(format!("{text:?} names no host{hint}")))
}

fn checked_port(port: &str, text: &str) -> Result<u16, BadAddress> {
    match port.parse::<u16>() {
        Ok(port) if port > 0 => Ok(port),
        Ok(_) | Err(_) => Err(BadAddress(format!("{port:?} in {text:?} is not a port from 1 to 65535"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_write_an_address() {
        for (text, host, port) in [
            ("master-host:15501", "master-host", Some(15501)),
            ("master-host", "master-host", None),
            ("10.0.0.1:1", "10.0.0.1", Some(1)),
            ("[::1]:15501", "::1", Some(15501)),
            ("[::1]", "::1", None),
            ("::1", "::1", None),
            ("fe80::1%eth0", "fe80::1%eth0", None),
            ("db_1.example.com:65535", "db_1.example.com", Some(65535)),
        ] {
            assert_eq!(HostPort::parse(text), Ok(HostPort { host: host.into(), port }), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in ["", ":1", "a:", "a:0", "a:65536", "a:b", "[::1", "[::1]x", "a b:1", "a/b", "::zz", "[]:1"] {
            assert!(HostPort::parse(text).is_err(), "{text:?} was taken");
        }
        assert!(HostPort::parse_with_port("host").is_err());
    }

    #[test]
    fn wildcards_and_brackets() {
        assert!(is_wildcard("0.0.0.0") && is_wildcard("::"));
        assert!(!is_wildcard("127.0.0.1") && !is_wildcard("host"));
        assert_eq!(join("::1", 5), "[::1]:5");
        assert_eq!(join("a", 5), "a:5");
    }
}
