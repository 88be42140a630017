//! The cases by name.

mod changes;
mod driver;
mod networks;

use crate::stage::{E1000E, IGB, VIRTIO};
use driver::{Mode, carries, carries_polled, carries_though_a_worker_cannot_send};

/// What `run.sh` may ask for.
pub(crate) const CASES: &[(&str, fn())] = &[
    ("virtio-zero-copy", || carries(VIRTIO, 4, Mode::ZeroCopy)),
    ("virtio-copy", || carries(VIRTIO, 4, Mode::Copy)),
    ("virtio-added-queues", || carries_though_a_worker_cannot_send(VIRTIO, Mode::ZeroCopy)),
    ("virtio-polled", || carries_polled(VIRTIO, 4)),
    ("igb-polled", || carries_polled(IGB, 2)),
    ("virtio-copy-asked", || carries(VIRTIO, 4, Mode::CopyAsked)),
    ("virtio-generic-asked", || carries(VIRTIO, 2, Mode::GenericAsked)),
    ("igb-zero-copy", || carries(IGB, 2, Mode::ZeroCopy)),
    ("e1000e-generic", || carries(E1000E, 1, Mode::Generic)),
    ("igb-queues-change", changes::queues_that_are_added_get_sockets),
    ("virtio-link", || changes::a_link_that_was_down_carries_again(VIRTIO)),
    ("igb-link", || changes::a_link_that_was_down_carries_again(IGB)),
    ("igb-vlan", || networks::tags_are_taken_off_and_put_on(IGB)),
    ("virtio-vlan", || networks::tags_are_taken_off_and_put_on(VIRTIO)),
    ("virtio-sctp", networks::sctp_of_the_kernel_obeys_policy),
    ("virtio-jumbo", networks::frames_of_nine_thousand_bytes_pass),
];
