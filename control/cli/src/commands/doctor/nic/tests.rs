use std::collections::BTreeMap;

use super::super::finding::Level;
use super::super::machine::{Bpffs, Daemon, Rights, Sockets};
use super::*;

mod offloads;

/// Two nodes of four cores; workers on cores 4 and 5 of the second; `eth1` is an uplink.
fn machine() -> Machine {
    let daemon = Daemon { ports: [("eth1".to_owned(), port())].into(), cores: vec![4, 5] };
    Machine {
        release: "6.18.1".to_owned(),
        sockets: Sockets::Yes,
        rights: Rights::default(),
        bpffs: Bpffs::default(),
        memlock: None,
        huge_pages: None,
        jit: None,
        irqbalance: false,
        core_nodes: (0..8).map(|core| (core, core / 4)).collect(),
        core_count: 8,
        daemon: Ok(daemon),
    }
}

/// An open uplink without copies on its four queues.
fn port() -> Port {
    let sockets = (0..4).map(|queue| (queue, None)).collect();
    Port {
        role: Role::Uplink,
        tagged: false,
        waiting: None,
        why_generic: None,
        sockets,
        polled: BTreeMap::new(),
    }
}

/// The same machine with another port on `eth1`.
fn machine_with(port: Port) -> Machine {
    let daemon = Daemon { ports: [("eth1".to_owned(), port)].into(), cores: vec![4, 5] };
    Machine { daemon: Ok(daemon), ..machine() }
}

/// A NIC as it should be, an open uplink with four queues on the second node.
fn sound() -> Nic {
    let interrupt = |queue: u32| Interrupt {
        number: 40 + queue,
        name: format!("i40e-eth1-TxRx-{queue}"),
        rx_queue: Some(queue),
        allowed_cores: (0..8).collect(),
        effective_cores: vec![4 + queue],
    };
    let socket = |queue_id| XdpSocket { interface_index: 3, queue_id, zero_copy: true };
    let gate = Program {
        id: 7,
        name: "sluice_gate".to_owned(),
        mode: Some(GateMode::Native),
        owner: Owner::Sluice,
    };
    Nic {
        link: Link {
            name: "eth1".to_owned(),
            index: 3,
            ethernet: true,
            up: true,
            mtu: 1500,
            promiscuity: 1,
            ..Link::default()
        },
        driver: Driver {
            name: "i40e".to_owned(),
            bus_address: "0000:3b:00.0".to_owned(),
            ..Driver::default()
        },
        link_detected: Some(true),
        offloads: Some(Offloads { gro: true, rx_checksum: true, ..Offloads::default() }),
        rings: Some(RingSizes { rx: 2048, rx_max: 4096, tx: 2048, tx_max: 4096 }),
        channels: Some(Channels { combined: 4, combined_max: 64, ..Channels::default() }),
        rx_queues: Some(4),
        rss: Some((0..4).map(|queue| (queue, 128)).collect()),
        features: Some(XdpFeatures {
            native: true,
            redirect: true,
            zero_copy: true,
            multi_buffer: true,
            zero_copy_segments_max: 8,
        }),
        programs: vec![gate],
        sockets: Some((0..4).map(socket).collect()),
        node: Some(1),
        interrupts: (0..4).map(interrupt).collect(),
        deferral: Some(Deferral { polls: 0, nanoseconds: 0 }),
    }
}

fn with(change: impl FnOnce(&mut Nic)) -> Nic {
    let mut nic = sound();
    change(&mut nic);
    nic
}

/// The same, but not opened by Sluice.
fn unused() -> Nic {
    with(|nic| {
        nic.link.name = "eth2".to_owned();
        (nic.programs, nic.sockets) = (Vec::new(), Some(Vec::new()));
    })
}

fn veth() -> Nic {
    let link = Link { kind: "veth".to_owned(), promiscuity: 0, ..unused().link };
    let features =
        XdpFeatures { native: true, redirect: true, multi_buffer: true, ..XdpFeatures::default() };
    let offloads = Offloads { rx_vlan_stripping: true, gro: true, ..Offloads::default() };
    let driver = Driver { name: "veth".to_owned(), ..Driver::default() };
    Nic {
        link,
        driver,
        offloads: Some(offloads),
        features: Some(features),
        channels: Some(Channels { combined: 1, combined_max: 1, ..Channels::default() }),
        ..Nic::default()
    }
}

