//! What pods have in common, and which policies speak for them.

use std::sync::Arc;

use super::{Direction, GroupId, PolicySet, Tier};

/// Groups that an identity keeps in its own cache line.
const GROUPS_INLINE: usize = 5;

/// What pods of one namespace with the same labels and named ports share.
///
/// It is a cache line. What few identities have hangs on it: more than five groups, and policies
/// of several tiers in one direction.
#[derive(Debug, Clone, PartialEq)]
#[repr(align(64))]
pub struct Identity {
    /// By direction: the set that is asked first.
    first: [Option<PolicySet>; 2],
    more: Option<Arc<More>>,
    /// As many as `groups_len` says; the others mean nothing.
    groups: [GroupId; GROUPS_INLINE],
    groups_len: u8,
    /// By direction: the tier of the set that is asked first.
    tiers: [Tier; 2],
}

#[derive(Debug, Clone, Default, PartialEq)]
struct More {
    /// All of them, where they are too many for the identity itself.
    groups: Box<[GroupId]>,
    /// By direction: the sets that are asked after the first.
    next: [Vec<(Tier, PolicySet)>; 2],
}

/// The policies of an identity in one direction, in the order in which they are asked.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tiers {
    /// ClusterNetworkPolicies of the Admin tier.
    pub admin: Option<PolicySet>,
    /// NetworkPolicies: final where there are any.
    pub network_policy: Option<PolicySet>,
    /// ClusterNetworkPolicies of the Baseline tier.
    pub baseline: Option<PolicySet>,
}

impl Identity {
    /// Nobody's: in no group, under no policy.
    pub(crate) const NONE: Self = Self {
        first: [None, None],
        more: None,
        groups: [GroupId(0); GROUPS_INLINE],
        groups_len: 0,
        tiers: [Tier::Admin; 2],
    };

    /// An identity in these groups, which are sorted, with the policies for what it sends and
    /// for what it receives.
    #[must_use]
    pub fn new(groups: &[GroupId], egress: Tiers, ingress: Tiers) -> Self {
        let mut identity = Self::NONE;
        let mut more = More::default();
        let inline = identity.groups.get_mut(..groups.len());
        if let Some((inline, len)) = inline.zip(u8::try_from(groups.len()).ok()) {
            inline.copy_from_slice(groups);
            identity.groups_len = len;
        } else {
            more.groups = groups.into();
        }
        let places = identity.first.iter_mut().zip(&mut identity.tiers).zip(&mut more.next);
        for (((first, first_tier), next), tiers) in places.zip([egress, ingress]) {
            let mut sets = tiers.in_order();
            if let Some((tier, set)) = sets.next() {
                (*first, *first_tier) = (Some(set), tier);
            }
            next.extend(sets);
        }
        identity.more = (more != More::default()).then(|| Arc::new(more));
        identity
    }

    /// The groups that it is in, as a peer; sorted.
    #[inline]
    #[must_use]
    pub fn groups(&self) -> &[GroupId] {
        match &self.more {
            Some(more) if !more.groups.is_empty() => &more.groups,
            _ => self.groups.get(..usize::from(self.groups_len)).unwrap_or(&[]),
        }
    }

    /// The policies for one direction, in the order in which they are asked.
    #[inline]
    pub fn sets(&self, direction: Direction) -> impl Iterator<Item = (Tier, &PolicySet)> {
        let first = self.first(direction).map(|set| (self.first_tier(direction), set));
        let next = self.more.as_deref().map(|more| {
            let [egress, ingress] = &more.next;
            of(direction, egress, ingress).iter().map(|(tier, set)| (*tier, set))
        });
        first.into_iter().chain(next.into_iter().flatten())
    }

    /// The policies for one direction and tier.
    #[must_use]
    pub fn set(&self, direction: Direction, tier: Tier) -> Option<&PolicySet> {
        self.sets(direction).find(|(it, _)| *it == tier).map(|(_, set)| set)
    }

    /// Reads from it, so that the processor has it at hand afterwards.
    #[inline]
    pub(crate) fn touch(&self) -> u32 {
        self.groups_len.into()
    }

    /// Reads what a judgement in one direction will read beyond the identity itself.
    #[inline]
    pub(crate) fn touch_sets(&self, direction: Direction) -> u32 {
        let first = self.first(direction).map_or(0, PolicySet::touch);
        let more = self.more.as_deref();
        first ^ more.and_then(|more| more.groups.first()).map_or(0, |group| group.0)
    }

    /// Whether the policies that are asked first may ask where the other end's address lies.
    #[inline]
    pub(crate) fn speaks_of_blocks(&self, direction: Direction) -> bool {
        self.first(direction).is_some_and(PolicySet::speaks_of_blocks)
    }

    #[inline]
    fn first(&self, direction: Direction) -> Option<&PolicySet> {
        let [egress, ingress] = &self.first;
        of(direction, egress, ingress).as_ref()
    }

    #[inline]
    fn first_tier(&self, direction: Direction) -> Tier {
        let [egress, ingress] = self.tiers;
        of(direction, egress, ingress)
    }
}

#[inline]
fn of<T>(direction: Direction, egress: T, ingress: T) -> T {
    match direction {
        Direction::Egress => egress,
        Direction::Ingress => ingress,
    }
}

impl Default for Identity {
    fn default() -> Self {
        Self::NONE
    }
}

impl Tiers {
    fn in_order(self) -> impl Iterator<Item = (Tier, PolicySet)> {
        let sets = [
            (Tier::Admin, self.admin),
            (Tier::NetworkPolicy, self.network_policy),
            (Tier::Baseline, self.baseline),
        ];
        sets.into_iter().filter_map(|(tier, set)| Some((tier, set?)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::table::{PolicyId, PolicySetParts};

    #[test]
    fn an_identity_is_a_cache_line_and_so_is_the_place_of_one() {
        assert_eq!((size_of::<Identity>(), size_of::<Option<Identity>>()), (64, 64));
    }

    /// Told apart by its only policy.
    fn set(number: u32) -> PolicySet {
        let policies = vec![PolicyId(number)];
        PolicySet::new(&PolicySetParts { policies, ..PolicySetParts::default() })
    }

    proptest! {
        #[test]
        fn an_identity_keeps_what_it_was_given(
            groups in prop::collection::btree_set((0u32..40).prop_map(GroupId), 0..12),
            has in any::<[[bool; 3]; 2]>(),
        ) {
            let groups: Vec<GroupId> = groups.into_iter().collect();
            let of = |place: usize, number: u32| has.as_flattened()[place].then(|| set(number));
            let tiers = |at: usize, number: u32| Tiers {
                admin: of(at, number),
                network_policy: of(at + 1, number + 1),
                baseline: of(at + 2, number + 2),
            };
            let identity = Identity::new(&groups, tiers(0, 0), tiers(3, 3));
            prop_assert_eq!(identity.groups(), groups);
            let all = [Tier::Admin, Tier::NetworkPolicy, Tier::Baseline];
            for (direction, at) in [(Direction::Egress, 0), (Direction::Ingress, 3)] {
                let expected: Vec<_> = all
                    .into_iter()
                    .zip(at..)
                    .filter_map(|(tier, number)| Some((tier, of(number as usize, number)?)))
                    .collect();
                let found: Vec<_> = identity.sets(direction).map(|(tier, it)| (tier, it.clone())).collect();
                prop_assert_eq!(&found, &expected);
                for tier in all {
                    let expected = expected.iter().find(|it| it.0 == tier).map(|it| &it.1);
                    prop_assert_eq!(identity.set(direction, tier), expected);
                }
            }
        }
    }
}
