//! A stored rule set: decoded, compiled, put to use.
//!
//! Every map of the compiler that iterates in an order of its own is seeded anew in the second
//! round, so a table that depends on such an order differs.

use sluice_api::snapshot;
use sluice_core::table::Table;
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
    if let Ok(table) = first {
        // Names are unique, so each endpoint is found under its own.
        let hidden = table.endpoints().find(|(id, it)| table.endpoint_named(&it.name) != Some(*id));
        assert_eq!(hidden, None, "an endpoint hides another");
    }
}

fn compile_here(rules: &RuleSet) -> Result<Table, Vec<Fault>> {
    compile(rules, &CompileOptions { local_node: Some("here".into()) })
}
