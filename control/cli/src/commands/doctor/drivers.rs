//! What is expected of drivers, for kernels that do not tell and for comparison with what they tell.
//!
//! From the kernel's own history: the first release whose driver of that name has the feature.
//! Distributions bring features to older kernels, and a device may be set up so that it lacks them.

use super::kernel::Version;

/// What is expected of a driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Expected {
    /// XDP programs run in the driver.
    pub(super) native: Option<Version>,
    /// AF_XDP sockets without copies.
    pub(super) zero_copy: Option<Version>,
}

/// What is expected of the driver of that name, as ethtool shows it; `None` if nothing is known.
pub(super) fn expected(driver: &str) -> Option<Expected> {
    let (_, native, zero_copy) = DRIVERS.iter().find(|(name, ..)| *name == driver)?;
    Some(Expected { native: *native, zero_copy: *zero_copy })
}

/// True for drivers that refuse XDP programs while more than half of their queues are in use.
pub(super) fn halves_queues(driver: &str) -> bool {
    matches!(driver, "ena" | "gve")
}

const DRIVERS: [(&str, Option<Version>, Option<Version>); 22] = [
    // Intel
    ("i40e", Some(Version(4, 13)), Some(Version(4, 20))),
    ("ixgbe", Some(Version(4, 12)), Some(Version(4, 20))),
    ("ixgbevf", Some(Version(4, 17)), None),
    ("ice", Some(Version(5, 5)), Some(Version(5, 5))),
    ("igc", Some(Version(5, 13)), Some(Version(5, 14))),
    ("igb", Some(Version(5, 10)), Some(Version(6, 14))),
    ("e1000", None, None),
    ("e1000e", None, None),
    // NVIDIA
    ("mlx5_core", Some(Version(4, 9)), Some(Version(5, 3))),
    ("mlx4_en", Some(Version(4, 8)), None),
    // Others
    ("bnxt_en", Some(Version(4, 11)), None),
    ("st_gmac", Some(Version(5, 13)), Some(Version(5, 13))),
    ("r8169", None, None),
    ("tg3", None, None),
    // Clouds and virtual machines
    ("virtio_net", Some(Version(4, 10)), Some(Version(6, 13))),
    ("gve", Some(Version(6, 4)), Some(Version(6, 4))),
    ("ena", Some(Version(5, 6)), None),
    ("hv_netvsc", Some(Version(5, 6)), None),
    ("vmxnet3", Some(Version(6, 6)), None),
    // Without a device
    ("veth", Some(Version(4, 19)), None),
    ("tun", Some(Version(4, 14)), None),
    ("bridge", None, None),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_driver_is_named_once_and_zero_copy_needs_native_mode() {
        for (place, (name, native, zero_copy)) in DRIVERS.iter().enumerate() {
            assert!(DRIVERS[..place].iter().all(|(other, ..)| other != name), "{name}");
            assert!(zero_copy.is_none() || native <= zero_copy && native.is_some(), "{name}");
        }
        assert_eq!(expected("unheard-of"), None);
    }
}
