//! What a run was made on.

use std::fs;

use crate::wall::now_us;

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The value behind the first `name : value` of a file in `/proc`.
fn first(text: &str, name: &str) -> String {
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    let found = lines.find(|(key, _)| key.trim() == name);
    found.map_or("unknown".to_owned(), |(_, value)| value.trim().to_owned())
}

pub fn facts() -> Vec<(String, String)> {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let build = match cfg!(debug_assertions) {
        true => "debug",
        false => "release",
    };
    let facts = [
        ("processor", first(&read("/proc/cpuinfo"), "model name")),
        ("cores", cores.to_string()),
        ("memory", first(&read("/proc/meminfo"), "MemTotal")),
        (
            "kernel",
            read("/proc/sys/kernel/osrelease").trim().to_owned(),
        ),
        ("load before", read("/proc/loadavg").trim().to_owned()),
        ("build of this program", build.to_owned()),
    ];
    facts.map(|(name, value)| (name.to_owned(), value)).into()
}

/// RFC 3339, to the second.
pub fn now() -> String {
    date(now_us() / 1_000_000)
}

/// Civil date from days, as in Howard Hinnant's algorithm.
fn date(unix_s: u64) -> String {
    let (days, second) = (unix_s / 86_400, unix_s % 86_400);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_civil() {
        assert_eq!(date(0), "1970-01-01T00:00:00Z");
        assert_eq!(date(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(date(1_795_343_563), "2026-11-22T10:32:43Z");
    }

    #[test]
    fn a_value_is_found_by_its_name() {
        assert_eq!(first("a : 1\nmodel name\t: X 2\n", "model name"), "X 2");
        assert_eq!(first("", "model name"), "unknown");
    }
}
