//! What selectors have to say of each other, whatever pods there are.

use crate::compile::groups::Scope;
use crate::model::{Expression, LabelSelector, Labels, Operator};

/// Whether everything that `narrow` matches is matched by `wide` too. Where that would take more
/// than a look at each term, the answer is no.
pub(super) fn is_wider(wide: &LabelSelector, narrow: &LabelSelector) -> bool {
    let pairs = wide.match_labels.iter().all(|(key, value)| {
        narrow.match_labels.get(key) == Some(value)
            || implied(key, &Operator::In(vec![value.clone()]), narrow)
    });
    pairs && wide.match_expressions.iter().all(|term| implied(&term.key, &term.operator, narrow))
}

/// Whether the pods of `narrow` are among those of `wide`, by what is written; `labels_of` gives
/// the labels of a namespace.
pub(super) fn is_wider_scope<'a>(
    wide: &Scope,
    narrow: &Scope,
    labels_of: impl Fn(&str) -> Option<&'a Labels>,
) -> bool {
    match (wide, narrow) {
        (Scope::Own(a), Scope::Own(b)) => a == b,
        (Scope::Selected(selector), Scope::Own(name)) => {
            labels_of(name).is_some_and(|labels| selector.matches(labels))
        }
        (Scope::Selected(a), Scope::Selected(b)) => is_wider(a, b),
        (Scope::Own(_), Scope::Selected(_)) => false,
    }
}

/// Whether no term asks for a label to be there. Such a selector means those to come as well, so
/// that who is there now says little about it.
pub(super) fn is_open(selector: &LabelSelector) -> bool {
    let open = |it: &Expression| matches!(it.operator, Operator::NotIn(_) | Operator::DoesNotExist);
    selector.match_labels.is_empty() && selector.match_expressions.iter().all(open)
}

/// [`is_open`] of namespaces.
pub(super) fn is_open_scope(scope: &Scope) -> bool {
    match scope {
        Scope::Own(_) => false,
        Scope::Selected(selector) => is_open(selector),
    }
}

/// Whether what `selector` says of `key` comes to `operator`, or more.
fn implied(key: &str, operator: &Operator, selector: &LabelSelector) -> bool {
    let pair = selector.match_labels.get(key).map(|value| Operator::In(vec![value.clone()]));
    let terms = selector.match_expressions.iter().filter(|term| term.key == key);
    terms.map(|term| &term.operator).chain(&pair).any(|term| implies(term, operator))
}

fn implies(term: &Operator, wanted: &Operator) -> bool {
    use Operator::{DoesNotExist, Exists, In, NotIn};
    let within = |a: &[String], b: &[String]| a.iter().all(|value| b.contains(value));
    match (term, wanted) {
        (In(values), In(wanted)) => within(values, wanted),
        (In(values), NotIn(unwanted)) => !values.iter().any(|value| unwanted.contains(value)),
        (In(_) | Exists, Exists) => true,
        (NotIn(values), NotIn(unwanted)) => within(unwanted, values),
        (DoesNotExist, NotIn(_) | DoesNotExist) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_selector() -> impl Strategy<Value = LabelSelector> {
        let key = || prop::sample::select(vec!["a", "b"]).prop_map(str::to_owned);
        let value = || prop::sample::select(vec!["1", "2", "3"]).prop_map(str::to_owned);
        let values = move || prop::collection::vec(value(), 1..3);
        let operator = prop_oneof![
            values().prop_map(Operator::In),
            values().prop_map(Operator::NotIn),
            Just(Operator::Exists),
            Just(Operator::DoesNotExist),
        ];
        let term = (key(), operator).prop_map(|(key, operator)| Expression { key, operator });
        let labels = prop::collection::btree_map(key(), value(), 0..2);
        (labels, prop::collection::vec(term, 0..3)).prop_map(|(match_labels, match_expressions)| {
            LabelSelector { match_labels, match_expressions }
        })
    }

    /// Every combination of labels that the selectors could tell apart.
    fn all_labels() -> Vec<Labels> {
        let values = [None, Some("1"), Some("2"), Some("3"), Some("4")];
        let label =
            |key: &str, value: Option<&str>| value.map(|it| (key.to_owned(), it.to_owned()));
        let pairs = values.into_iter().flat_map(|a| values.map(|b| (a, b)));
        pairs.map(|(a, b)| label("a", a).into_iter().chain(label("b", b)).collect()).collect()
    }

    proptest! {
        #[test]
        fn a_wider_selector_matches_all_that_the_narrower_does(
            wide in any_selector(), narrow in any_selector(),
        ) {
            prop_assert!(is_wider(&wide, &wide));
            prop_assert!(is_wider(&LabelSelector::everything(), &narrow));
            if is_wider(&wide, &narrow) {
                for labels in all_labels() {
                    prop_assert!(wide.matches(&labels) || !narrow.matches(&labels));
                }
            }
        }
    }

    #[test]
    fn open_selectors_ask_for_no_label() {
        let term = |operator| LabelSelector {
            match_expressions: vec![Expression { key: "a".to_owned(), operator }],
            ..LabelSelector::default()
        };
        assert!(is_open(&LabelSelector::everything()) && is_open(&term(Operator::DoesNotExist)));
        assert!(is_open(&term(Operator::NotIn(vec!["1".to_owned()]))));
        assert!(!is_open(&term(Operator::Exists)) && !is_open(&LabelSelector::label("a", "1")));
    }
}
