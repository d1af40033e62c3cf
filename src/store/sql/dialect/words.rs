//! Our SQL in the words of MariaDB.
//!
//! A small scanner, not a parser: it knows texts in quotes and comments, so that
//! nothing in them is touched, and replaces what the statements of this store
//! use and MariaDB does not know. Placeholders there have no numbers: a value
//! that is named twice is given twice.

use sea_orm::Value;

/// What is said in other words.
const WORDS: [(&str, &str); 3] = [
    (" AS BIGINT)", " AS SIGNED)"),
    (" FOR NO KEY UPDATE", " FOR UPDATE"),
    (" ON CONFLICT DO NOTHING", ""),
];

/// # Panics
/// If `sql` names a value that was not given: no statement of ours does.
pub fn of_mariadb(sql: &str, values: &[Value]) -> (String, Vec<Value>) {
    let mut said = String::with_capacity(sql.len());
    let mut given = Vec::with_capacity(values.len());
    let mut rest = sql;
    while let Some(at) = rest.find(['$', '\'', '-', ' ']) {
        said.push_str(&rest[..at]);
        rest = &rest[at..];
        let read = if rest.starts_with('\'') {
            text(rest, &mut said)
        } else if rest.starts_with("--") {
            rest.find('\n').unwrap_or(rest.len())
        } else if let Some(digits) = placeholder(rest) {
            let number: usize = rest[1..=digits].parse().unwrap_or_default();
            said.push('?');
            given.push(values[number - 1].clone());
            digits + 1
        } else if let Some((ours, theirs)) = WORDS.iter().find(|(ours, _)| rest.starts_with(ours)) {
            said.push_str(theirs);
            ours.len()
        } else {
            said.push_str(&rest[..1]);
            1
        };
        rest = &rest[read..];
    }
    said.push_str(rest);
    if sql.contains(" ON CONFLICT DO NOTHING") {
        said = said.replacen("INSERT INTO", "INSERT IGNORE INTO", 1);
    }
    (said, given)
}

/// The length of a text in quotes; a quote in it is doubled, which makes it two
/// texts.
fn text(sql: &str, said: &mut String) -> usize {
    let end = sql[1..].find('\'').map_or(sql.len(), |at| at + 2);
    said.push_str(&sql[..end]);
    end
}

/// How many digits follow the sign.
fn placeholder(sql: &str) -> Option<usize> {
    let number = sql.strip_prefix('$')?;
    let digits = number.len()
        - number
            .trim_start_matches(|c: char| c.is_ascii_digit())
            .len();
    (digits > 0).then_some(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(sql: &str, values: &[i64]) -> (String, Vec<i64>) {
        let values: Vec<Value> = values.iter().map(|&value| value.into()).collect();
        let (sql, given) = of_mariadb(sql, &values);
        let numbers = given.into_iter().map(|value| match value {
            Value::BigInt(Some(number)) => number,
            other => panic!("{other:?}"),
        });
        (sql, numbers.collect())
    }

    #[test]
    fn values_are_given_in_the_order_in_which_they_are_named() {
        let (sql, given) = said(
            "UPDATE t SET a = $2, b = b - $10 WHERE c = $1 OR d = $2",
            &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
        );
        assert_eq!(sql, "UPDATE t SET a = ?, b = b - ? WHERE c = ? OR d = ?");
        assert_eq!(given, [2, 10, 1, 2]);
    }

    #[test]
    fn texts_and_comments_name_no_value() {
        let (sql, given) = said(
            "-- The events' $2, it's said.\nSELECT '$1 isn''t', a - $1 -- $7\nFROM t",
            &[5],
        );
        assert_eq!(sql, "\nSELECT '$1 isn''t', a - ? \nFROM t");
        assert_eq!(given, [5]);
    }

    #[test]
    fn words_are_theirs() {
        let (sql, _) = said(
            "SELECT CAST(SUM(n) AS BIGINT) AS n FROM t FOR NO KEY UPDATE",
            &[],
        );
        assert_eq!(sql, "SELECT CAST(SUM(n) AS SIGNED) AS n FROM t FOR UPDATE");
        let (sql, given) = said("INSERT INTO t (a) VALUES ($1) ON CONFLICT DO NOTHING", &[3]);
        assert_eq!(sql, "INSERT IGNORE INTO t (a) VALUES (?)");
        assert_eq!(given, [3]);
    }
}
