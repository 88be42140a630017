//! Deltas, and what is none.

use prost::Message as _;
use sluice_policy::model::{
    Change, Fault, Kind, LabelSelector, Namespace, NetworkPolicy, Node, Object, ObjectKey, Pod,
};

use crate::backend::{CommitOrder, Content};
use crate::convert::commit;
use crate::{strict, wire};

fn request(delta: wire::Delta) -> wire::CommitRequest {
    wire::CommitRequest {
        base_revision: Some(7),
        content: Some(wire::commit_request::Content::Delta(delta)),
        ..wire::CommitRequest::default()
    }
}

fn key(kind: wire::Kind, namespace: Option<&str>, name: &str) -> wire::ObjectKey {
    let namespace = namespace.map(str::to_owned);
    wire::ObjectKey { kind: kind.into(), namespace, name: name.into() }
}

fn pod(name: &str) -> wire::Pod {
    wire::Pod { namespace: "shop".into(), name: name.into(), ..wire::Pod::default() }
}

/// A delta that puts the pods in and takes the objects out.
fn delta(pods: &[&str], removals: Vec<wire::ObjectKey>) -> wire::Delta {
    let pods = pods.iter().map(|name| pod(name)).collect();
    let upserts = wire::RuleSet { pods, ..wire::RuleSet::default() };
    wire::Delta { upserts: Some(upserts), removals, ..wire::Delta::default() }
}

fn faults_of(request: wire::CommitRequest) -> Vec<String> {
    commit::order(request).unwrap_err().iter().map(Fault::to_string).collect()
}

#[test]
fn a_delta_says_what_it_builds_on() {
    let right = request(delta(&["web"], Vec::new()));
    let faults = faults_of(wire::CommitRequest { base_revision: None, ..right.clone() });
    assert_eq!(
        faults,
        ["request: baseRevision: it is absent; a delta says what differs from one certain rule \
          set, so name the revision that it builds on"]
    );
    assert_eq!(commit::order(right).unwrap().base_revision, Some(7));
}

#[test]
fn no_object_is_named_twice() {
    let web = || key(wire::Kind::Pod, Some("shop"), "web");
    let twice = "the delta names it there twice; want it once";
    for (delta, expected) in [
        (delta(&["web", "db", "web"], Vec::new()), format!("upserts: {twice}")),
        (delta(&["db"], vec![web(), web()]), format!("removals: {twice}")),
        (
            delta(&["db", "web"], vec![web()]),
            "removals: it is among the upserts too; want it in one".to_owned(),
        ),
    ] {
        assert_eq!(faults_of(request(delta)), [format!("Pod shop/web: {expected}")]);
    }
    // Another kind's object may have the name, and so may another namespace's.
    let others = vec![
        key(wire::Kind::NetworkPolicy, Some("shop"), "web"),
        key(wire::Kind::Pod, Some("bank"), "web"),
        key(wire::Kind::Node, None, "web"),
        key(wire::Kind::Namespace, None, "web"),
        key(wire::Kind::ClusterNetworkPolicy, None, "web"),
    ];
    commit::order(request(delta(&["web"], others))).unwrap();
}

#[test]
fn an_access_list_is_named_once_as_well() {
    let named = |names: &[&str]| {
        let lists = names.iter().map(|name| wire::AccessListChange {
            name: (*name).into(),
            ..wire::AccessListChange::default()
        });
        wire::Delta { access_lists: lists.collect(), ..delta(&[], Vec::new()) }
    };
    commit::order(request(named(&["edge", "inner"]))).unwrap();
    assert_eq!(
        faults_of(request(named(&["edge", "edge"]))),
        ["AccessList edge: accessLists: the delta names it there twice; want it once"]
    );
    let removals = vec![key(wire::Kind::AccessList, None, "edge")];
    assert_eq!(
        faults_of(request(wire::Delta { removals, ..named(&["edge"]) })),
        ["AccessList edge: accessLists: it is among the upserts or removals too; want it in one"]
    );
    let mut wrong = named(&["edge"]);
    wrong.access_lists[0].upserts.push(wire::AccessRule::default());
    let faults = faults_of(request(wrong));
    let first = "AccessList edge: upserts[0].action: it is unspecified; want Allow or Deny";
    assert_eq!(faults[0], first, "{faults:?}");
}

