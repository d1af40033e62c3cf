//! Ports for servers of tests.

use std::hash::{BuildHasher as _, RandomState};
use std::net::{Ipv4Addr, TcpListener};

/// Below the ports that the kernel hands out, so that a server that restarts
/// finds its port still free.
const PORTS: std::ops::Range<u16> = 12_000..30_000;

/// A port on loopback where nobody listens.
pub fn free_port() -> u16 {
    let span = usize::from(PORTS.end - PORTS.start);
    for _ in 0..1_000 {
        // Each state is keyed anew: a random number without a dependency.
        let random = RandomState::new().hash_one(0_u8) as usize;
        let port = PORTS.start + u16::try_from(random % span).expect("within the span");
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no free port");
}
