//! Doubly linked lists over slot numbers, many of them in one array.
//!
//! ```text
//! links:   slot 0 | slot 1 | ... | head of list 0 | head of list 1 | ...
//! ```
//!
//! A list is a ring through its head, so that a slot is taken out without knowing the list. What
//! is on no list is linked to itself. Nothing is allocated after the start.

/// Lists that share one set of slots. A slot is on one of them at most.
#[derive(Debug)]
pub(crate) struct Lists {
    links: Box<[Link]>,
    slots: u32,
}

#[derive(Debug, Clone, Copy)]
struct Link {
    before: u32,
    after: u32,
}

impl Lists {
    /// Empty lists over the slots from 0 to `slots`; both numbers together fit a `u32`.
    pub(crate) fn new(slots: u32, lists: u32) -> Self {
        let nodes = 0..slots.saturating_add(lists);
        Self { links: nodes.map(|node| Link { before: node, after: node }).collect(), slots }
    }

    /// The slot that has been on a list for longest.
    #[inline]
    pub(crate) fn front(&self, list: u32) -> Option<u32> {
        let head = self.slots + list;
        let first = self.link(head).after;
        (first != head).then_some(first)
    }

    /// Whether a slot is on a list.
    #[inline]
    pub(crate) fn is_linked(&self, slot: u32) -> bool {
        self.link(slot).after != slot
    }

    /// Puts a slot that is on no list at the end of one.
    #[inline]
    pub(crate) fn push_back(&mut self, list: u32, slot: u32) {
        debug_assert!(!self.is_linked(slot), "{slot} is on a list");
        let head = self.slots + list;
        let last = self.link(head).before;
        self.join(last, slot);
        self.join(slot, head);
    }

    /// Takes a slot off its list, if it is on one.
    #[inline]
    pub(crate) fn unlink(&mut self, slot: u32) {
        let Link { before, after } = self.link(slot);
        self.join(before, after);
        self.join(slot, slot);
    }

    #[inline]
    fn link(&self, node: u32) -> Link {
        let nowhere = Link { before: node, after: node };
        self.links.get(node as usize).copied().unwrap_or(nowhere)
    }

    #[inline]
    fn join(&mut self, before: u32, after: u32) {
        if let Some(link) = self.links.get_mut(before as usize) {
            link.after = after;
        }
        if let Some(link) = self.links.get_mut(after as usize) {
            link.before = before;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    impl Lists {
        fn slots_of(&self, list: u32) -> Vec<u32> {
            let head = self.slots + list;
            let ahead = std::iter::successors(Some(self.link(head).after), |node| {
                Some(self.link(*node).after)
            });
            ahead.take_while(|node| *node != head).collect()
        }
    }

    proptest! {
        #[test]
        fn lists_behave_as_queues(steps in prop::collection::vec((0u8..3, 0u32..8, 0u32..3), 0..200)) {
            let mut lists = Lists::new(8, 3);
            let mut queues = vec![VecDeque::new(); 3];
            for (step, slot, list) in steps {
                let held = queues.iter().any(|queue| queue.contains(&slot));
                prop_assert_eq!(lists.is_linked(slot), held);
                if step == 0 {
                    lists.unlink(slot);
                    queues.iter_mut().for_each(|queue| queue.retain(|other| *other != slot));
                } else if !held {
                    lists.push_back(list, slot);
                    queues[list as usize].push_back(slot);
                }
                for (list, queue) in (0..).zip(&queues) {
                    prop_assert_eq!(lists.front(list), queue.front().copied());
                    prop_assert_eq!(lists.slots_of(list), Vec::from(queue.clone()));
                }
            }
        }
    }
}
