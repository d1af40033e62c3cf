//! Access codes out of a file. They are never printed, and never on a command
//! line, where others could read them.

use std::fmt;

use clap::ValueEnum;

use crate::proto::v1 as wire;

/// The codes of one line, from a file with one in each.
#[derive(Clone)]
pub(super) struct LaneCodes {
    lane: String,
    codes: Vec<String>,
}

impl fmt::Debug for LaneCodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} codes of {}", self.codes.len(), self.lane)
    }
}

impl LaneCodes {
    /// `members=codes.txt`.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let (lane, path) = text
            .split_once('=')
            .ok_or_else(|| format!("{text} names no file: write members=codes.txt"))?;
        let text = std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
        let codes = text.lines().map(str::trim).filter(|code| !code.is_empty());
        Ok(Self {
            lane: lane.to_owned(),
            codes: codes.map(str::to_owned).collect(),
        })
    }

    /// Gives them to their lane, which is appended if it is not there.
    pub(super) fn add_to(self, policy: &mut wire::RoomPolicy) {
        let found = policy.lanes.iter().position(|lane| lane.name == self.lane);
        let index = found.unwrap_or_else(|| {
            policy.lanes.push(wire::Lane {
                name: self.lane,
                weight: 1,
                codes: Vec::new(),
            });
            policy.lanes.len() - 1
        });
        policy.lanes[index].codes.extend(self.codes);
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Access {
    Open,
    Code,
}

impl Access {
    pub(super) fn wire(self) -> wire::RoomAccess {
        match self {
            Self::Open => wire::RoomAccess::Open,
            Self::Code => wire::RoomAccess::Code,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn codes_come_from_a_file_and_are_not_printed() {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(b"one-1\n\n  two-2 \r\n").expect("written");
        let path = file.path().display();
        let read = LaneCodes::read(&format!("members={path}")).expect("codes");
        assert_eq!(format!("{read:?}"), "2 codes of members");
        let mut policy = wire::RoomPolicy::default();
        read.clone().add_to(&mut policy);
        read.add_to(&mut policy);
        assert_eq!(policy.lanes.len(), 1);
        assert_eq!(policy.lanes[0].codes, ["one-1", "two-2", "one-1", "two-2"]);
        assert!(LaneCodes::read("members").is_err());
        assert!(LaneCodes::read("members=/nowhere/at/all").is_err());
    }
}
