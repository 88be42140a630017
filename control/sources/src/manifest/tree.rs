//! YAML and JSON as a tree that knows its lines.
//!
//! Scalars keep the type that their notation gives them, as in `kubectl`: a label `secret: true`
//! is a boolean and will be refused where Kubernetes wants a string. JSON is read as the YAML
//! that it is. Depth, size and the expansion of aliases are bounded.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use serde_saphyr::Spanned;

/// More than a rule set of 100,000 pods needs.
const NODES_MAX: usize = 32_000_000;
/// Documents in one text.
const DOCUMENTS_MAX: usize = 1_000_000;
/// What aliases may expand to: a few shared blocks, not a bomb.
const REPLAYED_EVENTS_MAX: usize = 100_000;

/// The text that aliases may repeat, in bytes.
const SHARED_LEN_MAX: usize = 1 << 20;
/// Maps and lists within each other. NetworkPolicies need about ten.
const DEPTH_MAX: usize = 64;
/// Measured: an unoptimised parser takes less than 64 KiB a level.
const STACK_LEN: usize = 16 << 20;

/// A value and where it begins.
#[derive(Debug)]
pub(super) struct Tree {
    line: usize,
    node: Node,
}

#[derive(Debug)]
enum Node {
    Scalar(Value),
    List(Vec<Tree>),
    Map(Vec<(String, Tree)>),
}

/// Why a text is no YAML.
#[derive(Debug)]
pub(super) struct SyntaxFault {
    pub(super) line: Option<usize>,
    pub(super) problem: String,
}

/// Reads all documents of a text; empty ones are left out.
///
/// The parser recurses with large frames, up to the bound on depth. It runs on a stack that is
/// large enough for that, whatever thread asks.
pub(super) fn documents(text: &str) -> Result<Vec<Tree>, SyntaxFault> {
    let lost = |why: &str| SyntaxFault { line: None, problem: format!("cannot be parsed: {why}") };
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name("manifest".to_owned())
            .stack_size(STACK_LEN)
            .spawn_scoped(scope, || parse(text))
            .map_err(|error| lost(&error.to_string()))?
            .join()
            .map_err(|_| lost("the parser broke down"))?
    })
}

fn parse(text: &str) -> Result<Vec<Tree>, SyntaxFault> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_events: NODES_MAX,
            max_nodes: NODES_MAX,
            max_documents: DOCUMENTS_MAX,
            max_depth: DEPTH_MAX,
            max_total_scalar_bytes: text.len().saturating_mul(2).saturating_add(SHARED_LEN_MAX),
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: REPLAYED_EVENTS_MAX,
        },
        strict_booleans: true,
        with_snippet: false,
    };
    let documents: Vec<Spanned<Node>> = serde_saphyr::from_multiple_with_options(text, options)
        .map_err(|error| SyntaxFault {
            line: error.location().and_then(|at| usize::try_from(at.line()).ok()),
            problem: error.to_string(),
        })?;
    Ok(documents.into_iter().map(Tree::from_spanned).collect())
}

impl Tree {
    /// The line on which the value begins, counted from 1.
    pub(super) fn line(&self) -> usize {
        self.line
    }

    /// The line of a field such as `spec.ingress[0].from[1]`, or else of the innermost part of
    /// the way there that exists.
    pub(super) fn line_of(&self, field: &str) -> usize {
        let rest = field.trim_start_matches(['.', '[', ']']);
        let child = match &self.node {
            Node::Scalar(_) => None,
            Node::List(items) => rest
                .split_once(']')
                .and_then(|(place, rest)| Some((items.get(place.parse::<usize>().ok()?)?, rest))),
            // The longest key wins: label keys contain dots.
            Node::Map(entries) => entries
                .iter()
                .filter_map(|(key, value)| {
                    let after = rest.strip_prefix(key.as_str())?;
                    let ends = after.is_empty() || after.starts_with(['.', '[', ']']);
                    ends.then_some((key.len(), value, after))
                })
                .max_by_key(|(len, _, _)| *len)
                .map(|(_, value, after)| (value, after)),
        };
        child.map_or(self.line, |(child, rest)| child.line_of(rest))
    }

    /// The value of a key; `None` where there is none or this is no map.
    pub(super) fn child(&self, key: &str) -> Option<&Self> {
        match &self.node {
            Node::Map(entries) => {
                entries.iter().find(|(known, _)| known == key).map(|(_, value)| value)
            }
            _ => None,
        }
    }

