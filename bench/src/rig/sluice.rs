//! Sluice as a forwarder, in this process.

use std::collections::BTreeMap;
use std::sync::Arc;

use sluice_core::address::{Mac, NetworkId};
use sluice_engine::open::{PortMode, PortRequest, Ports};
use sluice_engine::port::PortKind;
use sluice_engine::{Engine, EngineConfig};
use sluice_policy::compile::{CompileOptions, compile};
use sluice_xdp::{Fallback, Umem, UmemConfig};

use super::setup::sink_pod;
use super::{BenchError, Cable, Forwarder, Rig, Setup, rule_set};

/// Running on the cables of a rig; dropping it ends it. Senders are behind an uplink, sinks are
/// pods.
pub(crate) struct Sluice<'a> {
    ports: Option<Ports>,
    rig: &'a Rig,
    /// The interfaces that are open.
    open: Vec<String>,
}

impl<'a> Sluice<'a> {
    pub(crate) fn start(rig: &'a Rig, setup: &Setup) -> Result<Self, BenchError> {
        let umem_config = UmemConfig { frame_count: 16_384, huge_pages: true };
        let (umem, pool) =
            Umem::new(&umem_config).map_err(BenchError::failed("Sluice's packet memory"))?;
        let mut config = EngineConfig { cores: setup.cores.clone(), ..EngineConfig::default() };
        if let Some(connections) = setup.connections_max {
            config.connections_max = connections;
            config.pod_connections_max = connections;
        }
        let engine =
            Engine::start(&config, umem, pool).map_err(BenchError::failed("Sluice's engine"))?;
        let table = compile(&rule_set(setup)?, &CompileOptions::default())
            .map_err(|faults| BenchError::Failed(format!("{faults:?}")))?;
        engine.publish(table.with_revision(1)).map_err(BenchError::failed("Sluice's table"))?;
        let ports = Ports::new(Arc::new(engine), rig.bpffs()?);
        let mut sluice = Self { ports: Some(ports), rig, open: Vec::new() };
        for (number, cable) in (0..setup.cables).zip(rig.cables()) {
            let worker = setup.workers.get(usize::from(number)).copied();
            sluice.open(cable, &format!("bench/{}", sink_pod(number)), worker)?;
        }
        Ok(sluice)
    }

    fn open(&mut self, cable: &Cable, pod: &str, worker: Option<usize>) -> Result<(), BenchError> {
        let pod = PortKind::Pod { pod: pod.into(), mac: Mac(cable.sink_mac()) };
        for (interface, kind) in cable.interfaces().into_iter().zip([PortKind::Uplink, pod]) {
            let request = PortRequest {
                interface: interface.clone(),
                kind,
                networks: BTreeMap::from([(NetworkId::DEFAULT, None)]),
                priority_tags: false,
                fallback: Fallback::Drop,
                node_addresses: Vec::new(),
                mode: PortMode::Auto,
                workers: worker.into_iter().collect(),
            };
            let ports = self.ports()?;
            self.rig
                .forwarder
                .run(|| ports.open(&request))?
                .map_err(BenchError::failed("a port of Sluice"))?;
            self.open.push(interface);
        }
        Ok(())
    }

    fn ports(&self) -> Result<&Ports, BenchError> {
        self.ports.as_ref().ok_or_else(|| BenchError::Failed("Sluice is closed".into()))
    }

    /// Its engine, for whoever publishes tables.
    pub(crate) fn engine(&self) -> Result<Arc<Engine>, BenchError> {
        Ok(Arc::clone(self.ports()?.engine()))
    }

    /// Frames that have arrived at the port that faces the first cable's sender, by its gate's
    /// count.
    pub(crate) fn arrived(&self) -> Result<u64, BenchError> {
        let facts = self.ports()?.facts("dut0");
        Ok(facts.map_err(BenchError::failed("the gate's counters"))?.gate.steered)
    }
}

impl Forwarder for Sluice<'_> {
    fn next_hop(&self, cable: &Cable) -> [u8; 6] {
        cable.sink_mac()
    }

    fn account(&self) -> String {
        let Some(ports) = &self.ports else { return String::new() };
        let totals = ports.engine().totals();
        let drops: Vec<String> =
            totals.drops().map(|(reason, count)| format!("{count} {reason}")).collect();
        format!(
            "Sluice received {}, sent {}, dropped: {}",
            totals.rx_frames,
            totals.tx_frames,
            if drops.is_empty() { "none".into() } else { drops.join(", ") }
        )
    }
}

impl Drop for Sluice<'_> {
    fn drop(&mut self) {
        let Some(ports) = self.ports.take() else { return };
        let open = std::mem::take(&mut self.open);
        let _ = self.rig.forwarder.run(|| {
            for interface in open {
                if let Err(error) = ports.close(&interface) {
                    eprintln!("closing {interface}: {error}");
                }
            }
        });
    }
}
