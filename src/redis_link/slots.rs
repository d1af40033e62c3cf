//! A cluster's slots: which one a tag has, and who serves it.

use std::fmt;

/// Slots of every cluster.
pub(super) const SLOTS: u16 = 16_384;

/// A server's address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Address {
    pub(super) host: String,
    pub(super) port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// The slot of all keys with the tag `{tag}`: CRC16 (XMODEM) of it.
#[must_use]
pub fn slot_of(tag: &str) -> u16 {
    let mut crc = 0_u16;
    for byte in tag.bytes() {
        crc ^= u16::from(byte) << 8;
        for _bit in 0..8 {
            crc = match crc & 0x8000 {
                0 => crc << 1,
                _ => (crc << 1) ^ 0x1021,
            };
        }
    }
    crc % SLOTS
}

/// Who serves what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SlotMap(Vec<Range>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Range {
    first: u16,
    last: u16,
    master: Address,
}

impl SlotMap {
    /// One server serves all.
    pub(super) fn whole(master: Address) -> Self {
        Self(vec![Range {
            first: 0,
            last: SLOTS - 1,
            master,
        }])
    }

    pub(super) fn master_of(&self, slot: u16) -> Option<&Address> {
        let range = self
            .0
            .iter()
            .find(|range| (range.first..=range.last).contains(&slot))?;
        Some(&range.master)
    }

    /// Each master once.
    pub(super) fn masters(&self) -> Vec<Address> {
        let mut masters: Vec<Address> = Vec::new();
        for range in &self.0 {
            if !masters.contains(&range.master) {
                masters.push(range.master.clone());
            }
        }
        masters
    }

    /// Reads the answer to `CLUSTER SLOTS` that `asked` gave. A node that does
    /// not know its own name leaves the host empty.
    pub(super) fn parse(answer: &redis::Value, asked: &Address) -> Option<Self> {
        let redis::Value::Array(ranges) = answer else {
            return None;
        };
        let ranges: Option<Vec<_>> = ranges
            .iter()
            .map(|range| {
                let redis::Value::Array(range) = range else {
                    return None;
                };
                let redis::Value::Array(master) = range.get(2)? else {
                    return None;
                };
                let host = text(master.first()?).filter(|host| !host.is_empty());
                Some(Range {
                    first: number(range.first()?)?,
                    last: number(range.get(1)?)?,
                    master: Address {
                        host: host.unwrap_or_else(|| asked.host.clone()),
                        port: number(master.get(1)?)?,
                    },
                })
            })
            .collect();
        ranges.filter(|ranges| !ranges.is_empty()).map(Self)
    }
}

fn number(value: &redis::Value) -> Option<u16> {
    match value {
        redis::Value::Int(number) => u16::try_from(*number).ok(),
        _ => None,
    }
}

fn text(value: &redis::Value) -> Option<String> {
    match value {
        redis::Value::BulkString(bytes) => String::from_utf8(bytes.clone()).ok(),
        redis::Value::SimpleString(text) => Some(text.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_has_the_slot_that_redis_gives_it() {
        // From `CLUSTER KEYSLOT`; the first is the standard's check value.
        assert_eq!(slot_of("123456789"), 0x31c3);
        assert_eq!(slot_of("foo"), 12_182);
        assert_eq!(slot_of(""), 0);
    }

    #[test]
    fn a_map_is_read_and_an_unnamed_node_is_the_one_that_was_asked() {
        let node = |host: &str, port: i64| {
            redis::Value::Array(vec![
                redis::Value::BulkString(host.as_bytes().to_vec()),
                redis::Value::Int(port),
            ])
        };
        let range = |first, last, node| {
            redis::Value::Array(vec![
                redis::Value::Int(first),
                redis::Value::Int(last),
                node,
            ])
        };
        let answer = redis::Value::Array(vec![
            range(0, 99, node("10.0.0.1", 7000)),
            range(100, 16_383, node("", 7001)),
        ]);
        let asked = Address {
            host: "10.0.0.2".to_owned(),
            port: 7001,
        };
        let map = SlotMap::parse(&answer, &asked).unwrap();
        assert_eq!(map.master_of(99).unwrap().to_string(), "10.0.0.1:7000");
        assert_eq!(map.master_of(100), Some(&asked));
        assert_eq!(map.masters().len(), 2);
        let empty = redis::Value::Array(Vec::new());
        assert_eq!(SlotMap::parse(&empty, &asked), None);
        assert_eq!(SlotMap::parse(&redis::Value::Nil, &asked), None);
    }
}