#[track_caller]
fn assert_says_on(machine: &Machine, nic: &Nic, name: &str, level: Level, part: &str) {
    let findings = check(nic, machine);
    let Some(finding) = findings.iter().find(|it| it.check == name) else {
        panic!("nothing is said of {name}: {findings:?}");
    };
    let text = format!("{} | {}", finding.found, finding.remedy.as_deref().unwrap_or_default());
    assert!(finding.level == level && text.contains(part), "{finding:?}");
}

#[track_caller]
fn assert_says(nic: &Nic, name: &str, level: Level, part: &str) {
    assert_says_on(&machine(), nic, name, level, part);
}

fn is_silent(nic: &Nic, name: &str) -> bool {
    check(nic, &machine()).iter().all(|it| it.check != name)
}

#[test]
fn a_sound_nic_and_a_veth_have_nothing_but_ok() {
    for nic in [sound(), veth()] {
        let findings = check(&nic, &machine());
        assert!(findings.iter().all(|it| it.level == Level::Ok), "{findings:#?}");
    }
}

#[test]
fn links_that_are_down() {
    let down = with(|nic| nic.link.up = false);
    assert_says(&down, "link", Level::Fault, "ip link set dev eth1 up");
    let alone = with(|nic| nic.link_detected = Some(false));
    assert_says(&alone, "link", Level::Fault, "ip link show dev eth1");
    let spare = Nic { link_detected: Some(false), ..unused() };
    assert_says(&spare, "link", Level::Warning, "ip link show dev eth2");
    let pod = Nic { link_detected: Some(false), ..veth() };
    assert_says(&pod, "link", Level::Warning, "peer");
}

#[test]
fn what_the_kernel_tells_of_a_driver_decides() {
    assert_says(&sound(), "driver", Level::Ok, "i40e: native, zero-copy |");
    let features = XdpFeatures { native: true, ..XdpFeatures::default() };
    let copies = with(|nic| nic.features = Some(features));
    assert_says(
        &copies,
        "driver",
        Level::Warning,
        "although the driver has zero-copy since Linux 4.20",
    );
    let ena = with(|nic| {
        nic.features = Some(features);
        nic.driver.name = "ena".to_owned();
    });
    assert_says(&ena, "driver", Level::Ok, "ena: native, with copies, as this driver is");
    let none = with(|nic| nic.features = Some(XdpFeatures::default()));
    assert_says(&none, "driver", Level::Warning, "generic mode, slower");
}

#[test]
fn where_the_kernel_does_not_tell_the_driver_s_history_does() {
    let old = Machine { release: "5.10.0".to_owned(), ..machine() };
    let of = |driver: &str| {
        with(|nic| {
            nic.features = None;
            nic.driver.name = driver.to_owned();
        })
    };
    assert_says_on(&old, &of("ice"), "driver", Level::Ok, "native, zero-copy (expected");
    assert_says_on(&old, &of("igb"), "driver", Level::Warning, "for zero-copy boot Linux 6.14");
    assert_says_on(&old, &of("igc"), "driver", Level::Warning, "boot Linux 5.13 or newer");
    assert_says_on(&old, &of("e1000e"), "driver", Level::Warning, "whose driver has XDP");
    assert_says_on(&old, &of("new"), "driver", Level::Unknown, "not known here");
}

#[test]
fn programs_of_others_are_faults() {
    let other = |owner| with(|nic| nic.programs[0].owner = owner);
    assert_says(&other(Owner::Other), "program", Level::Fault, "ip link set dev eth1 xdp off");
    assert_says(&other(Owner::Unknown), "program", Level::Unknown, "sudo");
    assert_says(&sound(), "program", Level::Ok, "(`sluice_gate`, id 7, native)");
    let dead = Machine { daemon: Err("gone".to_owned()), ..machine() };
    assert_says_on(&dead, &sound(), "program", Level::Warning, "sluiced --detach");
}

