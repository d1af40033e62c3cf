//! `usher healthcheck`: `/readyz` of the server that this configuration names,
//! for containers that have no other tool.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::config::{Config, ConfigError};

use super::CliError;
use super::serve::reachable;

const TIMEOUT: Duration = Duration::from_secs(3);
/// More than the answer ever is.
const ANSWER_BYTES_MAX: u64 = 16 * 1024;

pub(super) fn healthcheck(config: &Config) -> Result<(), CliError> {
    let addr = match config.ops_listen {
        Some(addr) => addr,
        None if config.tls.certificate.is_some() => {
            return Err(CliError::Config(ConfigError {
                key: "ops_listen".to_owned(),
                why: "is needed for a health check of a server that speaks TLS".to_owned(),
            }));
        }
        None => config.listen,
    };
    let addr = reachable(addr);
    let answer = ask(addr).map_err(|error| CliError::Failed(format!("{addr}: {error}")))?;
    let body = answer.split("\r\n\r\n").nth(1).unwrap_or_default().trim();
    if answer.starts_with("HTTP/1.1 200 ") {
        println!("{body}");
        return Ok(());
    }
    Err(CliError::Failed(format!("{addr} is not ready: {body}")))
}

fn ask(addr: std::net::SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&addr, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: usher\r\nconnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
