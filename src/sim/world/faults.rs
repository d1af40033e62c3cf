//! What breaks.

use rand::Rng;

use crate::domain::ids::Incarnation;
use crate::fanout::event::DrainReason;

use super::super::node::Node;
use super::{CLIENTS, World};

impl World {
    /// A message of the bus is lost.
    pub(in crate::sim) fn drop_delta(&mut self, node: usize) {
        if self.nodes[node].inbox.pop_front().is_some() {
            self.coverage.count("fault: delta dropped");
        }
    }

    /// kill -9: what the node had yet to do is gone, and so are its streams.
    pub(in crate::sim) fn crash(&mut self, node: usize) {
        self.coverage.count("fault: node crash");
        self.restart(node);
    }

    fn restart(&mut self, node: usize) {
        for client in 0..CLIENTS {
            let state = &mut self.clients[client];
            if let Some(stream) = state.stream.take_if(|stream| stream.node == node) {
                self.attended(stream.client);
            }
        }
        self.strays.retain(|stream| stream.node != node);
        let Incarnation(before) = self.nodes[node].incarnation;
        let keys = self.newest_keys();
        self.nodes[node] = Node::new(before + 100, &self.setup, keys, self.now);
    }

    /// SIGTERM: every stream is told, work is done, then the node comes back.
    pub(in crate::sim) fn drain(&mut self, node: usize) {
        self.coverage.count("command: drain node");
        let ms = self.nodes[node].hub_ms();
        self.nodes[node].hub.drain_all(DrainReason::Shutdown, 1_000);
        for client in 0..CLIENTS {
            let held = self.clients[client].stream.as_mut();
            if let Some(stream) = held.filter(|stream| stream.node == node) {
                stream.heard.note_draining(ms, &self.setup.limits);
                self.read_up_to(client, 16);
            }
        }
        let client = self.rng.random_range(0..CLIENTS);
        self.open_stream(client, node);
        while !self.nodes[node].is_cut_off && !self.nodes[node].work.is_empty() {
            self.node_work(node);
        }
        self.restart(node);
    }

    /// The queue store is out of a node's reach; or within that of the node
    /// that had lost it.
    pub(in crate::sim) fn cut_or_heal(&mut self, node: usize) {
        let lost = self.nodes.iter().position(|node| node.is_cut_off);
        let (node, is_cut_off) = lost.map_or((node, true), |node| (node, false));
        self.coverage.count(match is_cut_off {
            true => "fault: node cut off",
            false => "node: healed",
        });
        self.set_cut_off(node, is_cut_off);
    }

    pub(in crate::sim) fn set_cut_off(&mut self, node: usize, is_cut_off: bool) {
        self.nodes[node].is_cut_off = is_cut_off;
        self.nodes[node]
            .hub
            .set_degraded(&self.setup.room, is_cut_off);
    }

    /// FLUSHALL: the next call finds no room.
    pub(in crate::sim) fn lose_queue(&mut self) {
        self.coverage.count("fault: queue lost");
        self.queue = None;
        for node in &mut self.nodes {
            node.inbox.clear();
        }
    }

    /// The servers' clock jumps by up to an hour, either way.
    pub(in crate::sim) fn jump(&mut self) {
        self.coverage.count("fault: clock jump");
        let jump_ms = self.rng.random_range(0..3_600_000);
        // Rows are judged by the database's clock, which jumps with it here;
        // forward only, or rows would be written in the past.
        self.now = self.now.plus_ms(jump_ms);
    }
}
