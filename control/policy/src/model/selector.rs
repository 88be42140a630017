//! Selectors over labels.
//!
//! All terms of a selector must hold; a selector without terms matches everything. `NotIn`
//! and `DoesNotExist` hold where the key is absent. A selector that is *absent* is not a
//! selector: fields that may lack one are an `Option`.

use super::{Labels, Problem};

/// Which labels match: every pair of `match_labels` and every one of `match_expressions`.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LabelSelector {
    /// Labels that must be there with these values.
    pub match_labels: Labels,
    /// Further terms.
    pub match_expressions: Vec<Expression>,
}

/// One term of a selector.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Expression {
    /// The label that it looks at.
    pub key: String,
    /// What must hold of the label.
    pub operator: Operator,
}

/// What an [`Expression`] demands of its label.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operator {
    /// The label is there with one of these values.
    In(Vec<String>),
    /// The label is absent or has none of these values.
    NotIn(Vec<String>),
    /// The label is there.
    Exists,
    /// The label is absent.
    DoesNotExist,
}

impl LabelSelector {
    /// The selector without terms.
    #[must_use]
    pub fn everything() -> Self {
        Self::default()
    }

    /// A selector for one label.
    #[must_use]
    pub fn label(key: impl Into<String>, value: impl Into<String>) -> Self {
        let match_labels = Labels::from([(key.into(), value.into())]);
        Self { match_labels, match_expressions: Vec::new() }
    }

    /// Whether every term holds for `labels`.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        self.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value))
            && self.match_expressions.iter().all(|term| term.matches(labels))
    }

    /// Whether it has no terms.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.match_labels.is_empty() && self.match_expressions.is_empty()
    }
}

impl Expression {
    /// Builds a term from an operator's name and its values, as manifests write them.
    ///
    /// # Errors
    ///
    /// A [`Problem`] with the field `operator` where the name is unknown, or `values` where
    /// `In` or `NotIn` has none or another operator has some.
    pub fn from_parts(
        key: impl Into<String>,
        operator: &str,
        values: Vec<String>,
    ) -> Result<Self, Problem> {
        let operator = match (operator, values.is_empty()) {
            ("In", false) => Operator::In(values),
            ("NotIn", false) => Operator::NotIn(values),
            ("Exists", true) => Operator::Exists,
            ("DoesNotExist", true) => Operator::DoesNotExist,
            ("In" | "NotIn", true) => {
                return Err(Problem::new(
                    "values",
                    format!("{operator} has no values; give at least one"),
                ));
            }
            ("Exists" | "DoesNotExist", false) => {
                return Err(Problem::new(
                    "values",
                    format!("{operator} takes no values; leave them out, or use In or NotIn"),
                ));
            }
            _ => {
                return Err(Problem::new(
                    "operator",
                    format!(
                        "unknown operator \"{operator}\"; want In, NotIn, Exists or DoesNotExist"
                    ),
                ));
            }
        };
        Ok(Self { key: key.into(), operator })
    }

    fn matches(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.key);
        match &self.operator {
            Operator::In(values) => value.is_some_and(|value| values.contains(value)),
            Operator::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn term(key: &str, operator: &str, values: &[&str]) -> LabelSelector {
        let values = values.iter().map(|&value| value.to_owned()).collect();
        LabelSelector {
            match_expressions: vec![Expression::from_parts(key, operator, values).unwrap()],
            ..LabelSelector::default()
        }
    }

    #[test]
    fn each_operator_with_the_key_absent_and_present() {
        let absent = Labels::new();
        let a = Labels::from([("k".to_owned(), "a".to_owned())]);
        let b = Labels::from([("k".to_owned(), "b".to_owned())]);
        for (selector, expected) in [
            (term("k", "In", &["a", "c"]), [false, true, false]),
            (term("k", "NotIn", &["a", "c"]), [true, false, true]),
            (term("k", "Exists", &[]), [false, true, true]),
            (term("k", "DoesNotExist", &[]), [true, false, false]),
            (LabelSelector::label("k", "b"), [false, false, true]),
            (LabelSelector::everything(), [true, true, true]),
        ] {
            let found = [&absent, &a, &b].map(|labels| selector.matches(labels));
            assert_eq!(found, expected, "{selector:?}");
        }
    }

    #[test]
    fn all_terms_must_hold() {
        let mut selector = term("k", "Exists", &[]);
        selector.match_labels.insert("app".to_owned(), "web".to_owned());
        let mut labels = Labels::from([("k".to_owned(), String::new())]);
        assert!(!selector.matches(&labels));
        labels.insert("app".to_owned(), "web".to_owned());
        assert!(selector.matches(&labels));
    }

    #[test]
    fn operators_are_refused_with_the_field_that_is_wrong() {
        for (operator, values, field) in [
            ("In", vec![], "values"),
            ("NotIn", vec![], "values"),
            ("Exists", vec!["a".to_owned()], "values"),
            ("DoesNotExist", vec!["a".to_owned()], "values"),
            ("in", vec!["a".to_owned()], "operator"),
        ] {
            assert_eq!(Expression::from_parts("k", operator, values).unwrap_err().field, field);
        }
    }
}
