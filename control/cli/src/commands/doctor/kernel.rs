//! Versions of the kernel, and what came with which.

use std::fmt;

/// The first two numbers of a version, which say what a kernel has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version(pub(super) u32, pub(super) u32);

/// The oldest kernel that Sluice runs on.
pub(super) const OLDEST: Version = Version(5, 10);

/// Memory of BPF maps is no longer counted against RLIMIT_MEMLOCK.
pub(super) const MAPS_WITHOUT_MEMLOCK: Version = Version(5, 11);

/// AF_XDP sockets take frames of several buffers.
pub(super) const MULTI_BUFFER_SOCKETS: Version = Version(6, 6);

/// What newer kernels bring, oldest first.
pub(super) const GAINS: [(Version, &str); 5] = [
    (Version(5, 18), "XDP programs that see frames of several buffers"),
    (Version(6, 3), "drivers that tell what they can"),
    (MULTI_BUFFER_SOCKETS, "jumbo frames on AF_XDP sockets"),
    (Version(6, 13), "zero-copy on virtio_net"),
    (Version(6, 14), "zero-copy on igb"),
];

impl Version {
    /// Of a release such as `6.1.0-32-amd64`.
    pub(super) fn read(release: &str) -> Option<Self> {
        let mut numbers = release.split(|character: char| !character.is_ascii_digit());
        Some(Self(numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_read() {
        for (release, version) in [
            ("6.1.0-32-amd64", Some(Version(6, 1))),
            ("5.10.0", Some(Version(5, 10))),
            ("7.2-rc1", Some(Version(7, 2))),
            ("6", None),
            ("linux", None),
        ] {
            assert_eq!(Version::read(release), version, "{release}");
        }
        assert!(Version(5, 9) < OLDEST && Version(6, 1) > OLDEST, "numbers, not text");
    }
}
