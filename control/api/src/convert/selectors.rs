//! Selectors over labels, both ways.

use sluice_policy::model::{Expression, LabelSelector, Operator};

use super::report::{Path, Report, gather};
use crate::wire::{self, LabelOperator};

pub(super) fn selector(
    report: &mut Report,
    at: &Path<'_>,
    selector: wire::LabelSelector,
) -> Option<LabelSelector> {
    let list = at.field("matchExpressions");
    let terms = selector.match_expressions.into_iter().enumerate();
    let match_expressions =
        gather(terms.map(|(place, it)| expression(report, &list.item(place), it)))?;
    Some(LabelSelector { match_labels: selector.match_labels, match_expressions })
}

fn expression(
    report: &mut Report,
    at: &Path<'_>,
    term: wire::LabelExpression,
) -> Option<Expression> {
    const WANTED: &str = "In, NotIn, Exists or DoesNotExist";
    let field = at.field("operator");
    let operator = match LabelOperator::try_from(term.operator) {
        Ok(LabelOperator::In) => "In",
        Ok(LabelOperator::NotIn) => "NotIn",
        Ok(LabelOperator::Exists) => "Exists",
        Ok(LabelOperator::DoesNotExist) => "DoesNotExist",
        Ok(LabelOperator::Unspecified) => return report.unspecified(&field, WANTED),
        Err(_) => return report.unknown(&field, term.operator, WANTED),
    };
    match Expression::from_parts(term.key, operator, term.values) {
        Ok(expression) => Some(expression),
        Err(wrong) => report.fault(&at.field(wrong.field), wrong.problem),
    }
}

pub(super) fn selector_to_wire(selector: &LabelSelector) -> wire::LabelSelector {
    wire::LabelSelector {
        match_labels: selector.match_labels.clone(),
        match_expressions: selector.match_expressions.iter().map(expression_to_wire).collect(),
    }
}

fn expression_to_wire(term: &Expression) -> wire::LabelExpression {
    let (operator, values) = match &term.operator {
        Operator::In(values) => (LabelOperator::In, values.clone()),
        Operator::NotIn(values) => (LabelOperator::NotIn, values.clone()),
        Operator::Exists => (LabelOperator::Exists, Vec::new()),
        Operator::DoesNotExist => (LabelOperator::DoesNotExist, Vec::new()),
    };
    wire::LabelExpression { key: term.key.clone(), operator: operator.into(), values }
}
