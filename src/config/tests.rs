use super::*;

fn sources(env: &[(&str, &str)]) -> Sources {
    let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Sources {
        env: env.iter().map(own).collect(),
        ..Sources::default()
    }
}

fn with_file(text: &str, env: &[(&str, &str)]) -> (tempfile::TempDir, Sources) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("usher.toml");
    std::fs::write(&path, text).expect("written");
    let mut sources = sources(env);
    sources.file = Some(path);
    (dir, sources)
}

fn refused(env: &[(&str, &str)]) -> ConfigError {
    sources(env).load().expect_err("must be refused")
}

#[test]
fn without_any_source_the_defaults_hold() {
    let config = sources(&[]).load().expect("valid defaults");
    assert_eq!(config.listen.to_string(), "127.0.0.1:50051");
    assert_eq!(config.data_dir(), Path::new("./usher-data"));
    assert_eq!(config.auth.mode, AuthMode::Dev);
    assert_eq!(config.queue.tick_ms, 100);
    assert_eq!(
        config.transport.keepalive_interval_ms + config.transport.keepalive_timeout_ms,
        80_000
    );
}

#[test]
fn flags_win_over_environment_over_file_over_defaults() {
    let file = "listen = '127.0.0.1:1'\n[queue]\ntick_ms = 11\nlease_ms = 2100\n";
    let env = [
        ("USHER_LISTEN", "127.0.0.1:2"),
        ("USHER_QUEUE__TICK_MS", "22"),
    ];
    let (_dir, mut sources) = with_file(file, &env);
    let config = sources.load().expect("valid");
    assert_eq!(config.listen.port(), 2);
    assert_eq!(config.queue.tick_ms, 22);
    assert_eq!(config.queue.lease_ms, 2100);
    assert_eq!(config.queue.rebuild_pause_ms, 10_000);
    sources.flags.insert("listen", "127.0.0.1:3".to_owned());
    assert_eq!(sources.load().expect("valid").listen.port(), 3);
}

#[test]
fn the_file_may_be_named_by_the_environment() {
    let (_dir, mut sources) = with_file("demo_catalog = false", &[]);
    let path = sources.file.take().expect("set");
    let path = path.to_str().expect("text").to_owned();
    sources.env.push(("USHER_CONFIG".to_owned(), path));
    assert!(!sources.load().expect("valid").demo_catalog);

    sources.env[0].1 = "/does/not/exist.toml".to_owned();
    let error = sources.load().expect_err("no such file");
    assert_eq!(error.key, "config");
    assert!(error.why.contains("/does/not/exist.toml"), "{error}");
}

#[test]
fn data_goes_where_the_platform_keeps_it() {
    let config = sources(&[("HOME", "/home/a")]).load().expect("valid");
    assert!(config.data_dir().starts_with("/home/a"), "{config:?}");
    let env = [("HOME", "/home/a"), ("USHER_DATA_DIR", "1234")];
    let config = sources(&env).load().expect("valid");
    assert_eq!(config.data_dir(), Path::new("1234"));
}

#[test]
fn variables_of_an_orchestrator_are_not_settings() {
    let env = [
        ("USHER_PORT", "tcp://10.0.0.1:50051"),
        ("USHER_PORT_50051_TCP_ADDR", "10.0.0.1"),
        ("USHER_SERVICE_HOST", "10.0.0.1"),
    ];
    assert!(sources(&env).load().is_ok());
}