    /// The items; `None` where this is no list.
    pub(super) fn items(&self) -> Option<&[Self]> {
        match &self.node {
            Node::List(items) => Some(items),
            _ => None,
        }
    }

    /// The text of a scalar that is one.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.node {
            Node::Scalar(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    /// Whether this is a map.
    pub(super) fn is_map(&self) -> bool {
        matches!(self.node, Node::Map(_))
    }

    /// The same without lines.
    pub(super) fn to_value(&self) -> Value {
        match &self.node {
            Node::Scalar(value) => value.clone(),
            Node::List(items) => Value::Array(items.iter().map(Self::to_value).collect()),
            Node::Map(entries) => {
                let entries = entries.iter().map(|(key, value)| (key.clone(), value.to_value()));
                Value::Object(entries.collect::<Map<_, _>>())
            }
        }
    }

    fn from_spanned(spanned: Spanned<Node>) -> Self {
        let line = usize::try_from(spanned.referenced.line()).unwrap_or(usize::MAX);
        Self { line, node: spanned.value }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

macro_rules! scalar {
    ($($visit:ident: $type:ty),*) => {
        $(fn $visit<E>(self, value: $type) -> Result<Node, E> {
            Ok(Node::Scalar(Value::from(value)))
        })*
    };
}

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    scalar!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str,
        visit_string: String);

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element::<Spanned<Node>>()? {
            list.push(Tree::from_spanned(item));
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let mut map = Vec::new();
        while let Some((key, value)) = entries.next_entry::<Spanned<String>, Spanned<Node>>()? {
            // The key's line: the value of a block begins on the next one.
            let line = usize::try_from(key.referenced.line()).unwrap_or(usize::MAX);
            map.push((key.value, Tree { line, node: value.value }));
        }
        Ok(Node::Map(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_fields() {
        let text = "# a comment\nmetadata:\n  labels:\n    app: web\n    x.io/app: \"1\"\n\
                    spec:\n  ingress:\n  - from:\n    - ipBlock:\n        cidr: 10.0.0.0/8\n    ports: []\n\
                    ---\nkind: B\n";
        let documents = documents(text).unwrap();
        for (field, line) in [
            ("metadata", 2),
            ("metadata.labels[app]", 4),
            ("metadata.labels[x.io/app]", 5),
            ("metadata.labels.x.io/app", 5),
            ("spec.ingress[0].from[0].ipBlock.cidr", 10),
            ("spec.ingress[0].from[0].ipBlock.except[0]", 9),
            ("spec.ingress[0].ports", 11),
            ("spec.egress[0]", 6),
        ] {
            assert_eq!(documents[0].line_of(field), line, "{field}");
        }
        assert_eq!(documents[1].line_of("kind"), 13);
    }

    #[test]
    fn json_is_read_with_its_lines() {
        let text =
            "{\n\t\"kind\": \"Pod\",\n\t\"list\": [1, true, null, 1.5, \"\\ud83d\\ude00\\/\"]\n}\n";
        let documents = documents(text).unwrap();
        assert_eq!(documents[0].line_of("list"), 3);
        assert_eq!(documents[0].to_value(), serde_json::from_str::<Value>(text).unwrap());
    }

    #[test]
    fn scalars_keep_their_types() {
        let value =
            documents("a: true\nb: yes\nc: 80\nd: \"80\"\ne:\nf: 1.5\n").unwrap()[0].to_value();
        let expected = r#"{"a": true, "b": "yes", "c": 80, "d": "80", "e": null, "f": 1.5}"#;
        assert_eq!(value, serde_json::from_str::<Value>(expected).unwrap());
    }

    #[test]
    fn bombs_depths_and_doubles_are_refused() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for step in 1..10 {
            let before = format!("*a{}, ", step - 1).repeat(10);
            bomb += &format!("a{step}: &a{step} [{before}]\n");
        }
        assert!(documents(&bomb).is_err());
        assert!(documents(&"[".repeat(100_000)).is_err());
        assert!(documents(&"- ".repeat(5_000)).is_err());
        assert!(documents(&("- ".repeat(DEPTH_MAX - 1) + "a")).is_ok());
        assert_eq!(documents("a: 1\na: 2\n").unwrap_err().line, Some(2));
    }
}
