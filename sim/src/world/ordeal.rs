//! What happens to the hosts, as the plan has it; and at the end of its time, that everything is mended.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use turmoil::Sim;

use super::Distances;
use crate::faults::{Event, Fault};
use crate::host::{Host, SYNC_MS};
use crate::invariants::Loss;
use crate::net::host_of;
use crate::plan::Plan;

/// Whether the node of a host runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Power {
    On,
    /// It was told to stop.
    Stopping,
    Off,
}

/// See the module.
pub(super) struct Ordeal {
    plan: Arc<Plan>,
    faults: VecDeque<Event>,
    hosts: Arc<Vec<Host>>,
    power: Vec<Power>,
    /// Hosts whose stores may have failed since their nodes were started.
    ailing: BTreeSet<u8>,
    distances: Distances,
    is_over: bool,
    /// Stores that are no more.
    pub(super) losses: Vec<Loss>,
}

impl Ordeal {
    pub(super) fn new(plan: &Arc<Plan>, hosts: Arc<Vec<Host>>, distances: Distances) -> Self {
        let (faults, power) = (plan.faults.clone().into(), vec![Power::On; hosts.len()]);
        Self {
            plan: Arc::clone(plan),
            faults,
            hosts,
            power,
            ailing: BTreeSet::new(),
            distances,
            is_over: false,
            losses: Vec::new(),
        }
    }

    /// Brings about what is due.
    pub(super) fn happen(&mut self, sim: &mut Sim<'_>) {
        let now = sim.elapsed();
        while let Some(Event { fault, .. }) = self.faults.pop_front_if(|event| event.at <= now) {
            tracing::info!(%fault, "fault");
            self.bring_about(sim, &fault);
        }
        for (at, host) in self.hosts.iter().enumerate().filter(|(_, host)| host.has_left()) {
            if self.power[at] == Power::On {
                host.set_stopping(true);
                self.power[at] = Power::Stopping;
            }
        }
        if now >= self.plan.scenario.lasting && !self.is_over {
            self.is_over = true;
            tracing::info!("the storm is over");
            self.mend_all(sim);
        }
    }

    fn bring_about(&mut self, sim: &mut Sim<'_>, fault: &Fault) {
        let now = sim.since_epoch();
        match *fault {
            Fault::Cut(one, other) => sim.partition(host_of(one), host_of(other)),
            Fault::CutOneWay(from, to) => sim.partition_oneway(host_of(from), host_of(to)),
            Fault::Hold(one, other) => sim.hold(host_of(one), host_of(other)),
            Fault::Mend(one, other) => mend(sim, &host_of(one), &host_of(other)),
            Fault::Link { one, other, link } => {
                let distances = &self.distances;
                let usual = self.plan.scenario.links.of(distances.region(one), distances.region(other));
                distances.set(sim, &host_of(one), &host_of(other), link.unwrap_or(usual));
            }
            Fault::Crash { host, kept } => self.crash(sim, host, kept),
            Fault::Stop(host) => self.stop(host),
            Fault::Restart(host) => self.restart(sim, host),
            Fault::Wipe(host) => self.replace_disk(sim, host, Host::wipe),
            Fault::Restore(host) => {
                self.replace_disk(sim, host, if self.is_restorable(host) { Host::restore } else { Host::wipe });
            }
            Fault::Backup(host) => self.host(host).back_up(),
            Fault::DiskFull(host) => {
                self.ailing.insert(host);
                self.host(host).disk().set_room(false);
            }
            Fault::DiskRoom(host) => self.host(host).disk().set_room(true),
            Fault::DiskLow { host, is_low } => self.host(host).set_low(is_low),
            Fault::SyncFails(host) => {
                self.ailing.insert(host);
                self.host(host).disk().fail_next_sync();
            }
            Fault::Disk { host, sync_ms } => self.host(host).set_sync_ms(sync_ms),
            Fault::Clock { host, ahead_ms } => self.host(host).clock().set(now, ahead_ms),
            Fault::Drift { host, ppm } => self.host(host).clock().drift(now, ppm),
            Fault::Freeze(host) => self.host(host).clock().freeze(now),
            Fault::Stall(host) => self.stall(sim, host, true),
            Fault::Resume(host) => self.stall(sim, host, false),
            Fault::Version { host, newest } => self.host(host).set_newest(newest),
            // The operator's.
            Fault::Leave(_) | Fault::Forget { .. } => {}
        }
    }

