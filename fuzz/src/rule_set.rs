//! A stored rule set: decoded, compiled, put to use.
//!
//! ```text
//! rule set = protobuf, as it is on disk
//!          | 0 seed edit*       a cluster of that seed, stored, and some of its fields changed
//! seed     = eight bytes
//! edit     = place place what value
//! ```
//!
//! Chance seldom finds what refers to something else by its name, so most of what compiles is of
//! the second kind. (No protobuf begins with 0.)
//!
//! Every map of the compiler that iterates in an order of its own is seeded anew in the second
//! round, so a table that depends on such an order differs.

mod fields;

use sluice_api::snapshot;
use sluice_core::table::Table;
use sluice_policy::compile::{CompileOptions, compile};
use sluice_policy::model::{Fault, RuleSet};
use sluice_policy::oracle::generate::{LOCAL_NODE, cluster};

const SEED_LEN: usize = 8;

/// Reads `bytes` as a stored rule set and compiles it.
///
/// # Panics
/// Where the rule set does not survive being stored, or two compilations differ.
pub fn rule_set(bytes: &[u8]) {
    let edited = bytes.strip_prefix(&[0]).map(|story| edited(story).unwrap_or_default());
    let Ok(rules) = snapshot::decode(edited.as_deref().unwrap_or(bytes)) else { return };
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
    compile(rules, &CompileOptions { local_node: Some(LOCAL_NODE.into()) })
}

/// The stored cluster of a seed after the edits.
fn edited(story: &[u8]) -> Option<Vec<u8>> {
    let (seed, edits) = story.split_first_chunk::<SEED_LEN>()?;
    let mut stored = snapshot::encode(&cluster(u64::from_le_bytes(*seed)));
    for &[high, low, what, value] in edits.as_chunks().0 {
        stored = fields::edited(&stored, u16::from_be_bytes([high, low]), what, value);
    }
    Some(stored)
}
