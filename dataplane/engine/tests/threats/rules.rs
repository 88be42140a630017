//! Rules in one line of text.
//!
//! ```text
//! rules     = statement { ";" statement }
//! statement = [ tier ] [ action ] peers "->" pod [ ports ]      what the pod admits
//!           | [ tier ] [ action ] pod "=>" peers [ ports ]      what the pod may send
//!           | "others denied"                                   no pod admits anything else
//!           | "list" ("allow" | "deny") end "->" end [ kind ]   a rule of the node's access list
//! tier      = "admin" | "baseline"                              else that of NetworkPolicies
//! action    = "accept" | "deny" | "pass"                        else accept
//! peers     = peer { "+" peer }
//! peer      = "all" | "nobody" | "pods" | name | cidr { "!" cidr }
//! cidr      = name "/" length                                   around that one's IPv4 address
//! ports     = port { "," port }
//! port      = "any" | protocol "/" number [ "-" number ]        tcp, udp, sctp
//! end       = "all" | name "/" length | name "/v6"               the latter its IPv6 address alone
//! kind      = "icmp" | "icmp6" | [ "from" ] port                of the destination, or of the source
//! ```
//!
//! The order of statements is the order of rules. A pod that a NetworkPolicy's statement names is
//! isolated in that direction, as in Kubernetes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ipnet::IpNet;
use sluice_core::address::NetworkId;
use sluice_core::blocks::{Block, BlockId, BlockTrie};
use sluice_core::classifier::{PortRange, Rule};
use sluice_core::ports::{ICMP, ICMPV6, PortMatch, PortSet, Rank, SCTP, TCP, UDP};
use sluice_core::table::{
    AccessList, AccessRule, Action, Direction, Endpoint, EndpointId, GroupId, Identity, IdentityId,
    Node, NodeId, PolicyId, PolicySet, PolicySetParts, RuleRef, Table, Tier, Tiers,
};

use crate::cast::{Cast, is_local};

/// The group of all pods; each pod's own has its number plus one.
const PODS: GroupId = GroupId(0);
const HERE: NodeId = NodeId(0);
const ELSEWHERE: NodeId = NodeId(1);

/// The pod, the direction and the tier that a set of rules is for.
type Place = (usize, Direction, Tier);

/// The rules of one set, on their way to a [`PolicySet`].
#[derive(Default)]
struct Gathered {
    rules: Vec<RuleRef>,
    any_peer: Vec<(PortMatch, Rank)>,
    by_group: BTreeMap<GroupId, Vec<(PortMatch, Rank)>>,
    by_block: BTreeMap<BlockId, Vec<(PortMatch, Rank)>>,
}

#[derive(Default)]
struct Rules {
    sets: BTreeMap<Place, Gathered>,
    blocks: Vec<Block>,
    access: Vec<(AccessRule, Rule)>,
}

/// The table that rules come to.
pub(crate) fn table(text: &str, cast: Cast) -> Table {
    let mut rules = Rules::default();
    for statement in text.split(';').map(str::trim).filter(|statement| !statement.is_empty()) {
        rules.read(statement, cast);
    }
    rules.compile(cast).finish(0)
}

impl Rules {
    fn read(&mut self, statement: &str, cast: Cast) {
        if statement == "others denied" {
            for pod in 0..cast.pods().len() {
                self.sets.entry((pod, Direction::Ingress, Tier::NetworkPolicy)).or_default();
            }
            return;
        }
        if let Some(rule) = statement.strip_prefix("list ") {
            let priority = u32::try_from(self.access.len()).unwrap();
            self.access.push(access_rule(priority, rule, cast));
            return;
        }
        let mut words: Vec<&str> = statement.split_whitespace().collect();
        let mut take = |known: &[&str]| {
            let found = known.contains(&words[0]);
            found.then(|| words.remove(0))
        };
        let tier = match take(&["admin", "baseline"]) {
            Some("admin") => Tier::Admin,
            Some(_) => Tier::Baseline,
            None => Tier::NetworkPolicy,
        };
        let action = match take(&["accept", "deny", "pass"]) {
            Some("deny") => Action::Deny,
            Some("pass") => Action::Pass,
            _ => Action::Accept,
        };
        let [left, arrow, right, ports @ ..] = &words[..] else { panic!("no rule: {statement}") };
        let (direction, pod, peers) = match *arrow {
            "->" => (Direction::Ingress, *right, *left),
            "=>" => (Direction::Egress, *left, *right),
            _ => panic!("no arrow: {statement}"),
        };
        let ports: Vec<PortMatch> = match ports {
            [] => vec![PortMatch::Any],
            [list] => list.split(',').map(port).collect(),
            _ => panic!("too many words: {statement}"),
        };
        self.add((number(pod, cast), direction, tier), action, peers, &ports, cast);
    }

