//! What a server says of itself in `/metrics`.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::error::BenchError;

pub struct Metrics(String);

impl Metrics {
    pub async fn of(addr: SocketAddr) -> Result<Self, BenchError> {
        let mut stream = TcpStream::connect(addr).await?;
        let request = "GET /metrics HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        Ok(Self(text))
    }

    /// Of all lines whose name begins so and that have this label.
    pub fn sum(&self, name: &str, label: &str) -> f64 {
        let lines = self.0.lines().filter(|line| line.starts_with(name));
        let values = lines.filter(|line| line.contains(label));
        let value = |line: &str| line.rsplit(' ').next()?.parse::<f64>().ok();
        values.filter_map(value).sum()
    }
}