    fn host(&self, number: u8) -> &Host {
        &self.hosts[usize::from(number) - 1]
    }

    fn power(&mut self, number: u8) -> &mut Power {
        &mut self.power[usize::from(number) - 1]
    }

    fn crash(&mut self, sim: &mut Sim<'_>, number: u8, kept: usize) {
        if *self.power(number) == Power::Off {
            return;
        }
        *self.power(number) = Power::Off;
        self.ailing.remove(&number);
        let disk = self.host(number).disk();
        disk.power_off();
        sim.crash(host_of(number));
        disk.crash(kept);
    }

    fn stop(&mut self, number: u8) {
        if *self.power(number) == Power::On {
            *self.power(number) = Power::Stopping;
            self.host(number).set_stopping(true);
        }
    }

    fn restart(&mut self, sim: &mut Sim<'_>, number: u8) {
        if *self.power(number) == Power::On || self.host(number).has_left() {
            return;
        }
        // One that takes too long to stop is killed.
        if *self.power(number) == Power::Stopping && sim.is_host_running(host_of(number)) {
            self.crash(sim, number, 0);
        }
        *self.power(number) = Power::On;
        self.host(number).set_stopping(false);
        sim.bounce(host_of(number));
    }

    fn replace_disk(&mut self, sim: &mut Sim<'_>, number: u8, replace: fn(&Host)) {
        self.crash(sim, number, 0);
        let host = self.host(number);
        let store = (number, host.store());
        replace(host);
        host.set_left(false);
        self.losses.push(Loss { store, at: sim.elapsed() });
    }

    /// Whether an older disk of a host can be put back. If its clock was ahead since, the node is taken for a copy of itself until
    /// that time has come, and is to be started again then: `docs/operations.md`, *Backups*.
    fn is_restorable(&self, number: u8) -> bool {
        !self.plan.faults.iter().any(|event| event.fault.touches_clock_of(number))
    }

    /// Holds everything on the way to a host and from it, and its syncs; or lets them go on.
    fn stall(&self, sim: &Sim<'_>, number: u8, is_stalled: bool) {
        self.host(number).set_stalled(is_stalled);
        let here = host_of(number);
        for (there, _) in self.distances.names.iter().filter(|(name, _)| *name != here) {
            if is_stalled {
                sim.hold(here.as_str(), there.as_str());
            } else {
                mend(sim, &here, there);
            }
        }
    }

    /// The end of all faults: whoever is down starts again, but those who left.
    fn mend_all(&mut self, sim: &mut Sim<'_>) {
        let now = sim.since_epoch();
        let names = &self.distances.names;
        for (at, (one, _)) in names.iter().enumerate() {
            for (other, _) in &names[at + 1..] {
                mend(sim, one, other);
            }
        }
        self.distances.set_all(sim, &self.plan.scenario);
        for number in 1..=self.plan.scenario.nodes() {
            let host = self.host(number);
            host.disk().set_room(true);
            host.set_low(false);
            host.set_stalled(false);
            host.set_sync_ms(SYNC_MS);
            host.set_newest(None);
            host.clock().set(now, 0);
            if self.ailing.contains(&number) {
                self.crash(sim, number, 0);
            }
            self.restart(sim, number);
        }
    }
}

fn mend(sim: &Sim<'_>, one: &str, other: &str) {
    sim.release(one, other);
    sim.repair(one, other);
}
