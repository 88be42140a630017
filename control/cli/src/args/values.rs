//! Values of options, each read with a refusal that says what would be right.

use std::str::FromStr;

use clap::ValueEnum;
use clap::builder::PossibleValue;
use sluice_policy::explain::Who;
use sluice_policy::model::{Name, Protocol};
use sluice_policy::reach::Family;

/// A destination port, such as `80/TCP`; a number alone means TCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PortArg {
    pub(crate) protocol: Protocol,
    pub(crate) port: u16,
}

/// A pod's name, such as `shop/web`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PodArg(pub(crate) Name);

/// `4` or `6`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FamilyArg(pub(crate) Family);

impl FromStr for PortArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (port, protocol) = match text.split_once('/') {
            Some((port, protocol)) => (port, read_protocol(protocol)?),
            None => (text, Protocol::Tcp),
        };
        Ok(Self { protocol, port: read_port(port)? })
    }
}

impl FromStr for PodArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            Ok(Who::Pod(name)) => Ok(Self(name)),
            _ => Err(format!("\"{text}\" is no pod; want namespace/name, as in shop/web")),
        }
    }
}

/// Reads a port's number.
pub(crate) fn read_port(text: &str) -> Result<u16, String> {
    // u16 would take "+80" as well.
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(port @ 1..) if digits => Ok(port),
        _ => Err(format!("\"{text}\" is no port; want a number from 1 to 65535, as in 443/TCP")),
    }
}

/// Reads a protocol's name; whoever types it may use small letters.
pub(crate) fn read_protocol(text: &str) -> Result<Protocol, String> {
    text.to_ascii_uppercase()
        .parse()
        .map_err(|_| format!("unknown protocol \"{text}\"; want TCP, UDP or SCTP, as in 443/TCP"))
}

impl ValueEnum for FamilyArg {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self(Family::V4), Self(Family::V6)]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self.0 {
            Family::V4 => PossibleValue::new("4").help("IPv4"),
            Family::V6 => PossibleValue::new("6").help("IPv6"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports() {
        let port = |protocol, port| Ok(PortArg { protocol, port });
        assert_eq!("443/TCP".parse(), port(Protocol::Tcp, 443));
        assert_eq!("53/udp".parse(), port(Protocol::Udp, 53));
        assert_eq!("65535/SCTP".parse(), port(Protocol::Sctp, 65535));
        assert_eq!("80".parse(), port(Protocol::Tcp, 80));
        for text in ["", "0/TCP", "65536/TCP", "+80/TCP", "80/", "80/ICMP", "http/TCP", "80/TCP/x"]
        {
            assert!(text.parse::<PortArg>().is_err(), "{text}");
        }
    }
}
