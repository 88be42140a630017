//! Labels of namespaces, pods and nodes, and selectors that mean some of them.

use super::random::Random;
use crate::model::{Expression, LabelSelector, Labels, NAMESPACE_NAME_LABEL, Operator};

/// Keys, each with the values that it may have.
pub(super) type Words = [(&'static str, &'static [&'static str])];

/// What namespaces are called.
pub(super) const NAMESPACE_NAMES: [&str; 9] =
    ["bank", "dns", "green", "jobs", "mail", "prod", "red", "shop", "zoo"];

/// Namespaces are labelled in one of 36 ways: each key is absent or has one of its values.
pub(super) const OF_NAMESPACES: &Words =
    &[("team", &["red", "green", "blue"]), ("env", &["prod", "test"]), ("zone", &["", "west"])];

/// The labels of namespaces, with the one that each has by itself.
pub(super) const OF_NAMESPACES_AND_NAMES: &Words = &[
    ("team", &["red", "green", "blue"]),
    ("env", &["prod", "test"]),
    ("zone", &["", "west"]),
    (NAMESPACE_NAME_LABEL, &NAMESPACE_NAMES),
];

/// Pods are labelled in one of 24 ways.
pub(super) const OF_PODS: &Words =
    &[("app", &["web", "db", "cache"]), ("x.io/tier", &["front", "back"]), ("canary", &[""])];

/// Nodes are labelled in one of 9 ways.
pub(super) const OF_NODES: &Words = &[("zone", &["east", "west"]), ("role", &["", "edge"])];

/// Labels made of `words`.
pub(super) fn labels(random: &mut Random, words: &Words) -> Labels {
    let mut labels = Labels::new();
    for (key, values) in words {
        // One place past the values: the key is absent.
        if let Some(value) = values.get(random.below(values.len() + 1)) {
            labels.insert((*key).to_owned(), (*value).to_owned());
        }
    }
    labels
}

/// A selector of up to three terms; most of them hold for `target`.
pub(super) fn selector(random: &mut Random, words: &Words, target: &Labels) -> LabelSelector {
    let mut selector = LabelSelector::everything();
    for _ in 0..random.one(&[0, 1, 1, 1, 2, 2, 3]) {
        let Some((key, values)) = random.pick(words) else { break };
        let wanted = match target.get(*key) {
            Some(value) if random.chance(85) => Some(value.as_str()),
            None if random.chance(85) => None,
            _ => random.pick(values).copied(),
        };
        let operator = match (wanted, random.below(4)) {
            (Some(value), 0) => {
                selector.match_labels.insert((*key).to_owned(), value.to_owned());
                continue;
            }
            (Some(value), 1) => Operator::In(list(random, Some(value), values)),
            (Some(_), 2) => Operator::Exists,
            (Some(value), _) => {
                let others: Vec<&str> =
                    values.iter().copied().filter(|other| *other != value).collect();
                Operator::NotIn(list(random, None, &others))
            }
            (None, 0 | 1) => Operator::DoesNotExist,
            (None, _) => Operator::NotIn(list(random, None, values)),
        };
        selector.match_expressions.push(Expression { key: (*key).to_owned(), operator });
    }
    selector
}

/// `first` and some of `others`, in any order; never empty.
fn list(random: &mut Random, first: Option<&str>, others: &[&str]) -> Vec<String> {
    let mut list: Vec<String> = first.into_iter().map(str::to_owned).collect();
    for _ in 0..random.between(u8::from(first.is_none()), 2) {
        let other = random.pick(others).copied().unwrap_or("nothing");
        let place = random.below(list.len() + 1);
        list.insert(place, other.to_owned());
    }
    list
}