    fn add(&mut self, place: Place, action: Action, peers: &str, ports: &[PortMatch], cast: Cast) {
        let Self { sets, blocks, .. } = self;
        let set = sets.entry(place).or_default();
        let count = u32::try_from(set.rules.len()).unwrap();
        let entries = ports.iter().map(|port| (*port, Rank(count)));
        set.rules.push(RuleRef { policy: PolicyId(0), index: count, action });
        for peer in peers.split('+') {
            match peer {
                "all" => set.any_peer.extend(entries.clone()),
                "nobody" => {}
                "pods" => set.by_group.entry(PODS).or_default().extend(entries.clone()),
                cidr if cidr.contains('/') => {
                    let id = BlockId(u32::try_from(blocks.len()).unwrap());
                    let mut nets = cidr.split('!').map(|net| net_around(net, cast));
                    blocks.push(Block { cidr: nets.next().unwrap(), except: nets.collect() });
                    set.by_block.entry(id).or_default().extend(entries.clone());
                }
                pod => {
                    let group = group_of(number(pod, cast));
                    set.by_group.entry(group).or_default().extend(entries.clone());
                }
            }
        }
    }

    fn compile(self, cast: Cast) -> sluice_core::table::Edit {
        let Self { sets, blocks, access } = self;
        let mut sets: BTreeMap<Place, PolicySet> =
            sets.into_iter().map(|(place, set)| (place, set.finish())).collect();
        let mut edit = Table::empty().edit();
        let node = |name: &str, addresses| Node { name: name.into(), addresses, ..Node::default() };
        let here = [false, true].map(|v6| cast.address("node", v6));
        edit.set_node(HERE, Some(node("here", here.to_vec()))).set_local_node(Some(HERE));
        edit.set_node(ELSEWHERE, Some(node("elsewhere", Vec::new())));
        for (place, pod) in cast.pods().iter().enumerate() {
            let id = u32::try_from(place).unwrap();
            let mut tiers = |direction| Tiers {
                admin: sets.remove(&(place, direction, Tier::Admin)),
                network_policy: sets.remove(&(place, direction, Tier::NetworkPolicy)),
                baseline: sets.remove(&(place, direction, Tier::Baseline)),
            };
            let (egress, ingress) = (tiers(Direction::Egress), tiers(Direction::Ingress));
            let identity = Identity::new(&[PODS, group_of(place)], egress, ingress);
            let endpoint = Endpoint {
                name: format!("shop/{pod}").into(),
                network: cast.network(pod),
                addresses: [false, true].map(|v6| cast.address(pod, v6)).to_vec(),
                identity: Some(IdentityId(id)),
                node: Some(if is_local(pod) { HERE } else { ELSEWHERE }),
            };
            edit.set_identity(IdentityId(id), Some(identity));
            edit.set_endpoint(EndpointId(id), Some(endpoint));
        }
        edit.set_blocks(BlockTrie::new((0..).map(BlockId).zip(&blocks)));
        if !access.is_empty() {
            let rules = access.iter().map(|(place, rule)| (*place, rule));
            edit.set_access_lists(vec![Arc::new(AccessList::new("edge", rules))]);
        }
        edit
    }
}

impl Gathered {
    fn finish(self) -> PolicySet {
        fn sets<N>(
            by: BTreeMap<N, Vec<(PortMatch, Rank)>>,
        ) -> impl Iterator<Item = (N, Arc<PortSet>)> {
            by.into_iter().map(|(it, entries)| (it, Arc::new(PortSet::new(&entries))))
        }
        PolicySet::new(&PolicySetParts {
            policies: vec![PolicyId(0)],
            rules: self.rules,
            any_peer: (!self.any_peer.is_empty()).then(|| Arc::new(PortSet::new(&self.any_peer))),
            by_group: sets(self.by_group).collect(),
            by_block: sets(self.by_block).collect(),
            by_group_in_block: Vec::new(),
        })
    }
}

