//! What breaks.

use crate::domain::ids::Incarnation;

use super::super::node::Node;
use super::World;

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
        let Incarnation(before) = self.nodes[node].incarnation;
        self.nodes[node] = Node::new(before + 100);
        for client in &mut self.clients {
            if client.stream == Some(node) {
                client.stream = None;
                client.attended_ms = self.real_ms;
            }
        }
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
        use rand::Rng;
        self.coverage.count("fault: clock jump");
        let jump_ms = self.rng.random_range(0..3_600_000);
        // Rows are judged by the database's clock, which jumps with it here;
        // forward only, or rows would be written in the past.
        self.now = self.now.plus_ms(jump_ms);
    }
}
