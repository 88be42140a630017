//! From an AccessList as it is written to Sluice's.
//!
//! A field that is not known may be one that narrows a rule, so it is refused wherever it stands.

use serde_json::Value;
use sluice_policy::model::{AccessAction, AccessList, AccessRule, Object, Protocol};
use sluice_policy::validate::canonical_net;

use super::super::access_list;
use super::super::v1alpha2::Map;
use super::Item;

impl Item {
    pub(super) fn access_list(&mut self, it: access_list::AccessList) -> Option<Object> {
        let (_, name) = self.name(&it.metadata.unwrap_or_default());
        let spec = self.required("spec", it.spec, "rules");
        self.refuse_unknown("spec");
        let Map(spec) = spec?;
        let rules =
            self.required("spec.rules", spec.rules, "a list of rules, which may be none")?;
        let rules = rules.into_iter().enumerate();
        let rules: Vec<Option<AccessRule>> =
            rules.map(|(i, Map(it))| self.access_rule(&format!("spec.rules[{i}]"), it)).collect();
        let rules = rules.into_iter().collect::<Option<_>>()?;
        Some(AccessList { name, rules }.into())
    }

    fn access_rule(&mut self, at: &str, it: access_list::Rule) -> Option<AccessRule> {
        let priority = self.access_priority(&format!("{at}.priority"), it.priority);
        let action = self.access_action(&format!("{at}.action"), it.action);
        let mut prefix = |field: &str, text: Option<String>| match text {
            None => Some(None),
            Some(text) => self.net(format!("{at}.{field}"), &text).map(canonical_net).map(Some),
        };
        let source = prefix("source", it.source);
        let destination = prefix("destination", it.destination);
        let protocol = match it.protocol {
            None => Some(None),
            Some(value) => self.access_protocol(format!("{at}.protocol"), &value).map(Some),
        };
        let mut ports = |field: &str, range: Option<Map<access_list::Ports>>| match range {
            None => Some(None),
            Some(Map(range)) => self.access_ports(&format!("{at}.{field}"), range).map(Some),
        };
        let source_ports = ports("sourcePorts", it.source_ports);
        let destination_ports = ports("destinationPorts", it.destination_ports);
        Some(AccessRule {
            priority: priority?,
            action: action?,
            source: source?,
            destination: destination?,
            protocol: protocol?,
            source_ports: source_ports?,
            destination_ports: destination_ports?,
        })
    }

    fn access_priority(&mut self, at: &str, number: Option<i64>) -> Option<u32> {
        let number = self.required(at, number, "a number that no other rule of the list has")?;
        let priority = u32::try_from(number).ok();
        if priority.is_none() {
            self.fault(at, format!("{number} is no priority; want 0 to 2147483646"));
        }
        priority
    }

    fn access_action(&mut self, at: &str, text: Option<String>) -> Option<AccessAction> {
        match self.required(at, text, "Allow or Deny")?.as_str() {
            "Allow" => Some(AccessAction::Allow),
            "Deny" => Some(AccessAction::Deny),
            other => {
                self.fault(at, format!("\"{other}\" is no action; want Allow or Deny"));
                None
            }
        }
    }

    fn access_protocol(&mut self, at: String, value: &Value) -> Option<u8> {
        let known = match value {
            Value::Number(number) => number.as_u64().and_then(|number| u8::try_from(number).ok()),
            Value::String(text) => match text.as_str() {
                "TCP" => Some(Protocol::Tcp.number()),
                "UDP" => Some(Protocol::Udp.number()),
                "SCTP" => Some(Protocol::Sctp.number()),
                "ICMP" => Some(1),
                "ICMPv6" => Some(58),
                _ => None,
            },
            _ => None,
        };
        if known.is_none() {
            let wanted = "TCP, UDP, SCTP, ICMP, ICMPv6, or a number from 0 to 255";
            self.fault(at, format!("{value} is no protocol; want {wanted}"));
        }
        known
    }

    /// The first and the last port; one alone is both.
    fn access_ports(&mut self, at: &str, it: access_list::Ports) -> Option<(u16, u16)> {
        let first = self.required(&format!("{at}.first"), it.first, "0 to 65535")?;
        let mut port = |field: &str, number: i64| {
            let port = u16::try_from(number).ok();
            if port.is_none() {
                self.fault(
                    format!("{at}.{field}"),
                    format!("{number} is no port; want 0 to 65535"),
                );
            }
            port
        };
        let (first, last) = (port("first", first), port("last", it.last.unwrap_or(first)));
        Some((first?, last?))
    }
}
