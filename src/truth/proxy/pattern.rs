//! Bytes that trigger an action: found across the borders of chunks.

use std::collections::VecDeque;
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
    /// The rest of this direction waits for [`super::Proxy::let_go`].
    Hold,
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

/// A rule, and those that come after it.
#[derive(Debug)]
pub(super) struct Armed {
    rule: Rule,
    /// The only one it is for, if another fired there before.
    connection: Option<u64>,
    then: VecDeque<Rule>,
}

impl Armed {
    pub fn one(rule: Rule) -> Self {
        Self {
            rule,
            connection: None,
            then: VecDeque::new(),
        }
    }

    /// `None` for no rules at all.
    pub fn sequence(rules: Vec<Rule>) -> Option<Self> {
        let mut then = VecDeque::from(rules);
        let first = then.pop_front()?;
        Some(Self {
            then,
            ..Self::one(first)
        })
    }

    fn is_for(&self, direction: Direction, connection: u64) -> bool {
        self.rule.direction == direction && self.connection.is_none_or(|only| only == connection)
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
            Effect::Cut | Effect::Drop | Effect::Hold => Duration::ZERO,
        }
    }
}

/// The last bytes that passed one direction of one connection.
#[derive(Debug)]
pub(super) struct Tail {
    direction: Direction,
    connection: u64,
    bytes: Vec<u8>,
}

impl Tail {
    pub fn new(direction: Direction, connection: u64) -> Self {
        Self {
            direction,
            connection,
            bytes: Vec::new(),
        }
    }

    /// Looks for the first rule that matches with bytes of this chunk, and
    /// takes it out of the armed ones: the next of its sequence takes its place,
    /// for what comes after this chunk.
    pub fn find(&mut self, chunk: &[u8], rules: &mut Vec<Armed>) -> Option<Hit> {
        let old = self.bytes.len();
        self.bytes.extend_from_slice(chunk);
        let first = rules
            .iter()
            .enumerate()
            .filter(|(_, armed)| armed.is_for(self.direction, self.connection))
            .filter_map(|(index, armed)| {
                Some((end_of(&self.bytes, &armed.rule.pattern, old)?, index))
            })
            .min();
        let keep_from = self.bytes.len().saturating_sub(PATTERN_BYTES_MAX - 1);
        self.bytes.drain(..keep_from);
        let (end, index) = first?;
        let Armed { rule, mut then, .. } = rules.swap_remove(index);
        if let Some(rule) = then.pop_front() {
            rules.push(Armed {
                rule,
                connection: Some(self.connection),
                then,
            });
        }
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

    fn armed(pattern: &str, when: When) -> Armed {
        Armed::one(rule(pattern, when))
    }

    fn up() -> Tail {
        Tail::new(Direction::Up, 1)
    }

    #[test]
    fn a_pattern_is_found_across_chunks_and_once() {
        let mut rules = vec![armed("COMMIT", When::After)];
        let (mut tail, mut down) = (up(), Tail::new(Direction::Down, 1));
        assert_eq!(tail.find(b"..COM", &mut rules), None);
        assert_eq!(down.find(b"COMMIT", &mut rules), None);
        let hit = tail.find(b"MIT..", &mut rules).expect("hit");
        assert_eq!(hit.forward, 3);
        assert_eq!(tail.find(b"COMMIT", &mut rules), None);
    }

    #[test]
    fn before_holds_back_what_it_can() {
        let mut rules = vec![armed("ab", When::Before)];
        let hit = up().find(b"xxabyy", &mut rules).expect("hit");
        assert_eq!(hit.forward, 2);
        let mut rules = vec![armed("ab", When::Before)];
        let mut tail = up();
        assert_eq!(tail.find(b"xa", &mut rules), None);
        let hit = tail.find(b"b", &mut rules).expect("hit");
        assert_eq!(hit.forward, 0);
    }

    #[test]
    fn the_earliest_match_fires_first() {
        let mut rules = vec![armed("zz", When::After), armed("a", When::After)];
        let hit = up().find(b"..a.zz", &mut rules).expect("hit");
        assert_eq!((hit.forward, rules.len()), (3, 1));
    }

    #[test]
    fn a_sequence_goes_on_where_it_began_and_in_order() {
        let mut answered = rule("END", When::Before);
        answered.direction = Direction::Down;
        let sequence = vec![rule("key", When::After), rule("END", When::After), answered];
        let mut rules = vec![Armed::sequence(sequence).expect("some")];
        let (mut one, mut other) = (up(), Tail::new(Direction::Up, 2));
        let mut back = Tail::new(Direction::Down, 1);
        assert_eq!(one.find(b"END", &mut rules), None);
        assert!(one.find(b"key", &mut rules).is_some());
        assert_eq!(other.find(b"END", &mut rules), None);
        assert_eq!(back.find(b"END", &mut rules), None);
        assert!(one.find(b"END", &mut rules).is_some());
        assert_eq!(one.find(b"END", &mut rules), None);
        assert!(back.find(b"END", &mut rules).is_some());
        assert!(rules.is_empty() && Armed::sequence(Vec::new()).is_none());
    }
}
