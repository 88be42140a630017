//! Where faults are gathered, and the path to the field that has one.

use std::fmt;

use ipnet::IpNet;
use sluice_policy::model::{Fault, Protocol};

use crate::text::printable;
use crate::wire;

/// A field within an object. Spelt out only if there is a fault to tell.
#[derive(Clone, Copy)]
pub(crate) enum Path<'a> {
    /// A field at the top, such as `spec.podSelector`.
    Top(&'a str),
    /// A field of another.
    Field(&'a Self, &'a str),
    /// An item of a list.
    Item(&'a Self, usize),
}

/// The faults of one or more objects.
pub(crate) struct Report {
    object: String,
    faults: Vec<Fault>,
}

impl Path<'_> {
    pub(crate) fn field<'a>(&'a self, name: &'a str) -> Path<'a> {
        Path::Field(self, name)
    }

    pub(crate) fn item(&self, place: usize) -> Path<'_> {
        Path::Item(self, place)
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Top(name) => f.write_str(name),
            Self::Field(parent, name) => write!(f, "{parent}.{name}"),
            Self::Item(parent, place) => write!(f, "{parent}[{place}]"),
        }
    }
}

impl Report {
    pub(crate) fn new(object: impl Into<String>) -> Self {
        Self { object: object.into(), faults: Vec::new() }
    }

    /// Turns to another object.
    pub(crate) fn turn_to(&mut self, object: String) {
        self.object = object;
    }

    /// Notes a fault. Gives `None`, so that `return report.fault(..)` reads as it should.
    pub(crate) fn fault<T>(&mut self, at: &Path<'_>, problem: impl AsRef<str>) -> Option<T> {
        self.faults.push(Fault {
            object: printable(&self.object).into_owned(),
            field: at.to_string(),
            problem: printable(problem.as_ref()).into_owned(),
        });
        None
    }

    pub(crate) fn add(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    /// `value`, or all faults where there are some.
    pub(crate) fn finish<T>(mut self, value: Option<T>) -> Result<T, Vec<Fault>> {
        match value {
            Some(value) if self.faults.is_empty() => Ok(value),
            _ => {
                if self.faults.is_empty() {
                    self.fault::<()>(&Path::Top("(unknown)"), "it cannot be read");
                }
                self.faults.sort();
                Err(self.faults)
            }
        }
    }

    pub(crate) fn address(&mut self, at: &Path<'_>, text: &str) -> Option<std::net::IpAddr> {
        text.parse().ok().or_else(|| {
            self.fault(at, format!("\"{text}\" is no IP address; want such as 10.0.0.1 or fd00::1"))
        })
    }

    pub(crate) fn addresses(
        &mut self,
        texts: &[String],
        at: impl Fn(usize) -> String,
    ) -> Option<Vec<std::net::IpAddr>> {
        gather(texts.iter().enumerate().map(|(place, text)| {
            text.parse().ok().or_else(|| self.address(&Path::Top(&at(place)), text))
        }))
    }

    pub(crate) fn net(&mut self, at: &Path<'_>, text: &str) -> Option<IpNet> {
        text.parse().ok().or_else(|| {
            let wanted = "is no address block; want such as 10.0.0.0/8 or fd00::/64";
            self.fault(at, format!("\"{text}\" {wanted}"))
        })
    }

    /// A port number: 1 to 65535.
    pub(crate) fn port(&mut self, at: &Path<'_>, number: u32) -> Option<u16> {
        u16::try_from(number)
            .ok()
            .filter(|&port| port > 0)
            .or_else(|| self.fault(at, format!("{number} is no port number; want 1 to 65535")))
    }

    pub(crate) fn protocol(&mut self, at: &Path<'_>, number: i32) -> Option<Protocol> {
        match wire::Protocol::try_from(number) {
            Ok(wire::Protocol::Tcp) => Some(Protocol::Tcp),
            Ok(wire::Protocol::Udp) => Some(Protocol::Udp),
            Ok(wire::Protocol::Sctp) => Some(Protocol::Sctp),
            Ok(wire::Protocol::Unspecified) => self.unspecified(at, "TCP, UDP or SCTP"),
            Err(_) => self.unknown(at, number, "TCP, UDP or SCTP"),
        }
    }

    /// An enum that says nothing.
    pub(crate) fn unspecified<T>(&mut self, at: &Path<'_>, wanted: &str) -> Option<T> {
        self.fault(at, format!("it is unspecified; want {wanted}"))
    }

    /// An enum with a number of another version.
    pub(crate) fn unknown<T>(&mut self, at: &Path<'_>, number: i32, wanted: &str) -> Option<T> {
        self.fault(at, format!("value {number} is unknown here; want {wanted}"))
    }
}

/// All items, if none is missing. Takes every item either way, so that all faults are found.
pub(crate) fn gather<T>(items: impl Iterator<Item = Option<T>>) -> Option<Vec<T>> {
    let mut gathered = Some(Vec::with_capacity(items.size_hint().0));
    for item in items {
        match (item, &mut gathered) {
            (Some(item), Some(list)) => list.push(item),
            _ => gathered = None,
        }
    }
    gathered
}
