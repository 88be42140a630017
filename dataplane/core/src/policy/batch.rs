//! Many attempts at once: what one of them waits for, all wait for together.
//!
//! A judgement reads an address's bucket, then an identity, then a policy set, and each of them
//! says where the next lies. In a large table each is a wait for memory. So a batch reads a little
//! of all buckets, of all identities, of all sets, before it judges any: the processor fetches at
//! the same time what does not depend on each other. That changes nothing but the time that the
//! judgement takes. In a small table, which the caches hold, there is nothing to wait for.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};

use super::{Attempt, Ends, Identities};
use crate::conntrack::BATCH_LEN_MAX;
use crate::table::{Direction, Identity, Table};

/// Pods from which on their table is more than a core's own caches hold: a megabyte or two.
const PODS_LARGE: usize = 16_384;

impl Table {
    /// Reads what [`Table::decide_between`] will read of attempts and their ends, so that it need
    /// not wait. That pays for 8 to 64 of them at a time; it looks at no more than [`BATCH_LEN_MAX`].
    #[inline]
    pub fn warm(&self, attempts: &[Attempt], ends: &[Ends]) {
        if !self.is_large() {
            return;
        }
        let mut identities = [Identities::NONE; BATCH_LEN_MAX];
        for (identities, ends) in identities.iter_mut().zip(ends) {
            *identities = self.identities_of(ends);
        }
        self.warm_identities(attempts, identities.get(..ends.len()).unwrap_or(&identities));
    }

    /// Whether the table is more than the caches of a core hold, so that to read ahead pays.
    #[inline]
    #[must_use]
    pub fn is_large(&self) -> bool {
        self.endpoints_len() >= PODS_LARGE
    }

    /// Reads a little of all identities, then of all their policy sets, then of the blocks around
    /// the addresses that these ask about.
    fn warm_identities(&self, attempts: &[Attempt], identities: &[Identities<'_>]) {
        let both = |it: &Identities<'_>| it.source.touch() ^ it.destination.touch();
        black_box(identities.iter().fold(0, |seen, it| seen ^ both(it)));
        let sets = |it: &Identities<'_>| {
            it.source.touch_sets(Direction::Egress) ^ it.destination.touch_sets(Direction::Ingress)
        };
        black_box(identities.iter().fold(0, |seen, it| seen ^ sets(it)));
        let mut asked = [IpAddr::V4(Ipv4Addr::UNSPECIFIED); 2 * BATCH_LEN_MAX];
        let mut places = asked.iter_mut();
        let mut count = 0;
        let mut ask = |address: IpAddr| {
            count += 1;
            places.next().into_iter().for_each(|place| *place = address);
        };
        for (attempt, identities) in attempts.iter().zip(identities) {
            if identities.source.speaks_of_blocks(Direction::Egress) {
                ask(attempt.destination);
            }
            if identities.destination.speaks_of_blocks(Direction::Ingress) {
                ask(attempt.source);
            }
        }
        if count == 0 {
            return;
        }
        let mut innermost = [&[][..]; 2 * BATCH_LEN_MAX];
        self.blocks().innermost_many(asked.get(..count).unwrap_or(&asked), &mut innermost);
        black_box(innermost.iter().fold(0, |seen, it| seen ^ it.first().map_or(0, |it| it.0)));
    }
}

impl Identities<'_> {
    const NONE: Self = Self { source: &Identity::NONE, destination: &Identity::NONE };
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::address::NetworkId;
    use crate::blocks::{Block, BlockId, BlockTrie};
    use crate::ports::{PortMatch, PortSet, Rank, TCP};
    use crate::table::{
        Action, Endpoint, EndpointId, GroupId, IdentityId, PolicyId, PolicySet, PolicySetParts,
        RuleRef, Tiers,
    };

    /// Pods of seven identities, each of which may be asked for TCP 80 by its successor and by a
    /// block that holds some pods and some strangers.
    fn table(pods: u32) -> Table {
        let http = PortMatch::Range { protocol: TCP, first: 80, last: 80 };
        let http = Arc::new(PortSet::new(&[(http, Rank(0))]));
        let mut edit = Table::empty().edit();
        for id in 0..7 {
            let set = PolicySet::new(&PolicySetParts {
                rules: vec![RuleRef { policy: PolicyId(id), index: 0, action: Action::Accept }],
                by_group: vec![(GroupId((id + 1) % 7), Arc::clone(&http))],
                by_block: vec![(BlockId(id % 2), Arc::clone(&http))],
                ..PolicySetParts::default()
            });
            let ingress = Tiers { network_policy: Some(set), ..Tiers::default() };
            let egress = if id % 3 == 0 { ingress.clone() } else { Tiers::default() };
            let identity = Identity::new(&[GroupId(id)], egress, ingress);
            edit.set_identity(IdentityId(id), Some(identity));
        }
        for id in 0..pods {
            let endpoint = Endpoint {
                name: format!("x/p{id}").into(),
                network: NetworkId::DEFAULT,
                addresses: vec![address(id)],
                identity: Some(IdentityId(id % 7)),
                node: None,
            };
            edit.set_endpoint(EndpointId(id), Some(endpoint));
        }
        let block = |cidr: &str| Block { cidr: cidr.parse().unwrap(), except: Vec::new() };
        let blocks = [block("10.0.0.0/25"), block("10.1.0.0/16")];
        edit.set_blocks(BlockTrie::new((0..).map(BlockId).zip(&blocks)));
        edit.finish(1)
    }

    fn address(id: u32) -> IpAddr {
        Ipv4Addr::from_bits(0x0a00_0000 + id).into()
    }

    #[test]
    fn to_read_ahead_changes_no_decision_and_takes_any_number() {
        for pods in [100, u32::try_from(PODS_LARGE).unwrap() + 1] {
            let table = table(pods);
            assert_eq!(table.is_large(), pods > 100);
            for len in [0, 1, BATCH_LEN_MAX - 1, BATCH_LEN_MAX, 5 * BATCH_LEN_MAX + 3] {
                let attempts: Vec<Attempt> = (0..u32::try_from(len).unwrap())
                    .map(|n| Attempt {
                        network: NetworkId::DEFAULT,
                        // Beyond the pods there are strangers.
                        source: address(n.wrapping_mul(97) % (2 * pods)),
                        destination: address(n.wrapping_mul(31) % (pods + pods / 8)),
                        protocol: TCP,
                        source_port: Some(50_000),
                        port: Some(if n % 5 == 0 { 81 } else { 80 }),
                    })
                    .collect();
                let ends: Vec<Ends> = attempts.iter().map(|it| table.ends(it)).collect();
                let decide = || {
                    let known = attempts.iter().zip(&ends);
                    known.map(|(it, ends)| table.decide_between(it, ends)).collect::<Vec<_>>()
                };
                let cold = decide();
                table.warm(&attempts, &ends);
                assert_eq!(decide(), cold);
                assert_eq!(cold, attempts.iter().map(|it| table.decide(it)).collect::<Vec<_>>());
            }
        }
    }
}
