//! Spans of time as people write them: `90s`, `15m`, `1h`, `7d`.

/// Seconds.
pub(super) fn parse_s(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text} is no span of time: write 90s, 15m, 1h or 7d");
    let (number, factor) = match text.as_bytes().last() {
        Some(b's') => (&text[..text.len() - 1], 1),
        Some(b'm') => (&text[..text.len() - 1], 60),
        Some(b'h') => (&text[..text.len() - 1], 3_600),
        Some(b'd') => (&text[..text.len() - 1], 86_400),
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(factor).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_a_unit() {
        assert_eq!(parse_s("90s"), Ok(90));
        assert_eq!(parse_s("15m"), Ok(900));
        assert_eq!(parse_s("1h"), Ok(3_600));
        assert_eq!(parse_s("7d"), Ok(604_800));
        for wrong in [
            "",
            "h",
            "10",
            "-1s",
            "1.5h",
            "1 h",
            "9é",
            "999999999999999999d",
        ] {
            assert!(parse_s(wrong).is_err(), "{wrong}");
        }
    }
}
