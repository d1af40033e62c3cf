//! CPU time and memory of processes and of the kernel, from `/proc`.

use std::path::PathBuf;

/// `USER_HZ`: fixed at 100 on Linux, whatever the kernel's own tick.
const TICKS_PER_S: f64 = 100.0;

/// CPU seconds that a process has used so far, its threads included.
pub fn cpu_s(pid: u32) -> Option<f64> {
    let path = PathBuf::from(format!("/proc/{pid}/stat"));
    ticks(&std::fs::read_to_string(path).ok()?).map(|ticks| ticks / TICKS_PER_S)
}

/// CPU seconds that all processes of this name have used so far, with those of
/// their children that have ended.
pub fn cpu_s_of(name: &str) -> f64 {
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return 0.0;
    };
    let stats = processes.flatten().filter_map(|process| {
        // Most of what is in there is no process.
        std::fs::read_to_string(process.path().join("stat")).ok()
    });
    let named = format!("({name})");
    let of_name = stats.filter(|stat| stat.contains(&named));
    let used = of_name.filter_map(|stat| Some(ticks(&stat)? + ended_ticks(&stat)?));
    used.sum::<f64>() / TICKS_PER_S
}

/// Resident memory of a process, in KiB.
pub fn rss_kib(pid: u32) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    after(&status, "VmRSS:")
}

/// What the kernel holds for sockets of the whole machine, both ends.
#[derive(Debug, Clone, Copy, Default)]
pub struct Kernel {
    /// Bytes on their way, in KiB.
    pub buffers_kib: f64,
    /// The kernel's own objects of all kinds, sockets among them.
    pub slab_kib: f64,
}

const PAGE_KIB: f64 = 4.0;

pub fn kernel() -> Kernel {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let sockstat = read("/proc/net/sockstat");
    let tcp = sockstat.lines().find(|line| line.starts_with("TCP:"));
    let tcp = |name| after(tcp.unwrap_or_default(), name).unwrap_or(0.0);
    Kernel {
        buffers_kib: tcp("mem") * PAGE_KIB,
        slab_kib: after(&read("/proc/meminfo"), "Slab:").unwrap_or(0.0),
    }
}

/// The number that stands behind a name.
fn after(text: &str, name: &str) -> Option<f64> {
    let mut words = text.split_ascii_whitespace();
    words.find(|word| *word == name)?;
    words.next()?.parse().ok()
}

fn ended_ticks(stat: &str) -> Option<f64> {
    sum_of_two(stat, 13)
}

/// User and system time: fields 14 and 15, counted behind the name, which may
/// itself contain spaces and parentheses.
fn ticks(stat: &str) -> Option<f64> {
    sum_of_two(stat, 11)
}

fn sum_of_two(stat: &str, behind_name: usize) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(behind_name);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_an_awkward_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 10 0 0 0 250 31 0 0 20 0 4";
        assert_eq!(ticks(stat), Some(281.0));
        assert_eq!(ended_ticks(stat), Some(0.0));
        assert_eq!(ticks("7 (a) S 1"), None);
    }

    #[test]
    fn numbers_are_found_behind_their_names() {
        let sockstat = "TCP: inuse 21 orphan 0 tw 2 alloc 28 mem 3";
        assert_eq!(after(sockstat, "mem"), Some(3.0));
        assert_eq!(after(sockstat, "inuse"), Some(21.0));
        assert_eq!(after(sockstat, "none"), None);
        assert!(rss_kib(std::process::id()).is_some_and(|kib| kib > 100.0));
        assert!(kernel().slab_kib > 0.0);
    }

    #[test]
    fn this_process_has_used_some_time() {
        assert!(cpu_s(std::process::id()).is_some());
        assert!(cpu_s(u32::MAX).is_none());
    }
}