#[test]
fn each_fault_of_a_key_names_its_place() {
    let wanted = "want Namespace, Pod, Node, NetworkPolicy, ClusterNetworkPolicy or AccessList";
    let removals = vec![
        key(wire::Kind::Unspecified, None, "a"),
        wire::ObjectKey { kind: 7, ..key(wire::Kind::Pod, None, "a") },
        key(wire::Kind::Node, None, ""),
        key(wire::Kind::Pod, None, "a"),
        key(wire::Kind::NetworkPolicy, Some(""), "a"),
        key(wire::Kind::Namespace, Some("shop"), "a"),
        key(wire::Kind::ClusterNetworkPolicy, Some(""), "a"),
    ];
    let expected = [
        format!("[0].kind: it is unspecified; {wanted}"),
        format!("[1].kind: value 7 is unknown here; {wanted}"),
        "[2].name: it is empty; want the name of the object that goes".into(),
        "[3].namespace: it is absent; want the one of the Pod".into(),
        "[4].namespace: it is absent; want the one of the NetworkPolicy".into(),
        "[5].namespace: a Namespace lives in none; leave it out".into(),
        "[6].namespace: a ClusterNetworkPolicy lives in none; leave it out".into(),
    ];
    let expected = expected.map(|problem| format!("request: delta.removals{problem}"));
    assert_eq!(faults_of(request(delta(&["web"], removals))), expected);
}

#[test]
fn upserts_that_a_client_forgot_are_no_empty_ones() {
    let gone = vec![key(wire::Kind::NetworkPolicy, Some("shop"), "deny")];
    let faults =
        faults_of(request(wire::Delta { removals: gone.clone(), ..wire::Delta::default() }));
    assert_eq!(
        faults,
        ["request: delta.upserts: it is absent; want the objects that are new or differ, which \
          may be none"]
    );
    commit::order(request(delta(&[], gone))).unwrap();
}

#[test]
fn the_faults_of_an_upsert_are_those_of_any_object() {
    let mut delta = delta(&["web"], Vec::new());
    let policy = wire::NetworkPolicy {
        namespace: "shop".into(),
        name: "deny".into(),
        ..wire::NetworkPolicy::default()
    };
    delta.upserts.as_mut().unwrap().network_policies.push(policy);
    let faults = faults_of(request(delta));
    assert_eq!(faults.len(), 3);
    assert!(faults.iter().all(|it| it.starts_with("NetworkPolicy shop/deny: spec.")), "{faults:?}");
}

#[test]
fn upserts_and_removals_arrive_sorted() {
    let everything = LabelSelector::everything();
    let policy = NetworkPolicy::new("bank", "deny", everything, &[], None, None);
    let mut upserts: Vec<Object> = vec![
        Namespace::new("shop").into(),
        Pod::new("bank", "web").into(),
        Pod::new("shop", "db").into(),
        Node { name: "n1".into(), ..Node::default() }.into(),
        policy.into(),
    ];
    let key = |kind, namespace: Option<&str>, name: &str| ObjectKey {
        kind,
        namespace: namespace.map(str::to_owned),
        name: name.into(),
    };
    let mut removals = vec![
        key(Kind::Namespace, None, "old"),
        key(Kind::Pod, Some("a"), "z"),
        key(Kind::Pod, Some("b"), "a"),
        key(Kind::ClusterNetworkPolicy, None, "old"),
    ];
    let sorted =
        Change { upserts: upserts.clone(), removals: removals.clone(), ..Change::default() };
    upserts.reverse();
    removals.reverse();
    let content = Content::Delta(Change { upserts, removals, ..Change::default() });
    let order = CommitOrder { base_revision: Some(1), content, ..CommitOrder::default() };
    let read = commit::order(commit::order_to_wire(&order)).unwrap();
    assert_eq!(read.content, Content::Delta(sorted));
}

#[test]
fn a_field_of_a_newer_client_deep_within_a_delta_is_refused_with_its_path() {
    // The bytes as a message in a field.
    let within = |field: u8, bytes: &[u8]| {
        let mut message = vec![field << 3 | 2, u8::try_from(bytes.len()).unwrap()];
        message.extend(bytes);
        message
    };
    // Field 17 with the number 1.
    let unknown = [0x88, 0x01, 0x01];
    // From within: range, ports, any_of, ports, rules, ingress.
    let policy = [1, 1, 2, 4, 1, 5].iter().fold(unknown.to_vec(), |it, field| within(*field, &it));
    let bytes = within(5, &within(1, &within(5, &policy)));
    let problem = strict::check::<wire::CommitRequest>(&bytes).unwrap_err();
    let at = "sluice.v1.CommitRequest: delta.upserts.cluster_network_policies[0].ingress.rules[0]\
              .ports.any_of.ports[0].range: field 17 is unknown here";
    assert!(problem.starts_with(at), "{problem}");

    let mut key = key(wire::Kind::Node, None, "n1").encode_to_vec();
    key.extend(unknown);
    let problem = strict::check::<wire::CommitRequest>(&within(5, &within(2, &key))).unwrap_err();
    let at = "sluice.v1.CommitRequest: delta.removals[0]: field 17 is unknown here";
    assert!(problem.starts_with(at), "{problem}");
}
