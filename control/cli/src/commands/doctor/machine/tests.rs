use super::super::finding::Level;
use super::*;

fn sound() -> Machine {
    Machine {
        release: "6.18.1".to_owned(),
        rights: Rights { root: true, may_mount: true, may_lock: true, missing: Vec::new() },
        bpffs: Bpffs { pin_dir: "/run/sluice/bpf".into(), mounted: true, known_to_kernel: None },
        huge_pages: Some(HugePages { total: 64, free: 32, size_kib: 2048 }),
        jit: Some(true),
        daemon: Ok(Daemon { ports: BTreeMap::new(), cores: vec![2, 3] }),
        sockets: Sockets::Yes,
        memlock: None,
        irqbalance: false,
        core_nodes: BTreeMap::new(),
        core_count: 4,
    }
}

/// What the check of that name says of a machine.
fn said(machine: &Machine, name: &str) -> (Level, String) {
    let finding = check(machine).into_iter().find(|it| it.check == name).unwrap();
    (finding.level, format!("{} | {}", finding.found, finding.remedy.unwrap_or_default()))
}

fn assert_says(machine: &Machine, name: &str, level: Level, part: &str) {
    let (seen, text) = said(machine, name);
    assert!(seen == level && text.contains(part), "{name}: {seen:?}: {text}");
}

#[test]
fn a_sound_machine_has_nothing_but_ok() {
    let findings = check(&sound());
    assert!(findings.iter().all(|it| it.level == Level::Ok && it.remedy.is_none()), "{findings:?}");
    assert_eq!(findings.len(), 8);
}

#[test]
fn kernels() {
    let on = |release: &str| Machine { release: release.to_owned(), ..sound() };
    assert_says(&on("5.4.0-1"), "kernel", Level::Fault, "boot Linux 5.10 or newer");
    assert_says(&on("5.10.0-32-amd64"), "kernel", Level::Ok, "5.18 brings");
    assert_eq!(said(&on("6.14.0"), "kernel"), (Level::Ok, "6.14.0 | ".to_owned()));
    assert_says(&on("6.13.0"), "kernel", Level::Ok, "6.14 brings zero-copy on igb");
    assert_says(&on("?"), "kernel", Level::Unknown, "no version");
}

#[test]
fn sockets_that_cannot_be_opened() {
    let with = |sockets| Machine { sockets, ..sound() };
    assert_says(&with(Sockets::NotBuilt), "AF_XDP", Level::Fault, "CONFIG_XDP_SOCKETS=y");
    assert_says(&with(Sockets::Forbidden), "AF_XDP", Level::Unknown, "sudo sluicectl");
    let failed = Sockets::Failed("out of memory".to_owned());
    assert_says(&with(failed), "AF_XDP", Level::Fault, "out of memory");
}

#[test]
fn rights_that_are_missing() {
    let rights = Rights { missing: vec!["CAP_BPF", "CAP_NET_RAW"], ..Rights::default() };
    let user = Machine { rights: rights.clone(), ..sound() };
    assert_says(&user, "capabilities", Level::Unknown, "lacks CAP_BPF, CAP_NET_RAW");
    let root = Machine { rights: Rights { root: true, ..rights }, ..sound() };
    assert_says(&root, "capabilities", Level::Fault, "capabilities.add: [BPF, NET_RAW]");
}

#[test]
fn a_place_for_pins() {
    let bpffs = Bpffs { pin_dir: "/run/x y".into(), ..Bpffs::default() };
    let with = |bpffs: &Bpffs, may_mount| {
        let rights = Rights { may_mount, ..sound().rights };
        Machine { bpffs: bpffs.clone(), rights, ..sound() }
    };
    assert_says(&with(&bpffs, true), "pins", Level::Ok, "sluiced mounts one");
    assert_says(&with(&bpffs, false), "pins", Level::Warning, "mount -t bpf bpf '/run/x y'");
    let user = Machine { rights: Rights::default(), ..with(&bpffs, false) };
    assert_says(&user, "pins", Level::Unknown, "sudo");
    let without = Bpffs { known_to_kernel: Some(false), ..bpffs };
    assert_says(&with(&without, true), "pins", Level::Fault, "CONFIG_BPF_SYSCALL");
}

