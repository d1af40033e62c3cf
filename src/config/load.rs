//! Defaults, then a file, then the environment, then flags.
//!
//! The environment comes in as a value, so that tests need not change the
//! process's. A variable without `__` that is not one of [`TOP_KEYS`] is not
//! ours: Kubernetes sets `USHER_PORT` and the like for a service called usher.
//! One with `__` is, and an unknown key in it is refused.

use std::collections::BTreeMap;
use std::path::PathBuf;

use figment::error::Kind;
use figment::providers::{Format, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};

use super::{Config, ConfigError, DEFAULTS};

/// Where data goes on a platform that has no place for it.
pub(super) const FALLBACK_DATA_DIR: &str = "./usher-data";

/// Keys outside sections that have an environment variable.
const TOP_KEYS: &[&str] = &[
    "listen",
    "ops_listen",
    "data_dir",
    "database_url",
    "redis_url",
    "kafka_brokers",
    "demo_catalog",
];
const PREFIX: &str = "USHER_";

/// Settings given on the command line, by key.
pub type Flags = BTreeMap<&'static str, String>;

/// Everything that settings may come from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// `--config`; else `USHER_CONFIG` is looked up in `env`.
    pub file: Option<PathBuf>,
    /// The process's environment.
    pub env: Vec<(String, String)>,
    pub flags: Flags,
}

impl Sources {
    /// The process's own environment, with these flags.
    #[must_use]
    pub fn of_process(file: Option<PathBuf>, flags: Flags) -> Self {
        let text = |os: std::ffi::OsString| os.into_string().ok();
        let env = std::env::vars_os()
            .filter_map(|(name, value)| Some((text(name)?, text(value)?)))
            .collect();
        Self { file, env, flags }
    }

    /// The effective configuration.
    ///
    /// # Errors
    /// The first key that is unknown, malformed, out of range or contradicts
    /// another.
    pub fn load(&self) -> Result<Config, ConfigError> {
        let mut figment = Figment::from(Toml::string(DEFAULTS));
        let named = self.env("USHER_CONFIG").map(PathBuf::from);
        if let Some(path) = self.file.clone().or(named) {
            // Read here, so that a missing file is refused by its name.
            let text = std::fs::read_to_string(&path).map_err(|error| {
                ConfigError::new("config", format!("{}: {error}", path.display()))
            })?;
            figment = figment.merge(Toml::string(&text));
        }
        let figment = figment
            .merge(self.environment_layer())
            .merge(self.flags_layer());
        let mut config: Config = figment.extract().map_err(explain)?;
        config.data_dir = Some(match config.data_dir.take() {
            Some(dir) => dir,
            None => self.platform_data_dir(),
        });
        config.check()?;
        Ok(config)
    }

    fn env(&self, name: &str) -> Option<&str> {
        let found = self.env.iter().find(|(key, _)| key == name);
        found
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    fn environment_layer(&self) -> Layer {
        let mut layer = Layer::new("environment");
        for (name, text) in &self.env {
            let Some(key) = name.strip_prefix(PREFIX) else {
                continue;
            };
            let key = key.to_ascii_lowercase();
            if TOP_KEYS.contains(&key.as_str()) {
                layer.set(&key, text);
            } else if let Some((section, key)) = key.split_once("__") {
                layer.set(&format!("{section}.{key}"), text);
            }
        }
        layer
    }

    fn flags_layer(&self) -> Layer {
        let mut layer = Layer::new("flags");
        for (key, text) in &self.flags {
            layer.set(key, text);
        }
        layer
    }

    fn platform_data_dir(&self) -> PathBuf {
        let home = |below: &str| self.env("HOME").map(|home| PathBuf::from(home).join(below));
        let dir = if cfg!(target_os = "macos") {
            home("Library/Application Support")
        } else if cfg!(windows) {
            self.env("LOCALAPPDATA").map(PathBuf::from)
        } else {
            self.env("XDG_DATA_HOME")
                .map(PathBuf::from)
                .or_else(|| home(".local/share"))
        };
        dir.map_or_else(|| PathBuf::from(FALLBACK_DATA_DIR), |dir| dir.join("usher"))
    }
}

/// One source of dotted keys.
struct Layer {
    name: &'static str,
    values: Dict,
}

impl Layer {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            values: Dict::new(),
        }
    }

    /// Text of a key at the top is taken as it is; in a section `true`, `12`
    /// and `[a, b]` have their types.
    fn set(&mut self, key: &str, text: &str) {
        let own = |text: &str| Value::from(text.to_owned());
        match key.split_once('.') {
            None if key == "demo_catalog" => {
                self.values.insert(key.to_owned(), typed(text));
            }
            None => {
                self.values.insert(key.to_owned(), own(text));
            }
            Some((section, key)) => {
                let section = self
                    .values
                    .entry(section.to_owned())
                    .or_insert_with(|| Value::from(Dict::new()));
                if let Value::Dict(_, keys) = section {
                    keys.insert(key.to_owned(), typed(text));
                }
            }
        }
    }
}

fn typed(text: &str) -> Value {
    match text.parse::<Value>() {
        Ok(value) => value,
        Err(never) => match never {},
    }
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name)
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.values.clone()))
    }
}

/// Names the key and the source; figment names them apart.
fn explain(error: figment::Error) -> ConfigError {
    let Some(first) = error.into_iter().next() else {
        return ConfigError::new("config", "cannot be read");
    };
    let mut path = first.path.clone();
    let mut why = match &first.kind {
        Kind::UnknownField(..) => "is not a setting".to_owned(),
        Kind::MissingField(field) => {
            path.push(field.to_string());
            "is missing".to_owned()
        }
        kind => kind.to_string(),
    };
    if let Some(source) = &first.metadata {
        why = format!("{why} (from {})", source.name);
    }
    let key = if path.is_empty() {
        "config".to_owned()
    } else {
        path.join(".")
    };
    ConfigError::new(key, why)
}