#[test]
fn each_contradiction_is_refused_by_its_key() {
    let jwt = ("USHER_AUTH__MODE", "jwt");
    let issuer = ("USHER_AUTH__ISSUER", "https://login.example");
    let audience = ("USHER_AUTH__AUDIENCE", "usher");
    let jwks = ("USHER_AUTH__JWKS_FILE", "jwks.json");
    let cases: &[(&[(&str, &str)], &str)] = &[
        (&[("USHER_REDIS_URL", "redis://r")], "redis_url"),
        (
            &[
                ("USHER_REDIS_URL", "redis://r"),
                ("USHER_DATABASE_URL", "postgres://p/d"),
            ],
            "keys.source",
        ),
        (&[("USHER_KAFKA_BROKERS", "k")], "kafka_brokers"),
        (
            &[("USHER_KAFKA_BROKERS", "kafka://k:9092")],
            "kafka_brokers",
        ),
        (&[("USHER_KAFKA__TOPIC", "a topic")], "kafka.topic"),
        (&[("USHER_KAFKA__COMPRESSION", "rar")], "kafka.compression"),
        (
            &[("USHER_KAFKA__IN_FLIGHT_MAX", "6")],
            "kafka.in_flight_max",
        ),
        (&[("USHER_NOTIFIER__URL", "https://r/told")], "notifier.url"),
        (&[("USHER_NOTIFIER__SECRET", "short")], "notifier.secret"),
        (
            &[("USHER_NOTIFIER__PAY_BEFORE_MS", "60000")],
            "notifier.pay_before_ms",
        ),
        (
            &[
                ("USHER_KAFKA_BROKERS", "k:9092"),
                ("USHER_NOTIFIER__PAY_BEFORE_MS", "999"),
            ],
            "notifier.pay_before_ms",
        ),
        (
            &[
                ("USHER_KAFKA_BROKERS", "k:9092"),
                ("USHER_NOTIFIER__REMIND_BEFORE_MS", "59999"),
            ],
            "notifier.remind_before_ms",
        ),
        (
            &[("USHER_NOTIFIER__TIMEOUT_MS", "60001")],
            "notifier.timeout_ms",
        ),
        (&[("USHER_FEED__URL", "ftp://r/events")], "feed.url"),
        (&[("USHER_FEED__SECRET", "short")], "feed.secret"),
        (&[("USHER_FEED__SOURCE", "a source")], "feed.source"),
        (&[("USHER_FEED__TIMEOUT_MS", "99")], "feed.timeout_ms"),
        (&[("USHER_FEED__IN_FLIGHT_MAX", "0")], "feed.in_flight_max"),
        (
            &[("USHER_CONSUMERS__BACK_OFF_MAX_MS", "999")],
            "consumers.back_off_max_ms",
        ),
        (&[("USHER_DATABASE_URL", "oracle://p/d")], "database_url"),
        (&[("USHER_KEYS__SOURCE", "vault")], "keys.source"),
        (&[("USHER_KEYS__SOURCE", "sql")], "keys.wrap_key_file"),
        (
            &[
                ("USHER_KEYS__SOURCE", "sql"),
                ("USHER_KEYS__WRAP_KEY", "a"),
                ("USHER_KEYS__WRAP_KEY_FILE", "b"),
            ],
            "keys.wrap_key_file",
        ),
        (&[("USHER_KEYS__SOURCE", "mounted")], "keys.mounted_dir"),
        (&[("USHER_KEYS__REREAD_MS", "99")], "keys.reread_ms"),
        (
            &[("USHER_DATABASE__CHECKOUT_CONNECTIONS", "0")],
            "database.checkout_connections",
        ),
        (
            &[("USHER_DATABASE__GATHER_MAX", "0")],
            "database.gather_max",
        ),
        (
            &[("USHER_DATABASE__GATHER_DELAY_MS", "101")],
            "database.gather_delay_ms",
        ),
        (
            &[("USHER_DATABASE__WRITE_CONNECTIONS", "0")],
            "database.write_connections",
        ),
        (
            &[("USHER_DATABASE__BACKGROUND_CONNECTIONS", "1001")],
            "database.background_connections",
        ),
        (
            &[("USHER_DATABASE__REPLICA_URL", "postgres://s/d")],
            "database.replica_url",
        ),
        (
            &[
                ("USHER_DATABASE_URL", "mysql://u@h/d"),
                ("USHER_DATABASE__REPLICA_URL", "postgres://s/d"),
            ],
            "database.replica_url",
        ),
        (
            &[
                ("USHER_DATABASE_URL", "postgres://p/d"),
                ("USHER_DATABASE__REPLICA_URL", "mysql://s/d"),
            ],
            "database.replica_url",
        ),
        (
            &[
                ("USHER_DATABASE_URL", "postgres://p/d"),
                ("USHER_DATABASE__REPLICA_URL", "postgres://p/d"),
            ],
            "database.replica_url",
        ),
        (
            &[("USHER_DATABASE__REPLICA_CONNECTIONS", "0")],
            "database.replica_connections",
        ),
        (
            &[("USHER_DATABASE__REPLICA_LAG_MAX_MS", "199")],
            "database.replica_lag_max_ms",
        ),
        (
            &[("USHER_DATABASE__LOCK_TIMEOUT_MS", "4000")],
            "database.lock_timeout_ms",
        ),
        (
            &[
                ("USHER_DATABASE_URL", "mysql://u@h/d"),
                ("USHER_DATABASE__LOCK_TIMEOUT_MS", "3001"),
            ],
            "database.lock_timeout_ms",
        ),
        (
            &[
                ("USHER_DATABASE_URL", "mariadb://u@h/d"),
                ("USHER_DATABASE__STATEMENT_TIMEOUT_MS", "1000"),
                ("USHER_DATABASE__LOCK_TIMEOUT_MS", "100"),
            ],
            "database.lock_timeout_ms",
        ),
        (
            &[("USHER_DATABASE__UNIT_TIMEOUT_MS", "3999")],
            "database.unit_timeout_ms",
        ),
        (&[("USHER_LISTEN", "somewhere")], "listen"),
        (&[("USHER_LISTEN", "0.0.0.0:0")], "auth.mode"),
        (&[("USHER_OPS_LISTEN", "127.0.0.1:50051")], "ops_listen"),
        (&[("USHER_TLS__CERTIFICATE", "a.pem")], "tls.key"),
        (&[("USHER_TLS__KEY", "a.pem")], "tls.certificate"),
        (&[("USHER_AUTH__MODE", "none")], "auth.mode"),
        (&[jwt], "auth.jwks_file"),
        (&[jwt, issuer, audience], "auth.jwks_file"),
        (&[jwt, jwks], "auth.issuer"),
        (&[jwt, jwks, issuer], "auth.audience"),
        (&[("USHER_AUTH__JWKS_FILE", "j")], "auth.jwks_file"),
        (
            &[("USHER_AUTH__PUBLIC_KEYS", "[{kid=\"a\", file=\"a.pem\"}]")],
            "auth.public_keys",
        ),
        (
            &[("USHER_STEERING__RATE_MIN_FRACTION", "0")],
            "steering.rate_min_fraction",
        ),
        (&[("USHER_STEERING__SETTLE_MS", "0")], "steering.settle_ms"),
        (&[("USHER_QUEUE__TICK_MS", "0")], "queue.tick_ms"),
        (&[("USHER_QUEUE__TICK_MS", "soon")], "queue.tick_ms"),
        (&[("USHER_QUEUE__TICKS", "1")], "queue.ticks"),
        (&[("USHER_QEUE__TICK_MS", "100")], "qeue"),
        (
            &[("USHER_STREAM__WRITE_STALL_MS", "1000")],
            "stream.write_stall_ms",
        ),
        (
            &[("USHER_TRANSPORT__CORS_ORIGINS", "[shop]")],
            "transport.cors_origins",
        ),
        (&[("USHER_LOG__FORMAT", "xml")], "log.format"),
        (&[("USHER_QUEUE__LEASE_MS", "1999")], "queue.lease_ms"),
        (
            &[("USHER_RETENTION__IDEMPOTENCY_MS", "86399999")],
            "retention.idempotency_ms",
        ),
        (
            &[("USHER_RETENTION__GATEWAY_EVENTS_MS", "3599999")],
            "retention.gateway_events_ms",
        ),
        (
            &[
                ("USHER_RETENTION__GATEWAY_EVENTS_MS", "7199999"),
                ("USHER_GATEWAY__WEBHOOK_TOLERANCE_MS", "3600000"),
            ],
            "retention.gateway_events_ms",
        ),
        (
            &[("USHER_RETENTION__ENDED_HOLDS_MS", "86399999")],
            "retention.ended_holds_ms",
        ),
        (
            &[("USHER_QUEUE__RETAIN_CLOSED_MS", "59999")],
            "queue.retain_closed_ms",
        ),
        (
            &[("USHER_GATEWAY__URL", "https://pay.example")],
            "gateway.api_key",
        ),
        (
            &[("USHER_GATEWAY__URL", "http://pay.example")],
            "gateway.url",
        ),
        (
            &[("USHER_GATEWAY__URL", "http://127.0.0.1.example")],
            "gateway.url",
        ),
        (
            &[("USHER_GATEWAY__URL", "http://localhost:x@evil.example/")],
            "gateway.url",
        ),
        (
            &[("USHER_GATEWAY__URL", "https://me:secret@pay.example/")],
            "gateway.url",
        ),
        (
            &[("USHER_GATEWAY__PAYMENTS_MAX", "0")],
            "gateway.payments_max",
        ),
        (&[("USHER_GATEWAY__PROVIDER", "a/b")], "gateway.provider"),
        (&[("USHER_GATEWAY__PROVIDER", "memory")], "gateway.provider"),
        (
            &[
                ("USHER_GATEWAY__URL", "memory:"),
                ("USHER_REDIS_URL", "redis://127.0.0.1"),
                ("USHER_DATABASE_URL", "postgres://127.0.0.1/usher"),
                ("USHER_KEYS__SOURCE", "mounted"),
                ("USHER_KEYS__MOUNTED_DIR", "keys"),
            ],
            "gateway.url",
        ),
        (
            &[
                ("USHER_GATEWAY__URL", "memory:"),
                ("USHER_AUTH__MODE", "jwt"),
                ("USHER_AUTH__ACCEPT_OWN_TOKENS", "true"),
            ],
            "gateway.url",
        ),
        (
            &[("USHER_GATEWAY__WEBHOOK_SECRET", "short")],
            "gateway.webhook_secret",
        ),
        (
            &[("USHER_GATEWAY__TIME_LIMIT_MS", "30999")],
            "gateway.time_limit_ms",
        ),
        (&[("USHER_WALLET__CURRENCIES", "[]")], "wallet.currencies"),
        (
            &[("USHER_WALLET__CURRENCIES", "[EUR, USD, EUR]")],
            "wallet.currencies",
        ),
        (
            &[("USHER_WALLET__TOP_UP_MINOR_MAX", "0")],
            "wallet.top_up_minor_max",
        ),
        (
            &[("USHER_WALLET__BALANCE_MINOR_MAX", "9999999")],
            "wallet.balance_minor_max",
        ),
        (
            &[("USHER_WALLET__BALANCE_MINOR_MAX", "1000000000001")],
            "wallet.balance_minor_max",
        ),
    ];
    for (env, key) in cases {
        let error = refused(env);
        assert_eq!(error.key, *key, "{env:?}: {error}");
    }
}

