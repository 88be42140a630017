//! Edits of tables, and the order of the tiers.

use super::*;
use crate::blocks::{Block, BlockId};
use crate::classifier::{PortRange, Rule};
use crate::policy::{Attempt, Reason};
use crate::ports::{PortMatch, PortSet, Rank, TCP};

const NETWORK: NetworkId = NetworkId::DEFAULT;
const A: &str = "10.0.0.1";
const B: &str = "10.0.0.2";

fn endpoint(name: &str, addresses: &[&str]) -> Endpoint {
    Endpoint {
        name: name.into(),
        network: NETWORK,
        addresses: addresses.iter().map(|it| it.parse().unwrap()).collect(),
        identity: Some(IdentityId(0)),
        node: None,
    }
}

fn party(table: &Table, address: &str) -> Party {
    table.party(NETWORK, address.parse().unwrap())
}

#[test]
fn an_address_belongs_to_whom_it_was_given_last_in_either_order() {
    let mut edit = Table::empty().edit();
    edit.set_endpoint(EndpointId(0), Some(endpoint("x/a", &[A])));
    edit.set_endpoint(EndpointId(1), Some(endpoint("x/b", &[B])));
    let before = edit.finish(1);

    for order in [[0, 1], [1, 0]] {
        let mut edit = before.edit();
        for id in order {
            let moved = if id == 0 { endpoint("x/a", &[]) } else { endpoint("x/b", &[B, A]) };
            edit.set_endpoint(EndpointId(id), Some(moved));
        }
        let after = edit.finish(2);
        assert_eq!(party(&after, A), Party::Pod(EndpointId(1)));
        assert_eq!(party(&before, A), Party::Pod(EndpointId(0)), "the older table is as it was");
        assert_eq!((before.revision(), after.revision()), (1, 2));
    }
}

#[test]
fn who_is_removed_is_forgotten_by_name_and_address() {
    let mut edit = Table::empty().edit();
    edit.set_endpoint(EndpointId(0), Some(endpoint("x/a", &[A])));
    edit.set_node(
        NodeId(0),
        Some(Node { name: "n".into(), addresses: vec![B.parse().unwrap()], ..Node::default() }),
    );
    let table = edit.finish(1);
    assert_eq!(party(&table, B), Party::Node(NodeId(0)));
    let mut edit = table.edit();
    edit.set_endpoint(EndpointId(0), None).set_node(NodeId(0), None);
    let table = edit.finish(2);
    assert_eq!(table.endpoint_named("x/a"), None);
    assert_eq!((party(&table, A), party(&table, B)), (Party::External, Party::External));
    assert_eq!(table.endpoints().count() + table.nodes().count(), 0);
}

#[test]
fn a_pod_in_its_nodes_network_leaves_the_address_to_the_node() {
    let mut edit = Table::empty().edit();
    let node = Node { name: "n".into(), addresses: vec![A.parse().unwrap()], ..Node::default() };
    edit.set_node(NodeId(0), Some(node));
    let on_host = Endpoint { identity: None, ..endpoint("x/a", &[A]) };
    edit.set_endpoint(EndpointId(0), Some(on_host));
    let table = edit.finish(1);
    assert_eq!(party(&table, A), Party::Node(NodeId(0)));
    assert_eq!(table.endpoint_named("x/a"), Some(EndpointId(0)));
}

/// A set whose only rule speaks of TCP 80 from everybody.
fn set(action: Action) -> Option<PolicySet> {
    let http = PortMatch::Range { protocol: TCP, first: 80, last: 80 };
    Some(PolicySet::new(&PolicySetParts {
        rules: vec![RuleRef { policy: PolicyId(0), index: 0, action }],
        any_peer: Some(Arc::new(PortSet::new(&[(http, Rank(0))]))),
        ..PolicySetParts::default()
    }))
}

fn ingress_of(tiers: Tiers, port: u16) -> Reason {
    let mut edit = Table::empty().edit();
    edit.set_endpoint(EndpointId(0), Some(endpoint("x/a", &[A])));
    edit.set_identity(IdentityId(0), Some(Identity::new(&[], Tiers::default(), tiers)));
    let attempt = Attempt {
        network: NETWORK,
        source: B.parse().unwrap(),
        destination: A.parse().unwrap(),
        protocol: TCP,
        source_port: Some(50_000),
        port: Some(port),
    };
    edit.finish(1).decide(&attempt).ingress
}

