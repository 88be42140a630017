use super::*;

#[test]
fn offloads_that_change_frames() {
    let of = |offloads| with(|nic| nic.offloads = Some(offloads));
    let stripped = of(Offloads { rx_vlan_stripping: true, ..Offloads::default() });
    assert_says(&stripped, "VLAN tags", Level::Fault, "ethtool -K eth1 rxvlan off");
    assert_says(&veth(), "VLAN tags", Level::Ok, "not seen unless its peer writes them");
    let merged = of(Offloads { lro: true, ..Offloads::default() });
    assert_says(&merged, "LRO", Level::Fault, "ethtool -K eth1 lro off");
    assert_says(&with(|nic| nic.offloads = None), "offloads", Level::Unknown, "does not tell");
    assert_says(&veth(), "checksums", Level::Ok, "Sluice completes them");
}

#[test]
fn a_veth_s_peer_has_to_write_tags_for_a_port_that_goes_by_them() {
    let veth = |rx_vlan_stripping| Nic {
        link: Link { name: "eth1".to_owned(), ..veth().link },
        offloads: Some(Offloads { rx_vlan_stripping, ..Offloads::default() }),
        ..veth()
    };
    let tagged = machine_with(Port { tagged: true, ..port() });
    // What the veth says of itself means nothing.
    for nic in [veth(true), veth(false)] {
        let part = "| in the namespace of its peer: ethtool -K PEER txvlan off";
        assert_says_on(&tagged, &nic, "VLAN tags", Level::Warning, part);
        assert_says(&nic, "VLAN tags", Level::Ok, "no network of its port has one");
    }
    assert_says_on(&tagged, &sound(), "VLAN tags", Level::Ok, "stay in the frame");
}

#[test]
fn packets_that_a_veth_s_peer_has_not_split_harm_generic_mode() {
    let generic = Nic { features: Some(XdpFeatures::default()), ..veth() };
    assert_says(&generic, "TSO", Level::Warning, "ethtool -K PEER tso off gso off");
    assert!(is_silent(&veth(), "TSO") && is_silent(&sound(), "TSO"));
    let mut forced = veth();
    forced.programs = sound().programs;
    assert!(is_silent(&forced, "TSO"));
    forced.programs[0].mode = Some(GateMode::Generic);
    assert_says(&forced, "TSO", Level::Warning, "tso off");
}