#[test]
fn wallets_take_the_currencies_named() {
    let codes = |list: &str| {
        let config = sources(&[("USHER_WALLET__CURRENCIES", list)]).load()?;
        assert_eq!(
            config.wallet.default_currency(),
            config.wallet.currencies[0]
        );
        let codes = config.wallet.currencies.iter();
        Ok::<_, ConfigError>(codes.map(ToString::to_string).collect::<Vec<_>>())
    };
    assert_eq!(codes("[USD, KRW]"), Ok(vec!["USD".into(), "KRW".into()]));
    for unknown in ["[EURO]", "[eur]", "[EUR, QQQ]"] {
        let error = codes(unknown).expect_err("no currency");
        assert!(error.key.starts_with("wallet.currencies"), "{error}");
    }
}

#[test]
fn development_mode_off_loopback_must_be_said() {
    let env = [
        ("USHER_LISTEN", "0.0.0.0:50051"),
        ("USHER_AUTH__DEV_OFF_LOOPBACK", "true"),
    ];
    assert!(sources(&env).load().is_ok());
}

#[test]
fn an_unknown_key_of_the_file_is_refused() {
    let (_dir, sources) = with_file("[drain]\ndeadline = 3\n", &[]);
    let error = sources.load().expect_err("unknown");
    assert_eq!(error.key, "drain.deadline");
}

