//! The effective configuration as TOML.
//!
//! JSON's strings, numbers, booleans and lists are TOML's too, so a table of
//! them needs no library of its own.

use std::fmt::Write;

use serde_json::{Map, Value};

use super::Config;

pub(super) fn toml(config: &Config) -> String {
    let mut text = String::new();
    if let Ok(Value::Object(top)) = serde_json::to_value(config) {
        let is_section = |value: &Value| value.is_object();
        keys(&mut text, &top, |value| !is_section(value));
        for (name, value) in &top {
            if let Value::Object(section) = value {
                let _ = write!(text, "\n[{name}]\n");
                keys(&mut text, section, |_| true);
            }
        }
    }
    text
}

fn keys(text: &mut String, table: &Map<String, Value>, shown: impl Fn(&Value) -> bool) {
    for (name, value) in table.iter().filter(|(_, value)| shown(value)) {
        let _ = match value {
            Value::Null => writeln!(text, "# {name} is not set"),
            value => writeln!(text, "{name} = {value}"),
        };
    }
}