#[test]
fn each_tier_is_asked_in_its_turn() {
    use Action::{Accept, Deny, Pass};
    use Tier::{Admin, Baseline, NetworkPolicy};
    let tiers = |admin: Option<Action>, policy: Option<Action>, baseline: Option<Action>| Tiers {
        admin: admin.and_then(set),
        network_policy: policy.and_then(set),
        baseline: baseline.and_then(set),
    };
    let rule = |action| RuleRef { policy: PolicyId(0), index: 0, action };
    for (tiers, port, expected) in [
        (tiers(None, None, None), 80, Reason::Undecided),
        (tiers(Some(Deny), Some(Accept), None), 80, Reason::Denied(Admin, rule(Deny))),
        (tiers(Some(Accept), None, Some(Deny)), 80, Reason::Accepted(Admin, rule(Accept))),
        (tiers(Some(Deny), None, None), 81, Reason::Undecided),
        (tiers(Some(Pass), Some(Accept), None), 80, Reason::Accepted(NetworkPolicy, rule(Accept))),
        (tiers(Some(Pass), None, Some(Deny)), 80, Reason::Denied(Baseline, rule(Deny))),
        (tiers(Some(Pass), None, None), 80, Reason::Undecided),
        (tiers(Some(Deny), Some(Accept), Some(Accept)), 81, Reason::NoRule),
        (tiers(None, None, Some(Accept)), 80, Reason::Accepted(Baseline, rule(Accept))),
        (tiers(None, None, Some(Pass)), 80, Reason::Undecided),
    ] {
        assert_eq!(ingress_of(tiers, port), expected);
    }
}

#[test]
fn of_all_rules_that_match_a_peer_the_first_decides() {
    let ports = |rank| Arc::new(PortSet::new(&[(PortMatch::Any, Rank(rank))]));
    let rule = |index, action| RuleRef { policy: PolicyId(7), index, action };
    let set = PolicySet::new(&PolicySetParts {
        policies: vec![PolicyId(7)],
        rules: vec![
            rule(0, Action::Accept),
            rule(1, Action::Deny),
            rule(2, Action::Pass),
            rule(3, Action::Deny),
        ],
        any_peer: Some(ports(3)),
        by_group: vec![(GroupId(4), ports(1))],
        by_block: vec![(BlockId(0), ports(2))],
        by_group_in_block: vec![(BlockId(0), GroupId(9), ports(0))],
    });
    let block = Block {
        cidr: "10.0.0.0/24".parse().unwrap(),
        except: vec!["10.0.0.128/25".parse().unwrap()],
    };
    let blocks = BlockTrie::new([(BlockId(0), &block)].into_iter());
    let first = |groups: &[GroupId], address: &str| {
        let address = address.parse().unwrap();
        let asked = set::Asked::new(groups, &address, TCP, Some(1));
        set.rule(set.first_match(&blocks, &asked).unwrap()).index
    };
    assert_eq!(first(&[GroupId(4), GroupId(9)], "10.0.0.1"), 0);
    assert_eq!(first(&[GroupId(4), GroupId(9)], "10.0.0.129"), 1, "in the hole");
    assert_eq!(first(&[GroupId(4)], "10.0.0.1"), 1);
    assert_eq!(first(&[GroupId(9)], "10.0.1.1"), 3);
    assert_eq!(first(&[], "10.0.0.1"), 2);
    assert_eq!(first(&[], "192.0.2.1"), 3);
}

#[test]
fn access_lists_are_asked_in_turn_and_the_first_rule_of_each_decides_for_it() {
    let port = |port| Rule { destination_ports: Some(PortRange::one(port)), ..Rule::default() };
    let list = |name: &str, rules: &[(u32, bool, Rule)]| {
        let rules = rules.iter().map(|(priority, denies, rule)| {
            (AccessRule { priority: *priority, denies: *denies }, rule)
        });
        Arc::new(AccessList::new(name, rules))
    };
    let first = list("a", &[(10, false, port(80)), (20, true, port(81)), (30, true, port(80))]);
    let second = list("b", &[(5, true, port(82)), (6, true, port(81))]);
    let mut edit = Table::empty().edit();
    edit.set_access_lists(vec![first, second]);
    let table = edit.finish(1);
    let denied = |port: Option<u16>| {
        table
            .decide(&Attempt {
                network: NETWORK,
                source: B.parse().unwrap(),
                destination: A.parse().unwrap(),
                protocol: TCP,
                source_port: port.map(|_| 50_000),
                port,
            })
            .access
            .map(|denied| (denied.list, denied.priority))
    };
    assert_eq!(denied(Some(80)), None, "allowed by the first list's first rule");
    assert_eq!(denied(Some(81)), Some((0, 20)));
    assert_eq!(denied(Some(82)), Some((1, 5)));
    assert_eq!(denied(Some(83)), None, "no rule matches");
    assert_eq!(denied(None), None, "without ports no rule with ports matches");
}