#[test]
fn the_rendered_configuration_is_a_configuration() {
    let env = [
        ("HOME", "/home/a"),
        ("USHER_LOG__FILTER", "info,usher=\"debug\""),
    ];
    let config = sources(&env).load().expect("valid");
    let (_dir, again) = with_file(&config.render(), &[]);
    assert_eq!(again.load().expect("valid"), config);
}

#[test]
fn a_wrap_key_is_never_shown() {
    let env = [
        ("USHER_KEYS__SOURCE", "sql"),
        ("USHER_KEYS__WRAP_KEY", "very+secret="),
    ];
    let config = sources(&env).load().expect("valid");
    let key = config.keys.wrap_key.as_ref().expect("set");
    assert_eq!(key.reveal(), "very+secret=");
    for shown in [config.render(), format!("{config:?}")] {
        assert!(!shown.contains("secret="), "{shown}");
    }
}

#[test]
fn passwords_are_never_shown() {
    for (url, shown) in [
        ("postgres://u:p%40@h:1/d?x=1", "postgres://***@h:1/d?x=1"),
        ("mysql://u:p%40@h:1/d", "mysql://***@h:1/d"),
        ("redis://:p@h", "redis://***@h"),
        ("redis://h:1/0", "redis://h:1/0"),
        ("sqlite:a@b.sqlite", "sqlite:a@b.sqlite"),
    ] {
        let url = SecretUrl(url.to_owned());
        assert_eq!(url.to_string(), shown);
        assert_eq!(serde_json::to_value(&url).expect("text"), shown);
        assert!(!format!("{url:?}").contains(":p"));
    }
}