#[test]
fn limits_of_locked_memory() {
    let rights = Rights { root: true, ..Rights::default() };
    let new = Machine { memlock: Some(8 << 20), rights, ..sound() };
    assert_says(&new, "memlock", Level::Warning, "LimitMEMLOCK=infinity");
    let old = Machine { release: "5.10.0".to_owned(), ..new.clone() };
    assert_says(&old, "memlock", Level::Warning, "(for each queue) and maps must fit in");
    let user = Machine { rights: Rights::default(), ..new.clone() };
    assert_says(&user, "memlock", Level::Unknown, "8192 KiB for this process");
    let root = Machine { rights: sound().rights, ..new };
    assert_says(&root, "memlock", Level::Ok, "does not bind root");
}

#[test]
fn huge_pages_for_packet_memory() {
    let with = |total, free| {
        let huge_pages = Some(HugePages { total, free, size_kib: 2048 });
        Machine { huge_pages, daemon: Err("no".to_owned()), ..sound() }
    };
    assert_says(&with(0, 0), "huge pages", Level::Warning, "sysctl -w vm.nr_hugepages=32");
    assert_says(&with(40, 30), "huge pages", Level::Warning, "sysctl -w vm.nr_hugepages=42");
    assert_says(&with(32, 32), "huge pages", Level::Ok, "");
    let running = Machine { daemon: sound().daemon, ..with(32, 0) };
    assert_says(&running, "huge pages", Level::Ok, "0 of 32 free");
}

#[test]
fn what_disturbs_the_workers() {
    let slow = Machine { jit: Some(false), irqbalance: true, ..sound() };
    assert_says(&slow, "BPF JIT", Level::Warning, "sysctl -w net.core.bpf_jit_enable=1");
    assert_says(&slow, "irqbalance", Level::Warning, "IRQBALANCE_BANNED_CPULIST=2-3");
}

#[test]
fn without_a_daemon_no_cores_are_known_to_keep_irqbalance_off() {
    let machine = Machine { irqbalance: true, daemon: Err("gone".to_owned()), ..sound() };
    assert_says(&machine, "irqbalance", Level::Warning, "| systemctl disable --now irqbalance, or");
}

#[test]
fn a_port_whose_interface_is_away_waits_for_it() {
    let port = || Port {
        role: Role::Uplink,
        tagged: false,
        waiting: None,
        why_generic: None,
        sockets: BTreeMap::new(),
        polled: BTreeMap::new(),
    };
    let ports = ["eth1", "eth2", "-x;y"].map(|name| (name.to_owned(), port())).into();
    let machine = Machine { daemon: Ok(Daemon { ports, cores: Vec::new() }), ..sound() };
    let links = |name: &str| vec![Link { name: name.to_owned(), ..Link::default() }];
    let lost = lost_ports(&machine, &links("eth1"));
    let [dashed, plain] = &lost[..] else { panic!("{lost:?}") };
    for (subject, command) in [(plain, "remove eth2"), (dashed, "remove -- '-x;y'")] {
        let finding = &subject.findings[0];
        let remedy = finding.remedy.as_deref().unwrap();
        assert_eq!(finding.level, Level::Fault);
        assert!(remedy.contains("opens it by itself") && remedy.ends_with(command), "{remedy}");
    }
    let lost = lost_ports(&machine, &links("lo"));
    assert_eq!(lost.len(), 3);
    for Subject { findings, .. } in lost {
        assert_eq!(findings[0].level, Level::Unknown, "the daemon is elsewhere");
        assert!(!findings[0].remedy.as_deref().unwrap().contains("remove"));
    }
    assert!(lost_ports(&sound(), &links("lo")).is_empty());
}

#[test]
fn a_daemon_that_does_not_answer_is_told() {
    let alone = Machine { daemon: Err("no such file".to_owned()), ..sound() };
    assert_says(&alone, "daemon", Level::Unknown, "no such file");
}
