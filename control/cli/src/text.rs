//! Text that is safe to print.
//!
//! Names, labels and messages come from others. A control character in them could rewrite what
//! the terminal shows, and a character that turns the direction of writing could make one name
//! look like another. Both are shown as escapes (CVE-2025-48056 was of this kind).

use std::borrow::Cow;

use sluice_api::backend::ObjectCounts;

/// `text` on one line, with every character that could deceive as `\u{1b}`.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(is_deceptive) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        if is_deceptive(character) {
            safe.extend(character.escape_unicode());
        } else {
            safe.push(character);
        }
    }
    Cow::Owned(safe)
}

/// [`printable`] line by line, for texts whose line breaks are our own.
pub(crate) fn printable_lines(text: &str) -> String {
    text.split('\n').map(printable).collect::<Vec<_>>().join("\n")
}

/// Whether a character moves the cursor, breaks the line, turns the direction of writing or
/// has no width.
pub(crate) fn is_deceptive(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{061c}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
        )
}

/// `1 pod`, `2 pods`.
pub(crate) fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// What a rule set holds: `1 namespace, 2 pods, ..`.
pub(crate) fn objects(counts: &ObjectCounts) -> String {
    let ObjectCounts {
        namespaces,
        pods,
        nodes,
        network_policies,
        cluster_network_policies,
        access_lists,
    } = *counts;
    let mut parts = vec![
        count(namespaces, "namespace", "namespaces"),
        count(pods, "pod", "pods"),
        count(nodes, "node", "nodes"),
        count(network_policies, "network policy", "network policies"),
    ];
    // Most clusters have none, and are told of none.
    if cluster_network_policies > 0 {
        parts.push(count(
            cluster_network_policies,
            "cluster network policy",
            "cluster network policies",
        ));
    }
    if access_lists > 0 {
        parts.push(count(access_lists, "access list", "access lists"));
    }
    parts.join(", ")
}

/// The parts that are not empty, as a fault reads: `object: field: problem`.
pub(crate) fn fault(parts: [&str; 3]) -> String {
    let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    printable(&parts.join(": ")).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_deceive_is_shown_as_an_escape() {
        for (text, expected) in [
            ("shop/web", "shop/web"),
            ("caf\u{e9}", "caf\u{e9}"),
            ("\u{1b}[31mred", "\\u{1b}[31mred"),
            ("a\nb\r\tc", "a\\u{a}b\\u{d}\\u{9}c"),
            ("\u{9b}2J\u{7f}", "\\u{9b}2J\\u{7f}"),
            ("ab\u{202e}dc", "ab\\u{202e}dc"),
        ] {
            assert_eq!(printable(text), expected);
        }
        assert_eq!(printable_lines("a\u{7}\nb"), "a\\u{7}\nb");
    }

    #[test]
    fn cluster_network_policies_are_told_of_where_there_are_some() {
        let counts = ObjectCounts { pods: 2, network_policies: 1, ..ObjectCounts::default() };
        let text = "0 namespaces, 2 pods, 0 nodes, 1 network policy";
        assert_eq!(objects(&counts), text);
        for (number, more) in [(1, "1 cluster network policy"), (2, "2 cluster network policies")] {
            let counts = ObjectCounts { cluster_network_policies: number, ..counts };
            assert_eq!(objects(&counts), format!("{text}, {more}"));
        }
    }
}
