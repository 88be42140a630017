//! A stored rule set: decoded, compiled, put to use.
//!
//! Every map of the compiler that iterates in an order of its own is seeded anew in the second
//! round, so a table that depends on such an order differs.

use sluice_api::snapshot;
use sluice_core::table::{Table, TableSpec};
use sluice_policy::compile::{CompileOptions, compile};
use sluice_policy::model::{Fault, RuleSet};

/// Reads `bytes` as a stored rule set and compiles it.
///
/// # Panics
/// Where the rule set does not survive being stored, or two compilations differ.
pub fn rule_set(bytes: &[u8]) {
    let Ok(rules) = snapshot::decode(bytes) else { return };
    let stored = snapshot::encode(&rules);
    let again = match snapshot::decode(&stored) {
        Ok(again) => again,
        Err(error) => panic!("what was stored cannot be read: {error}"),
    };
    assert_eq!(rules, again, "a rule set changes on its way to the disk");
    assert_eq!(stored, snapshot::encode(&again), "equal rule sets have unequal bytes");

    let (first, second) = (compile_here(&rules), compile_here(&again));
    assert_eq!(first, second, "equal rule sets compile to unequal tables");
    if let Ok(spec) = first {
        let endpoints = spec.endpoints.len();
        let table = Table::new(1, spec);
        // Names are unique, so each endpoint is found under its own.
        let found = table.spec().endpoints.iter().filter(|endpoint| {
            table.endpoint_named(&endpoint.name).and_then(|id| table.endpoint(id))
                == Some(*endpoint)
        });
        assert_eq!(found.count(), endpoints, "an endpoint hides another");
    }
}

fn compile_here(rules: &RuleSet) -> Result<TableSpec, Vec<Fault>> {
    compile(rules, &CompileOptions { local_node: Some("here".into()) })
}