fn access_rule(priority: u32, text: &str, cast: Cast) -> (AccessRule, Rule) {
    let words: Vec<&str> = text.split_whitespace().collect();
    let [action, from, "->", to, kind @ ..] = &words[..] else { panic!("no rule: {text}") };
    let range = |text: &str| match port(text) {
        PortMatch::Range { protocol, first, last } => {
            (Some(protocol), Some(PortRange { first, last }))
        }
        PortMatch::Any => (None, Some(PortRange::ALL)),
    };
    let (protocol, source_ports, destination_ports) = match kind {
        [] => (None, None, None),
        ["icmp"] => (Some(ICMP), None, None),
        ["icmp6"] => (Some(ICMPV6), None, None),
        ["from", ports] => (range(ports).0, range(ports).1, None),
        [ports] => (range(ports).0, None, range(ports).1),
        _ => panic!("too many words: {text}"),
    };
    let end = |text: &str| match text.strip_suffix("/v6") {
        Some(name) => Some(IpNet::from(cast.address(name, true))),
        None => (text != "all").then(|| net_around(text, cast)),
    };
    let rule =
        Rule { source: end(from), destination: end(to), source_ports, destination_ports, protocol };
    (AccessRule { priority, denies: *action == "deny" }, rule)
}

fn group_of(pod: usize) -> GroupId {
    GroupId(u32::try_from(pod).unwrap() + 1)
}

fn number(pod: &str, cast: Cast) -> usize {
    let known = cast.pods().iter().position(|it| *it == pod);
    known.unwrap_or_else(|| panic!("the rules know no pod {pod}"))
}

fn net_around(text: &str, cast: Cast) -> IpNet {
    let (name, len) = text.split_once('/').unwrap_or_else(|| panic!("no CIDR: {text}"));
    IpNet::new(cast.address(name, false), len.parse().unwrap()).unwrap().trunc()
}

fn port(text: &str) -> PortMatch {
    if text == "any" {
        return PortMatch::Any;
    }
    let (protocol, ports) = text.split_once('/').unwrap_or_else(|| panic!("no ports: {text}"));
    let protocol = match protocol {
        "tcp" => TCP,
        "udp" => UDP,
        "sctp" => SCTP,
        _ => panic!("no protocol: {text}"),
    };
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    PortMatch::Range { protocol, first: first.parse().unwrap(), last: last.parse().unwrap() }
}

#[test]
fn a_line_of_rules_is_a_table() {
    let cast = Cast { number: 3, has_tenants: false };
    let table = table(
        "client+far -> server tcp/80,udp/53-54; router/24!router/32 -> server; \
         admin deny all -> server tcp/80; server => nobody; others denied",
        cast,
    );
    let pod = |name: &str| {
        let party = table.party(NetworkId::DEFAULT, cast.address(name, false));
        table.identity_of(party).unwrap()
    };
    let server = pod("server");
    let ingress = (Direction::Ingress, Tier::NetworkPolicy);
    let egress = (Direction::Egress, Tier::NetworkPolicy);
    let set = server.set(ingress.0, ingress.1).unwrap();
    assert_eq!(set.rules().count(), 2);
    let groups: BTreeSet<u32> = set.groups().map(|group| group.0).collect();
    assert_eq!(groups, BTreeSet::from([1, 4]));
    let ends = [(TCP, 80), (TCP, 81), (UDP, 53), (UDP, 55)];
    assert!(ends.iter().all(|end| set.borders().contains(end)));
    let block = set.blocks().next().unwrap();
    assert!(table.blocks().is_hole(block, cast.address("router", false)));
    let admin = server.set(Direction::Ingress, Tier::Admin).unwrap();
    assert_eq!(admin.rules().next().unwrap().action, Action::Deny);
    assert_eq!(server.set(egress.0, egress.1).unwrap().rules().count(), 1);
    assert!(pod("client").set(ingress.0, ingress.1).is_some(), "the others are isolated");
    assert!(pod("client").set(egress.0, egress.1).is_none());
}
