//! Which request caused something: the trace of W3C Trace Context, level 1.

use sha2::{Digest as _, Sha256};

use super::ids::{IdempotencyKey, UserId};

/// Of version 00; later ones may have more.
const PARENT_CHARS: usize = 55;

/// A trace, and whether its caller records it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Trace {
    id: u128,
    is_sampled: bool,
}

impl Trace {
    /// Of a `traceparent`; `None` for what is none.
    #[must_use]
    pub fn from_parent(text: &str) -> Option<Self> {
        let (known, more) = text.split_at_checked(PARENT_CHARS)?;
        let mut parts = known.split('-');
        let [version, id, parent, flags] = [2, 32, 16, 2].map(|digits| {
            let part = parts.next().filter(|part| part.len() == digits);
            part.filter(|part| part.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f')))
        });
        let fits = match version? {
            "ff" => false,
            "00" => more.is_empty(),
            _ => more.is_empty() || more.starts_with('-'),
        };
        let parent = u64::from_str_radix(parent?, 16).ok()?;
        let id = u128::from_str_radix(id?, 16).ok()?;
        let flags = u8::from_str_radix(flags?, 16).ok()?;
        (fits && parent != 0 && id != 0 && parts.next().is_none()).then_some(Self {
            id,
            is_sampled: flags & 1 == 1,
        })
    }

    /// Of a command whose caller sent none: the same when it is repeated.
    #[must_use]
    pub fn of_command(user: &UserId, key: &IdempotencyKey) -> Self {
        Self::of(&format!("{}\n{}", user.as_str(), key.as_str()))
    }

    /// Of all that has to do with this.
    #[must_use]
    pub fn of(what: &str) -> Self {
        let digest = Sha256::digest(what);
        let mut id = [0; 16];
        id.copy_from_slice(&digest[..16]);
        Self {
            id: u128::from_be_bytes(id).max(1),
            is_sampled: false,
        }
    }

    /// A `traceparent` with this parent.
    #[must_use]
    pub fn parent(&self, span: u64) -> String {
        let Self { id, is_sampled } = self;
        format!("00-{id:032x}-{span:016x}-{:02x}", u8::from(*is_sampled))
    }

    /// As it is kept.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{:032x}-{:02x}", self.id, u8::from(self.is_sampled))
    }

    /// Of [`Trace::text`].
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        let (id, flags) = text.split_once('-')?;
        Self::from_parent(&format!("00-{id}-{:016x}-{flags}", 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0af7651916cd43dd8448eb211c80319c";

    #[test]
    fn a_trace_is_kept_and_goes_on_under_another_parent() {
        for (flags, told) in [("00", "00"), ("01", "01"), ("03", "01")] {
            let sent = format!("00-{ID}-b7ad6b7169203331-{flags}");
            let trace = Trace::from_parent(&sent).expect("a trace");
            assert_eq!(
                trace.parent(0xab),
                format!("00-{ID}-00000000000000ab-{told}")
            );
            assert_eq!(trace.text(), format!("{ID}-{told}"));
            assert_eq!(Trace::from_text(&trace.text()), Some(trace));
        }
        let later = format!("01-{ID}-b7ad6b7169203331-01-more");
        assert!(Trace::from_parent(&later).is_some());
    }

    #[test]
    fn what_is_no_traceparent_is_none() {
        let zeros = "0".repeat(32);
        for sent in [
            String::new(),
            "00".to_owned(),
            format!("00-{ID}-b7ad6b7169203331"),
            format!("00-{ID}-b7ad6b7169203331-0"),
            format!("00-{ID}-b7ad6b7169203331-0g"),
            format!("00-{ID}-b7ad6b7169203331-+1"),
            format!("00-{ID}-b7ad6b7169203331-01-more"),
            format!("01-{ID}-b7ad6b7169203331-01more"),
            format!("ff-{ID}-b7ad6b7169203331-01"),
            format!("00-{}-b7ad6b7169203331-01", ID.to_uppercase()),
            format!("00-{zeros}-b7ad6b7169203331-01"),
            format!("00-{ID}-0000000000000000-01"),
            format!("00_{ID}_b7ad6b7169203331_01"),
            "ü".repeat(60),
        ] {
            assert_eq!(Trace::from_parent(&sent), None, "{sent}");
        }
        assert_eq!(Trace::from_text(ID), None);
    }

    #[test]
    fn a_repeated_command_has_the_same_trace() {
        let trace = |user: &str, key: &str| {
            let user = UserId::parse(user).expect("an id");
            Trace::of_command(&user, &IdempotencyKey::parse(key).expect("a key"))
        };
        assert_eq!(trace("ann", "pay"), trace("ann", "pay"));
        assert_ne!(trace("ann", "pay"), trace("ann", "again"));
        assert_ne!(trace("ann", "pay"), trace("bob", "pay"));
    }
}
