//! Why a selector matches nothing: which of its terms, and what there is instead.

use std::collections::BTreeSet;

use super::survey::Survey;
use super::words;
use crate::compile::groups::Scope;
use crate::model::{Expression, LabelSelector, Labels, NAMESPACE_NAME_LABEL, Operator};

/// What a pair of selectors lacks.
pub(super) struct Unmatched {
    pub(super) missing: Missing,
    pub(super) why: String,
}

/// Which of two selectors is to blame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// That of namespaces.
    Namespace,
    /// That of pods.
    Pod,
}

/// Why selectors match no pod; `None` where they match some, or where that is in doubt.
pub(super) fn pods(survey: &Survey<'_>, scope: &Scope, pods: &LabelSelector) -> Option<Unmatched> {
    let crowd = &survey.crowd;
    // Pods that have run to their end will have others after them, as those of a Job.
    if crowd.finds(scope, pods) || !crowd.ended.select(scope, pods).as_slice().is_empty() {
        return None;
    }
    let namespaces: Vec<&str> = crowd
        .namespaces
        .iter()
        .filter(|(name, labels)| scope.contains(name, labels))
        .map(|(name, _)| *name)
        .collect();
    if let (Scope::Selected(selector), []) = (scope, &*namespaces) {
        return Some(Unmatched {
            missing: Missing::Namespace,
            why: no_namespace(survey, selector),
        });
    }
    let missing = match scope {
        Scope::Selected(_) if pods.is_everything() => Missing::Namespace,
        _ => Missing::Pod,
    };
    let word = if namespaces.len() == 1 { "namespace" } else { "namespaces" };
    let namespaces = match scope {
        Scope::Selected(all) if all.is_everything() => "any namespace".to_owned(),
        _ => format!("{word} {}", words::list(namespaces)),
    };
    let there = crowd.labels_in(scope);
    if there.is_empty() {
        return Some(Unmatched { missing, why: format!("no pod is in {namespaces}") });
    }
    if let Some(number) = crowd.on_host.select(scope, pods).as_slice().first() {
        // Whoever selects all pods of a namespace means those to come as well.
        if pods.is_everything() {
            return None;
        }
        let namespace = crowd.on_host.get(*number).map(|it| crowd.on_host.namespace_name(it));
        let why = format!(
            "what matches in {namespaces} is in the network of its node, such as in namespace \
             {}, and no policy speaks of pods there",
            namespace.unwrap_or_default()
        );
        return Some(Unmatched { missing, why });
    }
    let why = format!("of the pods in {namespaces} {}", blame(pods, &there));
    Some(Unmatched { missing, why })
}

/// Why a selector matches no node; `None` where it matches some.
pub(super) fn nodes(survey: &Survey<'_>, selector: &LabelSelector) -> Option<String> {
    let nodes = &survey.crowd.nodes;
    if selector.is_everything() || nodes.iter().any(|node| selector.matches(&node.labels)) {
        return None;
    }
    if nodes.is_empty() {
        return Some("the rule set has no Node".to_owned());
    }
    let labels: Vec<&Labels> = nodes.iter().map(|node| &node.labels).collect();
    Some(format!("of the nodes {}", blame(selector, &labels)))
}

fn no_namespace(survey: &Survey<'_>, selector: &LabelSelector) -> String {
    let namespaces = &survey.crowd.namespaces;
    let labels: Vec<&Labels> = namespaces.values().collect();
    let blame = blame(selector, &labels);
    let by_name = |term: &Expression| term.key == NAMESPACE_NAME_LABEL;
    let only_names = selector.match_labels.keys().all(|key| key == NAMESPACE_NAME_LABEL)
        && selector.match_expressions.iter().all(by_name);
    let bare = namespaces.keys().filter(|name| survey.objects.namespace(name).is_none());
    let bare: Vec<&&str> = bare.collect();
    if only_names || bare.is_empty() {
        return format!("of the namespaces {blame}");
    }
    let have = if bare.len() == 1 { "has" } else { "have" };
    format!(
        "of the namespaces {blame}; {} {have} no Namespace object here, so no label but the name \
         is known",
        words::list(bare)
    )
}

/// Which term of a selector fails for all that there is, and what is there instead.
fn blame(selector: &LabelSelector, there: &[&Labels]) -> String {
    let pairs = selector.match_labels.iter().map(|(key, value)| Expression {
        key: key.clone(),
        operator: Operator::In(vec![value.clone()]),
    });
    let terms: Vec<Expression> = pairs.chain(selector.match_expressions.iter().cloned()).collect();
    let fails = |term: &&Expression| {
        let only =
            LabelSelector { match_labels: Labels::new(), match_expressions: vec![(*term).clone()] };
        !there.iter().any(|labels| only.matches(labels))
    };
    let Some(Expression { key, operator }) = terms.iter().find(fails) else {
        return "none has all the labels asked for at once".to_owned();
    };
    let values: BTreeSet<&String> = there.iter().filter_map(|labels| labels.get(key)).collect();
    let instead = match values.len() {
        0 => format!("; none has a label {key}"),
        _ => format!("; there {key} is {}", words::list(values)),
    };
    match operator {
        Operator::In(wanted) => match &**wanted {
            [value] => format!("none has {key}={value}{instead}"),
            wanted => format!("none has {key} in ({}){instead}", wanted.join(", ")),
        },
        Operator::NotIn(unwanted) => format!("each has {key} in ({})", unwanted.join(", ")),
        Operator::Exists => format!("none has a label {key}"),
        Operator::DoesNotExist => format!("each has a label {key}"),
    }
}
