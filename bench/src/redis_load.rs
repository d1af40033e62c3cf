//! What the Redis of a measurement has to do, by its own account.

use redis::aio::MultiplexedConnection;

use crate::error::BenchError;

const URL: &str = "USHER_REDIS_URL";

/// The server that the nodes share.
#[derive(Clone)]
pub struct Redis(pub MultiplexedConnection);

/// Its counters since it started, or what they rose by.
#[derive(Debug, Clone, Copy, Default)]
pub struct Load {
    /// Commands, those inside scripts too.
    pub commands: f64,
    pub scripts: f64,
    /// Microseconds inside scripts.
    pub script_us: f64,
    /// User and system time of all its threads.
    pub cpu_s: f64,
    /// Both ways.
    pub net_bytes: f64,
}

impl Redis {
    /// The one that servers of our own are told of in `USHER_REDIS_URL`.
    pub async fn of_environment() -> Result<Option<Self>, BenchError> {
        let Ok(url) = std::env::var(URL) else {
            return Ok(None);
        };
        let client = redis::Client::open(url).map_err(BenchError::failed)?;
        let connection = client.get_multiplexed_async_connection().await;
        Ok(Some(Self(connection.map_err(BenchError::failed)?)))
    }

    /// # Errors
    /// When `USHER_REDIS_URL` is not set.
    pub async fn needed() -> Result<Self, BenchError> {
        let known = Self::of_environment().await?;
        known.ok_or_else(|| BenchError::Failed(format!("{URL} says where Redis is")))
    }

    pub async fn load(&mut self) -> Result<Load, BenchError> {
        let mut info = redis::cmd("INFO");
        info.arg("everything");
        let info: String = info
            .query_async(&mut self.0)
            .await
            .map_err(BenchError::failed)?;
        Ok(read(&info))
    }

    pub async fn flush(&mut self) -> Result<(), BenchError> {
        let flush = redis::cmd("FLUSHALL");
        flush
            .query_async(&mut self.0)
            .await
            .map_err(BenchError::failed)
    }
}

impl Load {
    pub fn since(self, before: Self) -> Self {
        Self {
            commands: self.commands - before.commands,
            scripts: self.scripts - before.scripts,
            script_us: self.script_us - before.script_us,
            cpu_s: self.cpu_s - before.cpu_s,
            net_bytes: self.net_bytes - before.net_bytes,
        }
    }
}

fn read(info: &str) -> Load {
    let value = |name: &str| {
        let line = info
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|value| value.trim().parse().ok())
            .unwrap_or(0.0)
    };
    // `cmdstat_evalsha:calls=1,usec=2,…`
    let of_scripts = |part: &str| {
        let line = info
            .lines()
            .find(|line| line.starts_with("cmdstat_evalsha:"));
        let value = line.and_then(|line| line.split(part).nth(1)?.split(',').next()?.parse().ok());
        value.unwrap_or(0.0)
    };
    Load {
        commands: value("total_commands_processed"),
        scripts: of_scripts("calls="),
        script_us: of_scripts("usec="),
        cpu_s: value("used_cpu_user") + value("used_cpu_sys"),
        net_bytes: value("total_net_input_bytes") + value("total_net_output_bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_from_what_the_server_says() {
        let info = "# Stats\r\ntotal_commands_processed:12\r\ntotal_net_input_bytes:100\r\n\
                    total_net_output_bytes:50\r\nused_cpu_sys:0.5\r\nused_cpu_user:1.25\r\n\
                    used_cpu_sys_children:9\r\ncmdstat_eval:calls=9,usec=9\r\n\
                    cmdstat_evalsha:calls=4,usec=80,usec_per_call=20.00\r\n";
        let load = read(info);
        assert_eq!(
            (load.commands, load.scripts, load.script_us),
            (12.0, 4.0, 80.0)
        );
        assert_eq!((load.cpu_s, load.net_bytes), (1.75, 150.0));
        let later = Load {
            commands: 20.0,
            ..load
        };
        assert_eq!(later.since(load).commands, 8.0);
        assert_eq!(later.since(load).cpu_s, 0.0);
    }
}
