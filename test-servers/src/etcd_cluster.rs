//! Three real etcds that agree.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use crate::etcd::{Etcd, EtcdOptions, Membership};
use crate::free_ports::free_address;
use crate::process::PATIENCE;

const MEMBERS: usize = 3;

/// A cluster of three. Dropping it kills them all.
pub struct EtcdCluster {
    members: Vec<Etcd>,
}

impl EtcdCluster {
    /// Starts all three, alike, and waits until each is ready.
    ///
    /// # Errors
    ///
    /// If they are not ready within 30 s.
    pub fn start(options: &EtcdOptions) -> io::Result<Self> {
        let peers: Vec<SocketAddr> =
            (0..MEMBERS).map(|_| free_address(Ipv4Addr::LOCALHOST.into())).collect::<io::Result<_>>()?;
        let urls = peers.iter().enumerate().map(|(index, peer)| format!("member{index}=http://{peer}"));
        let all = urls.collect::<Vec<_>>().join(",");
        let mut members = Vec::new();
        for (index, peer) in peers.into_iter().enumerate() {
            let membership = Membership { name: format!("member{index}"), peer, all: all.clone() };
            let mut member = Etcd::member(options, &membership)?;
            member.launch()?;
            members.push(member);
        }
        let mut cluster = Self { members };
        cluster.wait_until_healthy()?;
        Ok(cluster)
    }

    /// Where clients reach the members, in their order.
    pub fn endpoints(&self) -> Vec<String> {
        self.members.iter().map(|member| member.endpoint().to_owned()).collect()
    }

    /// One of the three, to stop, pause or restart.
    ///
    /// # Panics
    ///
    /// If there is no such index.
    pub fn member(&mut self, index: usize) -> &mut Etcd {
        &mut self.members[index]
    }

    /// Waits until every member that runs, and is not paused, is ready.
    ///
    /// # Errors
    ///
    /// If that takes one of them more than 30 s, as it does where a majority is missing.
    pub fn wait_until_healthy(&mut self) -> io::Result<()> {
        self.members.iter_mut().filter(|member| member.is_active()).try_for_each(Etcd::wait_until_ready)
    }

    /// The index of the leader, once exactly one of those that run takes itself for it. A leader that was paused goes
    /// on taking itself for it for a moment after it was resumed.
    ///
    /// # Errors
    ///
    /// If there is none within 30 s.
    pub fn leader(&self) -> io::Result<usize> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let members = self.members.iter().enumerate();
            let asked = members.filter(|(_, member)| member.is_active());
            let leads: Vec<usize> = asked
                .filter(|(_, member)| member.says_it_leads().unwrap_or(false))
                .map(|(index, _)| index)
                .collect();
            if let [leader] = leads[..] {
                return Ok(leader);
            }
            if Instant::now() >= deadline {
                let logs: Vec<String> = self.members.iter().map(Etcd::log).collect();
                let what = format!("no leader; the members' logs end:\n{}", logs.join("\n--\n"));
                return Err(io::Error::other(what));
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}
