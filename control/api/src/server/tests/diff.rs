//! Previews over a socket.

use sluice_policy::model::{Change, Object};

use super::fake::preview;
use super::*;
use crate::backend::{DIFF_LIMIT_DEFAULT, DIFF_LIMIT_MAX, DiffOrder, Preview};
use crate::convert;

/// A delta on revision 1 that takes a pod out.
fn delta(name: &str) -> DiffOrder {
    let removals = vec![Object::from(Pod::new("shop", name)).key()];
    let content = Content::Delta(Change { removals, ..Change::default() });
    DiffOrder { content, base_revision: Some(1), limit: 5 }
}

fn snapshot() -> DiffOrder {
    DiffOrder { content: Content::Snapshot(rules()), ..DiffOrder::default() }
}

#[tokio::test]
async fn a_diff_arrives_as_it_was_and_changes_nothing() {
    let server = Running::start().await;
    let client = server.client().await;
    client.commit(&order("v1")).await.unwrap().unwrap();
    for order in [snapshot(), delta("web"), DiffOrder { limit: DIFF_LIMIT_MAX, ..delta("db") }] {
        let answer = client.diff(&order).await.unwrap().unwrap();
        assert_eq!(answer, Preview { running_revision: 1, ..preview() });
        assert_eq!(server.backend.diffs.lock().unwrap().pop(), Some(order));
    }
    assert_eq!(server.backend.rules(), rules());
    assert_eq!(client.status().await.unwrap().revision, 1);
}

#[tokio::test]
async fn what_could_not_be_committed_has_no_diff_and_is_no_refusal_of_the_status() {
    let server = Running::start().await;
    let client = server.client().await;
    client.commit(&order("v1")).await.unwrap().unwrap();
    let stale = DiffOrder { base_revision: Some(9), ..snapshot() };
    let refused = client.diff(&stale).await.unwrap().unwrap_err();
    assert_eq!(refused, Refused::wrong_base(9, 1));
    let refused = client.diff(&delta("gone")).await.unwrap().unwrap_err();
    let gone = Object::from(Pod::new("shop", "gone")).key();
    assert_eq!(refused, Refused::missing([gone], 1));
    assert_eq!(client.status().await.unwrap().last_refusal, None);
}

#[tokio::test]
async fn a_diff_that_does_not_convert_reaches_no_backend() {
    let too_many = "it is 100001; want 100000 at most";
    let absent = "it is absent; want a snapshot, an empty one if the rule set shall be empty, or \
                  a delta";
    let baseless = "it is absent; a delta says what differs from one certain rule set, so name \
                    the revision that it builds on";
    let right = || convert::diff::order_to_wire(&delta("web"));
    let cases = [
        (wire::DiffRequest { limit: 100_001, ..right() }, "limit", too_many),
        (wire::DiffRequest { content: None, ..right() }, "content", absent),
        (wire::DiffRequest { base_revision: None, ..right() }, "baseRevision", baseless),
    ];
    let server = Running::start().await;
    server.client().await.commit(&order("v1")).await.unwrap().unwrap();
    let mut raw = ControlClient::new(server.channel().await);
    for (request, field, problem) in cases {
        let response = raw.diff(request).await.unwrap().into_inner();
        let refused = convert::diff::outcome(response).unwrap().unwrap_err();
        assert_eq!(refused, Refused::request(field, problem, 1));
    }
    // The client itself cuts nothing off.
    let huge = DiffOrder { limit: usize::MAX, ..snapshot() };
    let refused = server.client().await.diff(&huge).await.unwrap().unwrap_err();
    assert_eq!(refused.faults[0].field, "limit");
    assert!(server.backend.diffs.lock().unwrap().is_empty());
    assert_eq!(server.backend.status().last_refusal, None);
}

#[tokio::test]
async fn who_names_no_limit_gets_the_default() {
    let server = Running::start().await;
    let mut raw = ControlClient::new(server.channel().await);
    let request = wire::DiffRequest { limit: 0, ..convert::diff::order_to_wire(&snapshot()) };
    raw.diff(request).await.unwrap();
    assert_eq!(server.backend.diffs.lock().unwrap()[0].limit, DIFF_LIMIT_DEFAULT);
}