#[test]
fn a_port_that_is_not_open_or_slower_than_asked() {
    assert_says(&sound(), "port", Level::Ok, "an uplink, open");
    let waiting = machine_with(Port { waiting: Some("its link is down".to_owned()), ..port() });
    assert_says_on(&waiting, &sound(), "port", Level::Fault, "frames drop: its link is down");
    let silent = check(&sound(), &waiting).iter().all(|it| it.check != "sockets");
    assert!(silent, "a port that waits has none");
    let slow = machine_with(Port { why_generic: Some("refused".to_owned()), ..port() });
    assert_says_on(&slow, &sound(), "port", Level::Warning, "generic mode, slower: refused");
    assert!(is_silent(&unused(), "port"));
}

#[test]
fn a_queue_without_a_socket_is_a_fault() {
    let mut bare = port();
    bare.sockets.remove(&2);
    let part = "none on queues 2: what comes there drops";
    assert_says_on(&machine_with(bare.clone()), &sound(), "sockets", Level::Fault, part);
    bare.sockets.remove(&0);
    let part = "none on queues 0,2: what comes there takes the port's fallback";
    assert_says_on(&machine_with(bare), &sound(), "sockets", Level::Fault, part);
    let mut copying = port();
    for queue in [0, 1, 3] {
        copying.sockets.insert(queue, Some("no room".to_owned()));
    }
    let machine = machine_with(copying);
    let part = "with copies on queues 0-1,3: no room";
    assert_says_on(&machine, &sound(), "sockets", Level::Warning, part);
    let features = XdpFeatures { zero_copy: false, ..sound().features.unwrap() };
    let without = Nic { features: Some(features), ..sound() };
    assert_says_on(&machine, &without, "sockets", Level::Ok, part);
    assert_says(&sound(), "sockets", Level::Ok, "one on each of 4 queues");
}

#[test]
fn sockets_that_no_daemon_answers_for() {
    let somebody = Nic { sockets: sound().sockets, ..unused() };
    assert_says(&somebody, "sockets", Level::Warning, "on queues 0-3, 0 of them with copies");
    assert!(is_silent(&unused(), "sockets"));
}

#[test]
fn mtus() {
    let of = |mtu| with(|nic| nic.link.mtu = mtu);
    assert_says(&of(3_500), "MTU", Level::Ok, "3500");
    assert_says(&of(9_000), "MTU", Level::Ok, "several chunks");
    assert_says(&of(9_001), "MTU", Level::Fault, "ip link set dev eth1 mtu 9000");
    let old = Machine { release: "6.1.0".to_owned(), ..machine() };
    assert_says_on(
        &old,
        &of(9_000),
        "MTU",
        Level::Fault,
        "need Linux 6.6 | ip link set dev eth1 mtu 3500",
    );
    let features = sound().features.unwrap();
    let single =
        Nic { features: Some(XdpFeatures { multi_buffer: false, ..features }), ..of(4_000) };
    assert_says(
        &single,
        "MTU",
        Level::Warning,
        "driver does not have: the gate runs in generic mode",
    );
    let few =
        Nic { features: Some(XdpFeatures { zero_copy_segments_max: 4, ..features }), ..of(4_000) };
    assert_says(
        &few,
        "MTU",
        Level::Warning,
        "several chunks, up to 5, and without copies the driver has 4 at most | ip link set dev eth1 mtu 3500",
    );
    assert_says(&Nic { features: None, ..of(4_000) }, "MTU", Level::Unknown, "does not tell");
}

#[test]
fn too_many_queues_and_too_few() {
    let combined = |combined, combined_max| {
        let channels = Some(Channels { combined, combined_max, ..Channels::default() });
        with(|nic| nic.channels = channels)
    };
    assert_says(&combined(65, 128), "queues", Level::Fault, "ethtool -L eth1 combined 64");
    assert_says(&combined(1, 128), "queues", Level::Warning, "ethtool -L eth1 combined 8");
    assert_says(&combined(1, 1), "queues", Level::Ok, "1 of at most 1");
    let apart = Channels { rx: 65, rx_max: 65, tx: 8, tx_max: 8, ..Channels::default() };
    let apart = with(|nic| nic.channels = Some(apart));
    assert_says(&apart, "queues", Level::Fault, "ethtool -L eth1 rx 64");
    let half = |driver: &str, nic: Nic| {
        let driver = Driver { name: driver.to_owned(), ..nic.driver };
        Nic { driver, ..nic }
    };
    let ena = half("ena", combined(5, 8));
    assert_says(&ena, "queues", Level::Warning, "ethtool -L eth1 combined 4");
    let one = half("ena", combined(1, 8));
    assert_says(&one, "queues", Level::Warning, "ethtool -L eth1 combined 4");
    assert_says(&half("ena", combined(4, 8)), "queues", Level::Ok, "4 of at most 8");
    let channels = Channels { rx: 8, rx_max: 8, tx: 8, tx_max: 8, ..Channels::default() };
    let gve = half("gve", with(|nic| nic.channels = Some(channels)));
    assert_says(&gve, "queues", Level::Warning, "ethtool -L eth1 rx 4 tx 4");
    let untold = |count| with(|nic| (nic.channels, nic.rx_queues) = (None, Some(count)));
    assert_says(&untold(8), "queues", Level::Ok, "8; the driver tells nothing of them");
    assert_says(
        &untold(65),
        "queues",
        Level::Fault,
        "65; the driver tells nothing of them; a gate serves 64",
    );
}

