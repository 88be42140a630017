//! Changes to a tree: the lists that a rule concerns are planted anew, all else stays.

use std::collections::HashMap;
use std::sync::Arc;

use super::block::Entry;
use super::build::row_len;
use super::tree::{Link, Parts, Tree};

/// A rule that comes or goes.
enum Change<const A: usize> {
    Insert(Entry<A>),
    Remove(Entry<A>),
}

impl<const A: usize> Tree<A> {
    pub(super) fn insert(&mut self, entry: Entry<A>) {
        self.len += 1;
        self.change(&Change::Insert(entry));
    }

    pub(super) fn remove(&mut self, entry: Entry<A>) {
        self.len = self.len.saturating_sub(1);
        self.change(&Change::Remove(entry));
    }

    fn change(&mut self, change: &Change<A>) {
        self.changes += 1;
        if self.changes > self.len + 1024 {
            // The cuts were chosen for other rules than there are now.
            let mut entries = self.entries(self.root);
            change.make(&mut entries);
            *self = Self::new(entries);
        } else {
            self.root = self.changed(self.root, change, true, 0);
        }
    }

    /// The tree below `link` after a change. What was there may be used again if it `is_own`.
    fn changed(&mut self, link: Link, change: &Change<A>, is_own: bool, depth: u32) -> Link {
        if !link.is_node() || !is_own {
            let mut entries = self.entries(link);
            change.make(&mut entries);
            if is_own {
                self.free_below(link);
            }
            return self.grow(&entries, depth);
        }
        let cut = link.cut();
        let covered = cut.covered(change.entry());
        let row = self.row(link.at()).get(..row_len(cut.bits)).unwrap_or_default().to_vec();
        if cut.lies_beside(&covered) {
            let beside = row.first().copied().unwrap_or_default();
            let after = self.changed(beside, change, true, depth + 1);
            self.set_link(link.at(), after);
            return link;
        }
        // Each child that the rule concerns, once; what other children share with it stays for them.
        let children = || (0u32..).zip(row.iter().skip(1).copied());
        let (its, others): (Vec<_>, Vec<_>) =
            children().partition(|(child, _)| covered.contains(child));
        let mut before: Vec<Link> = its.iter().map(|(_, link)| *link).collect();
        before.sort_unstable();
        before.dedup();
        let mut is_own = vec![true; before.len()];
        for (_, link) in others {
            if let Some(own) = before.binary_search(&link).ok().and_then(|at| is_own.get_mut(at)) {
                *own = false;
            }
        }
        let changed = before.into_iter().zip(is_own);
        let after: HashMap<Link, Link> = changed
            .map(|(before, is_own)| (before, self.changed(before, change, is_own, depth + 1)))
            .collect();
        for (child, before) in its {
            if let Some(now) = after.get(&before).filter(|now| **now != before) {
                self.set_link(link.at() + 1 + child, *now);
            }
        }
        link
    }

    /// All rules below `link`, in the order of their ranks.
    fn entries(&self, link: Link) -> Vec<Entry<A>> {
        let mut entries = Vec::new();
        self.collect(link, &mut entries);
        entries.sort_unstable_by_key(|entry| entry.rank);
        entries.dedup_by_key(|entry| entry.rank);
        entries
    }

    fn collect(&self, mut link: Link, entries: &mut Vec<Entry<A>>) {
        for below in self.below(link) {
            self.collect(below, entries);
        }
        while let Some(block) = link.is_block().then(|| self.block(link.at())).flatten() {
            entries.extend(block.entries());
            link = block.next;
        }
    }

    fn free_below(&mut self, mut link: Link) {
        for below in self.below(link) {
            self.free_below(below);
        }
        if link.is_node() {
            self.free_row(link.at(), link.cut().bits);
        }
        while let Some(block) = link.is_block().then(|| self.block(link.at())).flatten() {
            let next = block.next;
            self.free_block(link.at());
            link = next;
        }
    }

    /// Where a node leads to, each once; nothing for a block.
    fn below(&self, link: Link) -> Vec<Link> {
        let len = if link.is_node() { row_len(link.cut().bits) } else { 0 };
        let mut links = self.row(link.at()).get(..len).unwrap_or_default().to_vec();
        links.retain(|link| !link.is_nothing());
        links.sort_unstable();
        links.dedup();
        links
    }
}

/// Equal rules under equal ranks, however they lie.
impl<const A: usize> PartialEq for Tree<A> {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.entries(self.root) == other.entries(other.root)
    }
}

impl<const A: usize> Change<A> {
    fn entry(&self) -> &Entry<A> {
        match self {
            Self::Insert(entry) | Self::Remove(entry) => entry,
        }
    }

    /// Changes entries that are in the order of their ranks.
    fn make(&self, entries: &mut Vec<Entry<A>>) {
        let rank = self.entry().rank;
        match (entries.binary_search_by_key(&rank, |entry| entry.rank), self) {
            (Err(at), Self::Insert(entry)) => entries.insert(at, *entry),
            (Ok(at), Self::Remove(_)) => {
                entries.remove(at);
            }
            (Ok(_), Self::Insert(_)) | (Err(_), Self::Remove(_)) => {}
        }
    }
}

impl<T: Clone> Parts<T> {
    pub(super) fn set(&mut self, at: u32, part_len: usize, value: T) {
        let part = self.0.get_mut(at as usize / part_len).map(Arc::make_mut);
        if let Some(place) = part.and_then(|part| part.get_mut(at as usize % part_len)) {
            *place = value;
        }
    }
}
