//! Bytes that trigger an action: found across the borders of chunks.

use std::time::Duration;

use super::Direction;

/// Longest pattern; a direction remembers one byte less of what passed.
pub const PATTERN_BYTES_MAX: usize = 256;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a pattern has 1 to {PATTERN_BYTES_MAX} bytes")]
pub struct PatternTooLong;

/// What a match does to its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// The side that sent the pattern gets an RST.
    Cut,
    /// The rest of this direction vanishes.
    Drop,
    /// The rest of this direction comes this much later, once.
    Delay { delay_ms: u64 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// The last byte of the pattern is not forwarded before the effect.
    Before,
    /// The whole pattern is forwarded first.
    After,
}

/// A pattern in one direction and what it triggers, once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub direction: Direction,
    pub pattern: Vec<u8>,
    pub when: When,
    pub effect: Effect,
}

impl Rule {
    pub(super) fn check(&self) -> Result<(), PatternTooLong> {
        if (1..=PATTERN_BYTES_MAX).contains(&self.pattern.len()) {
            Ok(())
        } else {
            Err(PatternTooLong)
        }
    }
}

/// Where in a chunk a rule takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hit {
    pub effect: Effect,
    pub when: When,
    /// Bytes of the chunk that are forwarded before the effect.
    pub forward: usize,
}

impl Hit {
    pub fn delay(&self) -> Duration {
        match self.effect {
            Effect::Delay { delay_ms } => Duration::from_millis(delay_ms),
            Effect::Cut | Effect::Drop => Duration::ZERO,
        }
    }
}

/// The last bytes that passed one direction of one connection.
#[derive(Debug, Default)]
pub(super) struct Tail(Vec<u8>);

impl Tail {
    /// Looks for the first rule that matches with bytes of this chunk, and
    /// takes it out of the armed ones.
    pub fn find(
        &mut self,
        direction: Direction,
        chunk: &[u8],
        rules: &mut Vec<Rule>,
    ) -> Option<Hit> {
        let old = self.0.len();
        self.0.extend_from_slice(chunk);
        let first = rules
            .iter()
            .enumerate()
            .filter(|(_, rule)| rule.direction == direction)
            .filter_map(|(index, rule)| Some((end_of(&self.0, &rule.pattern, old)?, index)))
            .min();
        let keep_from = self.0.len().saturating_sub(PATTERN_BYTES_MAX - 1);
        self.0.drain(..keep_from);
        let (end, index) = first?;
        let rule = rules.swap_remove(index);
        let forward = match rule.when {
            When::After => end - old,
            When::Before => (end - rule.pattern.len().min(end)).max(old) - old,
        };
        Some(Hit {
            effect: rule.effect,
            when: rule.when,
            forward,
        })
    }
}

/// Where the first occurrence ends that needs bytes from `old` on.
fn end_of(bytes: &[u8], pattern: &[u8], old: usize) -> Option<usize> {
    let from = (old + 1).saturating_sub(pattern.len());
    bytes[from..]
        .windows(pattern.len())
        .position(|window| window == pattern)
        .map(|start| from + start + pattern.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(pattern: &str, when: When) -> Rule {
        Rule {
            direction: Direction::Up,
            pattern: pattern.into(),
            when,
            effect: Effect::Cut,
        }
    }

    #[test]
    fn a_pattern_is_found_across_chunks_and_once() {
        let mut rules = vec![rule("COMMIT", When::After)];
        let mut tail = Tail::default();
        assert_eq!(tail.find(Direction::Up, b"..COM", &mut rules), None);
        assert_eq!(tail.find(Direction::Down, b"", &mut rules), None);
        let hit = tail.find(Direction::Up, b"MIT..", &mut rules).expect("hit");
        assert_eq!(hit.forward, 3);
        assert_eq!(tail.find(Direction::Up, b"COMMIT", &mut rules), None);
    }

    #[test]
    fn before_holds_back_what_it_can() {
        let mut rules = vec![rule("ab", When::Before)];
        let hit = Tail::default()
            .find(Direction::Up, b"xxabyy", &mut rules)
            .expect("hit");
        assert_eq!(hit.forward, 2);
        let mut rules = vec![rule("ab", When::Before)];
        let mut tail = Tail::default();
        assert_eq!(tail.find(Direction::Up, b"xa", &mut rules), None);
        let hit = tail.find(Direction::Up, b"b", &mut rules).expect("hit");
        assert_eq!(hit.forward, 0);
    }

    #[test]
    fn the_earliest_match_fires_first() {
        let mut rules = vec![rule("zz", When::After), rule("a", When::After)];
        let mut tail = Tail::default();
        let hit = tail
            .find(Direction::Up, b"..a.zz", &mut rules)
            .expect("hit");
        assert_eq!((hit.forward, rules.len()), (3, 1));
    }
}
