//! Where rule sets come from.
//!
//! Owns the reading of Kubernetes manifests ([`manifest`]), the gathering of files and
//! directories into one rule set ([`files`]), and the question whether those files have changed
//! ([`watch`]). Kubernetes' types stop here: what goes on is [`sluice_policy::model`]. Refuses
//! a manifest that Sluice would not enforce as written, and says file, line, object and field
//! of everything that is wrong, not only of the first.
//!
//! ```text
//! files --text--> manifest --objects--> RuleSet --validate--> rule set, or faults with lines
//! ```

#![forbid(unsafe_code)]

#[cfg(feature = "conformance")]
pub mod conformance;
pub mod files;
pub mod manifest;
pub mod watch;
