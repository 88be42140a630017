//! What address blocks have in common, their holes accounted for.
//!
//! Two networks are one inside the other or have nothing in common. Holes that together fill a
//! network are one hole once they are put together.

use ipnet::IpNet;
use sluice_core::blocks::Block;

/// Whether every address of `narrow` is one of `wide`.
pub(super) fn is_within(narrow: &Block, wide: &Block) -> bool {
    wide.cidr.contains(&narrow.cidr)
        && (wide.except.is_empty() || {
            let taken = IpNet::aggregate(&narrow.except);
            wide.except.iter().all(|hole| {
                let apart = !hole.contains(&narrow.cidr) && !narrow.cidr.contains(hole);
                apart || taken.iter().any(|own| own.contains(hole))
            })
        })
}

/// The part of `net` that `block` has, if it has some, and whether holes of the block lie in it.
pub(super) fn part_in(net: IpNet, block: &Block) -> Option<(IpNet, bool)> {
    let part = smaller(net, block.cidr)?;
    let taken = IpNet::aggregate(&block.except);
    let is_taken = taken.iter().any(|hole| hole.contains(&part));
    (!is_taken).then(|| (part, taken.iter().any(|hole| part.contains(hole))))
}

/// What two networks have in common.
pub(super) fn smaller(a: IpNet, b: IpNet) -> Option<IpNet> {
    if a.contains(&b) {
        return Some(b);
    }
    b.contains(&a).then_some(a)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(cidr: &str, except: &[&str]) -> Block {
        let except = except.iter().map(|net| net.parse().unwrap()).collect();
        Block { cidr: cidr.parse().unwrap(), except }
    }

    #[test]
    fn blocks_within_blocks() {
        let half = block("10.0.0.0/24", &["10.0.0.128/25"]);
        for (narrow, wide, expected) in [
            (block("10.0.0.0/24", &[]), block("10.0.0.0/24", &[]), true),
            (block("10.0.0.0/25", &[]), block("10.0.0.0/24", &[]), true),
            (block("10.0.0.0/24", &[]), block("10.0.0.0/25", &[]), false),
            (block("10.0.0.0/24", &[]), half.clone(), false),
            (half.clone(), half.clone(), true),
            (block("10.0.0.0/24", &["10.0.0.128/26", "10.0.0.192/26"]), half.clone(), true),
            (block("10.0.0.0/24", &["10.0.0.128/26"]), half.clone(), false),
            (block("10.0.0.0/25", &[]), half.clone(), true),
            (block("10.0.0.128/26", &[]), half.clone(), false),
            (block("10.0.1.0/24", &[]), block("10.0.0.0/16", &["10.0.2.0/24"]), true),
            (block("10.0.0.0/24", &[]), block("::/0", &[]), false),
        ] {
            assert_eq!(is_within(&narrow, &wide), expected, "{narrow:?} {wide:?}");
        }
    }

    #[test]
    fn the_part_of_a_network_that_a_block_has() {
        let part = |net: &str, it: &Block| {
            let part = part_in(net.parse().unwrap(), it);
            part.map(|(net, holed)| format!("{net}{}", ["", " less"][usize::from(holed)]))
                .unwrap_or_default()
        };
        let half = block("10.0.0.0/24", &["10.0.0.128/25"]);
        assert_eq!(part("10.0.0.64/26", &half), "10.0.0.64/26");
        assert_eq!(part("10.0.0.0/16", &half), "10.0.0.0/24 less");
        assert_eq!(part("10.0.0.192/26", &half), "");
        assert_eq!(part("10.0.1.0/24", &half), "");
        let filled = block("10.0.0.0/24", &["10.0.0.128/25", "10.0.0.0/25"]);
        assert_eq!(part("10.0.0.0/16", &filled), "");
    }
}
