//! What policies mean.
//!
//! Owns the model of a rule set ([`model`]), what makes one valid ([`mod@validate`]), its
//! compilation to the table that judges packets ([`mod@compile`]), and the two ways to ask that
//! table a question ([`mod@explain`], [`mod@reach`]), which call the table as the packet path does.
//! Refuses what the table could not enforce, and names object and field; nothing is ignored.
//! Knows neither files nor gRPC nor Kubernetes clients, and neither reads nor locks nor waits.
//!
//! ```text
//! RuleSet --validate--> faults, or --compile--> Table --> explain, reach, diff, packets
//! ```
//!
//! ```
//! use sluice_policy::compile::{CompileOptions, compile};
//! use sluice_policy::explain::{Question, Verdict, explain};
//! use sluice_policy::model::{LabelSelector, NetworkPolicy, Pod, PolicyType, Protocol, RuleSet};
//!
//! let mut rules = RuleSet::default();
//! for (name, address) in [("web", "10.0.0.1"), ("db", "10.0.0.2")] {
//!     rules.insert(Pod::new("shop", name).with_address(address.parse()?))?;
//! }
//! rules.insert(NetworkPolicy::new(
//!     "shop", "deny-all", LabelSelector::everything(), &[PolicyType::Ingress], None, None,
//! ))?;
//! let table = compile(&rules, &CompileOptions::default()).map_err(|faults| format!("{faults:?}"))?;
//! let question = Question {
//!     from: "shop/web".parse()?,
//!     to: "shop/db".parse()?,
//!     protocol: Protocol::Tcp,
//!     port: 5432,
//! };
//! assert_eq!(explain(&table, &question)?.verdict, Verdict::Drop);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

pub mod advice;
pub mod compile;
pub mod diff;
pub mod explain;
pub mod model;
#[cfg(any(test, feature = "oracle"))]
pub mod oracle;
pub mod reach;
pub mod validate;
