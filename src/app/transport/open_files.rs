//! How many connections the limit of open files allows.

/// Files that are not connections: databases, logs, epoll, listeners.
const RESERVED: usize = 512;
/// Where the limit is not known.
const FALLBACK: usize = 10_000;

/// What is left of this process's limit of open files.
pub(super) fn connections_max() -> usize {
    std::fs::read_to_string("/proc/self/limits")
        .ok()
        .and_then(|limits| soft_limit(&limits))
        .map_or(FALLBACK, connections_of)
}

fn connections_of(open_files: usize) -> usize {
    open_files
        .saturating_sub(RESERVED)
        .max(open_files / 2)
        .max(1)
}

fn soft_limit(limits: &str) -> Option<usize> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_the_soft_one() {
        let text = "Max processes  1  2  processes\nMax open files            20000                \
                    524288               files     \n";
        assert_eq!(soft_limit(text), Some(20_000));
        assert_eq!(soft_limit("Max open files unlimited unlimited files"), None);
        assert_eq!(connections_of(20_000), 19_488);
        assert_eq!(connections_of(64), 32);
    }
}