#[test]
fn queues_that_get_no_flows() {
    let half = with(|nic| nic.rss = Some([(0, 64), (1, 64)].into()));
    assert_says(&half, "RSS", Level::Warning, "to queues 2-3 | ethtool -X eth1 equal 4");
    assert_says(&with(|nic| nic.rss = None), "RSS", Level::Unknown, "does not tell");
    let single = with(|nic| {
        (nic.channels, nic.rx_queues, nic.rss) = (None, Some(1), Some(BTreeMap::new()));
    });
    assert!(is_silent(&single, "RSS"));
}

#[test]
fn short_rings() {
    let of =
        |rx, rx_max| with(|nic| nic.rings = Some(RingSizes { rx, rx_max, tx: 4096, tx_max: 4096 }));
    assert_says(&of(512, 4096), "rings", Level::Warning, "ethtool -G eth1 rx 2048 tx 4096");
    assert_says(&of(512, 512), "rings", Level::Ok, "rx 512 of 512");
    assert!(is_silent(&with(|nic| nic.rings = None), "rings"));
}

#[test]
fn an_uplink_takes_frames_for_all_macs() {
    let shy = |nic: Nic| Nic { link: Link { promiscuity: 0, ..nic.link.clone() }, ..nic };
    assert_says(&shy(sound()), "promiscuous", Level::Fault, "ip link set dev eth1 promisc on");
    assert!(is_silent(&shy(unused()), "promiscuous"), "sluiced sees to it");
    assert!(is_silent(&veth(), "promiscuous"));
}

#[test]
fn workers_and_interrupts_belong_on_the_nic_s_node() {
    assert_says(&sound(), "NUMA", Level::Ok, "node 1, with cores 4-7");
    let far = Nic { node: Some(0), ..sound() };
    assert_says(
        &far,
        "NUMA",
        Level::Warning,
        "workers on cores 4-5 are on another | in sluice.toml, [engine]: cores = [0, 1]",
    );
    assert_says(
        &far,
        "interrupts",
        Level::Warning,
        "echo 0 > /proc/irq/40/smp_affinity_list; echo 1",
    );
    let crowded = with(|nic| {
        nic.interrupts.iter_mut().for_each(|it| it.effective_cores = vec![6]);
    });
    assert_says(
        &crowded,
        "interrupts",
        Level::Warning,
        "one core takes them all | echo 4 > /proc/irq/40/",
    );
    let unseen = with(|nic| nic.interrupts.iter_mut().for_each(|it| it.effective_cores.clear()));
    assert_says(&unseen, "interrupts", Level::Unknown, "not seen");
    let odd = with(|nic| nic.interrupts.clear());
    assert_says(&odd, "interrupts", Level::Unknown, "do not tell");
    let one_node = Machine { core_nodes: (0..8).map(|core| (core, 0)).collect(), ..machine() };
    let findings = check(&Nic { node: Some(0), ..sound() }, &one_node);
    assert!(findings.iter().all(|it| it.check != "NUMA" && it.level == Level::Ok), "{findings:?}");
}

#[test]
fn commands_quote_what_a_shell_would_read_otherwise() {
    let hostile = with(|nic| {
        nic.link.name = "a;reboot".to_owned();
        nic.link.up = false;
    });
    assert_says(&hostile, "link", Level::Fault, "ip link set dev 'a;reboot' up");
}
