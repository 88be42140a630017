//! Deltas over a socket.

use sluice_policy::model::{
    Action, Change, ClusterNetworkPolicy, ClusterPeer, ClusterPorts, ClusterRule, Kind,
    NamespacedPods, ObjectKey, Tier,
};
use tonic::Status;

use super::*;

/// A delta on `base` that puts one pod and one ClusterNetworkPolicy in and takes one pod out.
fn delta(base: u64) -> CommitOrder {
    let rule = ClusterRule {
        name: "no metadata".into(),
        action: Action::Deny,
        peers: vec![ClusterPeer::Networks(vec!["169.254.169.254/32".parse().unwrap()])],
        ports: ClusterPorts::All,
    };
    let policy = ClusterNetworkPolicy {
        name: "guard".into(),
        tier: Tier::Admin,
        priority: 10,
        subject: NamespacedPods::default(),
        ingress: Vec::new(),
        egress: vec![rule],
    };
    let upserts = vec![Pod::new("shop", "cache").into(), policy.into()];
    let change = Change { upserts, removals: vec![pod("web")], ..Change::default() };
    CommitOrder {
        version: "delta".into(),
        base_revision: Some(base),
        content: Content::Delta(change),
        ..CommitOrder::default()
    }
}

fn pod(name: &str) -> ObjectKey {
    ObjectKey { kind: Kind::Pod, namespace: Some("shop".into()), name: name.into() }
}

#[tokio::test]
async fn a_delta_changes_what_it_names_and_nothing_else() {
    let server = Running::start().await;
    let client = server.client().await;
    client.commit(&order("v1")).await.unwrap().unwrap();
    let done = client.commit(&delta(1)).await.unwrap().unwrap();
    assert_eq!((done.revision, done.objects), (2, 4));

    let Content::Delta(change) = delta(1).content else { unreachable!() };
    let mut expected = rules();
    expected.remove(&pod("web")).unwrap();
    for object in change.upserts {
        expected.insert(object).unwrap();
    }
    assert_eq!(server.backend.rules(), expected);
    let objects = client.status().await.unwrap().objects;
    assert_eq!((objects.pods, objects.network_policies), (2, 1));
    assert_eq!(objects.cluster_network_policies, 1);
}

#[tokio::test]
async fn a_delta_on_another_revision_or_of_what_is_not_there_changes_nothing() {
    let server = Running::start().await;
    let client = server.client().await;
    client.commit(&order("v1")).await.unwrap().unwrap();
    let refused = client.commit(&delta(7)).await.unwrap().unwrap_err();
    assert_eq!(refused, Refused::wrong_base(7, 1));

    let content =
        Content::Delta(Change { removals: vec![pod("web"), pod("gone")], ..Change::default() });
    let refused = client.commit(&CommitOrder { content, ..delta(1) }).await.unwrap().unwrap_err();
    assert_eq!(refused, Refused::missing([pod("gone")], 1));
    assert_eq!(
        refused.faults[0].to_string(),
        "Pod shop/gone: removals: it is not in the rule set of revision 1; remove only what is \
         there"
    );
    assert_eq!(server.backend.rules(), rules());
}

#[tokio::test]
async fn a_delta_that_does_not_convert_reaches_no_backend() {
    type Break = fn(&mut wire::CommitRequest, fn(&mut wire::CommitRequest) -> &mut wire::Delta);
    let cases: [(&str, &str, Break); 6] = [
        ("request", "baseRevision", |it, _| it.base_revision = None),
        ("request", "content", |it, _| it.content = None),
        ("Pod shop/cache", "upserts", |it, delta| {
            let pods = &mut delta(it).upserts.as_mut().unwrap().pods;
            pods.push(pods[0].clone());
        }),
        ("Pod shop/cache", "removals", |it, delta| {
            delta(it).removals[0].name = "cache".into();
        }),
        ("request", "delta.removals[0].kind", |it, delta| delta(it).removals[0].kind = 99),
        ("request", "delta.removals[0].name", |it, delta| delta(it).removals[0].name.clear()),
    ];
    let server = Running::start().await;
    let client = server.client().await;
    let mut raw = ControlClient::new(server.channel().await);
    for (object, field, damage) in cases {
        let mut request = crate::convert::commit::order_to_wire(&delta(0));
        damage(&mut request, |it| match &mut it.content {
            Some(wire::commit_request::Content::Delta(delta)) => delta,
            other => panic!("{other:?}"),
        });
        let response = raw.commit(request).await.unwrap().into_inner();
        let Some(wire::commit_response::Outcome::Nack(nack)) = response.outcome else {
            panic!("{response:?}");
        };
        let found: Vec<_> =
            nack.faults.iter().map(|it| (it.object.as_str(), it.field.as_str())).collect();
        assert_eq!(found, [(object, field)]);
        assert_eq!(client.status().await.unwrap().last_refusal.unwrap().version, "delta");
    }
    assert_eq!(server.backend.commits.load(SeqCst), 0);
}

/// A request whose bytes the generated types cannot make.
#[derive(Clone, PartialEq, prost::Message)]
struct Bytes {
    #[prost(bytes = "vec", tag = "5")]
    delta: Vec<u8>,
}

impl prost::Name for Bytes {
    const NAME: &'static str = "Bytes";
    const PACKAGE: &'static str = "";
}

/// Calls the service with a `CommitRequest` whose delta has these bytes.
async fn commit_bytes(channel: Channel, delta: &[u8]) -> Result<(), Status> {
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.unwrap();
    let path = "/sluice.v1.Control/Commit".parse().unwrap();
    let codec = crate::strict::Codec::<Bytes, wire::CommitResponse>::default();
    let request = tonic::Request::new(Bytes { delta: delta.to_vec() });
    grpc.unary(request, path, codec).await.map(drop)
}

#[tokio::test]
async fn a_field_of_a_newer_client_within_a_delta_is_refused() {
    let server = Running::start().await;
    // Field 15 with the number 1, in the first removal.
    let status = commit_bytes(server.channel().await, &[0x12, 0x02, 0x78, 0x01]).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let start = "sluice.v1.CommitRequest: delta.removals[0]: field 15 is unknown here; ";
    assert!(status.message().starts_with(start), "{status:?}");
    assert_eq!(server.backend.commits.load(SeqCst), 0);
}
