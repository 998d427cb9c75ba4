//! Layers, files and the machine.

use super::*;

#[test]
fn environment_wins_over_the_file_and_flags_over_both() {
    let scratch = Scratch::new("layers");
    let text = "[relay]\nports = \"50000-50100\"\nexternal = { \"192.0.2.9\" = \"198.51.100.9\" }\n[auth]\nrealm = \"file\"\n\
                users = [{ name = \"alice\", password = \"wonderland\" }]\n";
    let path = scratch.file("relais.toml", text, 0o640);
    let env = [
        ("RELAIS__RELAY__PORTS", "51000-51100"),
        ("RELAIS__AUTH__REALM", "env"),
        ("RELAIS__LISTEN__UDP", "127.0.0.1:1111, [::1]:2222"),
        ("RELAIS__LISTEN__TCP", "[\"127.0.0.1:3333\"]"),
        ("RELAIS__HTTP__LISTEN", ""),
        ("RELAIS__HTTP__OPEN", "true"),
        ("RELAIS__LIMITS__ALLOCATIONS_PER_USER", "5"),
        ("RELAIS__RELAY__EXTERNAL", "192.0.2.1=198.51.100.7"),
    ];
    let mut flags = Overrides::default();
    flags.set("--realm", "auth.realm", "flag");
    let (settings, _) = with(Some(&path), &env, &flags).unwrap();
    assert_eq!(settings.relay.ports, 51000..=51100);
    assert_eq!(settings.auth.realm, "flag");
    assert_eq!(settings.listen.udp, addresses(["127.0.0.1:1111", "[::1]:2222"]));
    assert_eq!(settings.listen.tcp, addresses(["127.0.0.1:3333"]));
    assert!(settings.http.listen.is_empty() && settings.http.open);
    assert_eq!(settings.limits.allocations_per_user, 5);
    assert_eq!(settings.relay.external.len(), 1, "a table is replaced, not mixed");
    let shown = effective(&settings);
    has(&shown, "realm = \"flag\"  # flag --realm");
    has(&shown, "ports = \"51000-51100\"  # environment variable RELAIS__RELAY__PORTS");
    has(&shown, "relais.toml:6:9");
    has(&shown, "ttl = \"4h\"  # built-in default");
}

#[test]
fn mistakes_in_environment_and_flags_are_found_and_named() {
    let env = [
        ("RELAIS__RELAY__PRTS", "1-2"),
        ("RELAIS__LIMITS__DRAIN", "soon"),
        ("RELAIS__AUTH__SECRET", "x"),
        ("RELAIS__AUTH__USERS", "alice"),
        ("RELAIS__AUTH__SECRETS", "[{ name = \"a\", secret = \"north-wind-and-sun\" }]"),
        ("RELAIS__LISTEN", "1"),
        ("RELAIS_PORT", "tcp://10.0.0.1:80"),
    ];
    let mut flags = Overrides::default();
    flags.set("--listen-udp", "listen.udp", "x");
    let problems = with(None, &env, &flags).map(|_| ()).unwrap_err();
    let shown: Vec<String> = problems.iter().map(ToString::to_string).collect();
    let shown = shown.join("\n");
    assert_eq!(problems.len(), 7, "{shown}");
    has(&shown, "did you mean `ports`?");
    has(&shown, "--> environment variable RELAIS__LIMITS__DRAIN");
    has(&shown, "set RELAIS__AUTH__SECRET_FILE to its path");
    has(&shown, "write TOML as in the file: users = ");
    has(&shown, "stands in the environment");
    has(&shown, "--> flag --listen-udp");
    assert!(!shown.contains("north-wind"));
}

#[test]
fn an_overridden_value_is_checked_as_well() {
    let mut flags = Overrides::default();
    flags.set("--realm", "auth.realm", "fine");
    let problems = with(None, &[("RELAIS__AUTH__REALM", "")], &flags).map(|_| ()).unwrap_err();
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].place, Place::Environment("RELAIS__AUTH__REALM".to_owned()));
}

#[test]
fn secrets_come_from_files_and_lose_one_newline() {
    let scratch = Scratch::new("files");
    scratch.file("secret", "north-wind-and-sun\n", 0o640);
    scratch.file("password", "wonderland\r\n", 0o600);
    let text = "[auth]\nusers = [{ name = \"alice\", password_file = \"password\" }]\nsecrets = [{ name = \"a\", \
                secret_file = \"secret\" }]\n";
    // No secret stands in the file itself, so everybody may read it.
    let path = scratch.file("relais.toml", text, 0o644);
    let (settings, warnings) = with(Some(&path), &[], &Overrides::default()).unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    assert_eq!(settings.auth.secrets[0].secret.expose(), "north-wind-and-sun");
    assert!(
        matches!(&settings.auth.users[0].credential, UserCredential::Password(p) if p.expose() == "wonderland")
    );

    let named = scratch.0.join("secret").display().to_string();
    let (settings, _) = with(None, &[("RELAIS__AUTH__SECRET_FILE", &named)], &Overrides::default()).unwrap();
    assert_eq!(settings.auth.secrets[0].name, "environment");
    assert!(!settings.source.zero);
    assert_eq!(settings.http.rooms, Rooms::Off);
}

#[test]
fn files_with_secrets_that_others_can_read_are_refused() {
    let scratch = Scratch::new("modes");
    let secret = scratch.file("secret", "north-wind-and-sun\n", 0o644);
    let text = "[auth]\nsecrets = [{ name = \"a\", secret_file = \"secret\" }]\n";
    let path = scratch.file("relais.toml", text, 0o644);
    let problems = with(Some(&path), &[], &Overrides::default()).map(|_| ()).unwrap_err();
    assert_eq!(problems.len(), 1);
    has(&problems[0].message, "(mode 0644)");
    assert_eq!(problems[0].cure, format!("chmod 640 {}", secret.display()));

    let inline = scratch.file(
        "inline.toml",
        "[auth]\nsecrets = [{ name = \"a\", secret = \"north-wind-and-sun\" }]",
        0o604,
    );
    let problems = with(Some(&inline), &[], &Overrides::default()).map(|_| ()).unwrap_err();
    assert_eq!(problems[0].cure, format!("chmod 640 {}", inline.display()));
    scratch.file(
        "inline.toml",
        "[auth]\nsecrets = [{ name = \"a\", secret = \"north-wind-and-sun\" }]",
        0o640,
    );
    assert!(with(Some(&inline), &[], &Overrides::default()).is_ok());
}

#[test]
fn keys_of_tokens_come_from_files_and_never_from_the_environment() {
    let scratch = Scratch::new("oauth");
    let key = scratch.file("key", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\n", 0o600);
    let with_field = |field: &str| {
        let value = format!("[{{ kid = \"k\", {field} }}]");
        with(None, &[("RELAIS__AUTH__OAUTH", &value)], &Overrides::default())
    };
    let (settings, _) = with_field(&format!("key_file = {key:?}")).unwrap();
    assert_eq!(settings.auth.oauth[0].key[..], b"0123456789abcdef0123456789abcdef"[..]);
    assert!(!settings.source.zero, "somebody can log in");
    let problems =
        with_field("key = \"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\"").map(|_| ()).unwrap_err();
    has(&problems[0].message, "which others can read");
}

#[test]
fn a_trial_in_the_lan_gives_way_to_whatever_is_said_beside_it() {
    let mut flags = Overrides::default();
    flags.try_in_lan();
    let (settings, warnings) = with(None, &[], &flags).unwrap();
    assert!(warnings.is_empty(), "{warnings:#?}");
    assert!(settings.source.zero && settings.source.lan && settings.tls.makes_own() && !settings.http.open);
    assert_eq!(settings.http.rooms, Rooms::Open);
    assert_eq!(settings.http.listen, addresses(["0.0.0.0:8080", "[::]:8080"]));
    assert_eq!(settings.listen.tls, addresses(["0.0.0.0:8443", "[::]:8443"]));
    flags.set("--http-listen", "http.listen", "0.0.0.0:80");
    let (settings, _) = with(None, &[("RELAIS__LISTEN__TLS", "0.0.0.0:443")], &flags).unwrap();
    assert_eq!(settings.http.listen, addresses(["0.0.0.0:80"]));
    assert_eq!(settings.listen.tls, addresses(["0.0.0.0:443"]));
}

#[test]
fn the_state_directory_is_systemds_unless_one_is_written() {
    let env = [("STATE_DIRECTORY", "/var/lib/relais:/var/lib/other")];
    let (settings, _) = with(None, &env, &Overrides::default()).unwrap();
    assert_eq!(settings.state.as_deref(), Some(Path::new("/var/lib/relais")));
    let mut flags = Overrides::default();
    flags.set("--state-directory", "state.directory", "/srv/relais");
    let (settings, _) = with(None, &env, &flags).unwrap();
    assert_eq!(settings.state.as_deref(), Some(Path::new("/srv/relais")));
    assert!(good("[state]").state.is_none());
    assert!(good("[state]\ndirectory = \"kept\"").state.unwrap().ends_with("kept"));
}

#[test]
fn systemd_credentials_are_secrets_by_themselves() {
    let scratch = Scratch::new("systemd");
    scratch.file("relais.secret", "north-wind-and-sun\n", 0o400);
    scratch.file("auth.secrets.2026-11", "north-wind-and-moon\n", 0o400);
    scratch.file("something.else", "x", 0o400);
    let directory = scratch.0.display().to_string();
    let env = [("CREDENTIALS_DIRECTORY", directory.as_str())];
    let path = scratch.file("relais.toml", "[relay]\nports = \"50000-50100\"\n", 0o644);
    let (settings, _) = with(Some(&path), &env, &Overrides::default()).unwrap();
    let names: Vec<&str> = settings.auth.secrets.iter().map(|secret| secret.name.as_str()).collect();
    assert_eq!(names, ["2026-11", "relais.secret"]);

    let taken = "[auth]\nsecrets = [{ name = \"2026-11\", secret = \"north-wind-and-sun\" }]";
    let path = scratch.file("relais.toml", taken, 0o600);
    let problems = with(Some(&path), &env, &Overrides::default()).map(|_| ()).unwrap_err();
    has(&problems[0].message, "has a secret `2026-11` already");
}

#[test]
fn a_file_that_is_no_toml_shows_the_place_but_no_secret() {
    let problems = file("[auth]\nsecret = \"vErYsEcReT\nrealm = = 1\n").map(|_| ()).unwrap_err();
    let shown: Vec<String> = problems.iter().map(ToString::to_string).collect();
    let shown = shown.join("\n");
    has(&shown, "error: this is not TOML: ");
    has(&shown, "relais.toml:2:");
    assert!(!shown.contains("vErY") && !shown.contains("neither users"), "{shown}");
    has(&bad("[log]\nlevel = \"info\"\nlevel = \"warn\""), "duplicate key");
}

/// All that `check` prints and the log gets of `text`.
fn shown(text: &str) -> String {
    let problems = file(text).map(|_| ()).unwrap_err();
    problems.iter().map(|problem| format!("{problem}\n{problem:?}\n")).collect()
}

#[test]
fn a_secret_that_stands_where_a_list_should_shows_nowhere() {
    for (section, key) in
        [("auth", "secrets"), ("auth", "users"), ("auth", "oauth"), ("http", "keys"), ("http", "tokens")]
    {
        let shown = shown(&format!("[{section}]\n{key} = \"vErYsEcReT\"\n"));
        has(&shown, &format!("`{key}` takes a list, not a string"));
        has(&shown, &format!("write for example `{key} = [{{"));
        assert!(!shown.contains("vErY"), "{shown}");
    }
    // An address is nobody's secret.
    has(&bad("[listen]\nudp = \"0.0.0.0:3478\""), "put it in brackets: `udp = [\"0.0.0.0:3478\"]`");
}

#[test]
fn a_secret_that_stands_below_tls_shows_nowhere_and_the_names_of_files_do() {
    for text in [
        "keys = [{ name = \"shop\", key = \"vErYsEcReT\" }]",
        "tokens = [{ issuer = \"shop\", secret = \"vErYsEcReT\" }]",
        "secret = \"vErYsEcReT\"",
        "keys = { deep = [{ password = \"vErYsEcReT\" }] }",
        "key = \"-----BEGIN PRIVATE KEY-----vErYsEcReT\"",
        "acme = { eab_hmac_key = \"vErYsEcReT\" }",
        "certificates = [{ certificate = \"a.pem\", key = \"a.key\", key_password = \"vErYsEcReT\" }]",
        "certificates = [{ certificate = \"a.pem\", key = \"-----BEGIN PRIVATE KEY-----vErYsEcReT\" }]",
    ] {
        let shown = shown(&format!("[tls]\n{text}\n"));
        assert!(!shown.contains("vErY"), "{shown}");
    }
    has(&shown("[tls]\nkey = 7\ncertificate = \"there.pem\""), "key = 7");
    has(&shown("[tls]\ncertificates = [{ kex = 1, key = \"there.pem\" }]"), "key = \"there.pem\"");
}

#[test]
fn a_missing_file_says_how_to_write_one() {
    let problems =
        with(Some(Path::new("/nowhere/relais.toml")), &[], &Overrides::default()).map(|_| ()).unwrap_err();
    assert_eq!(problems.len(), 1);
    has(&problems[0].cure, "relais config default");
}

#[test]
fn places_that_the_server_could_not_use_are_told_and_left_alone() {
    let scratch = Scratch::new("paths");
    let shown = scratch.0.display();
    scratch.file("file", "", 0o600);
    let found = |text: &str| -> Vec<(bool, String)> {
        let problems = check_paths(&good(text));
        assert!(problems.iter().all(|problem| problem.place.line_column().is_some()), "{problems:?}");
        problems.into_iter().map(|problem| (problem.is_error(), problem.message)).collect()
    };
    for (text, is_error, wanted) in [
        (format!("[admin]\nsocket = \"{shown}\""), true, "something else already"),
        (format!("[admin]\nsocket = \"{shown}/file\""), true, "something else already"),
        (format!("[state]\ndirectory = \"{shown}/file\""), true, "is a file"),
        (format!("[state]\ndirectory = \"{shown}\""), false, "others may look into"),
    ] {
        let found = found(&text);
        assert!(
            found.len() == 1 && found[0].0 == is_error && found[0].1.contains(wanted),
            "{text}: {found:?}"
        );
    }
    let new = format!("[admin]\nsocket = \"{shown}/sock\"\n[state]\ndirectory = \"{shown}/new\"");
    assert_eq!(found(&new), []);
    assert_eq!(std::fs::read_dir(&scratch.0).unwrap().count(), 1, "nothing was made");
    std::fs::set_permissions(&scratch.0, std::fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(found(&format!("[state]\ndirectory = \"{shown}\"")), []);
    let path = |length: usize| format!("[admin]\nsocket = \"/{}\"", "x".repeat(length - 1));
    has(&bad(&path(102)), "has 102 bytes, and the system takes 101");
    good(&path(101));
}

#[test]
fn relay_addresses_are_held_against_the_machine() {
    let settings =
        good("[relay]\naddresses = [\"192.0.2.1\"]\nexternal = { \"192.0.2.1\" = \"198.51.100.7\" }");
    let local = |text: &str| [text.parse().unwrap()];
    assert!(check_local(&settings, &local("192.0.2.1")).is_empty());
    let problems = check_local(&settings, &local("10.0.0.5"));
    assert_eq!(problems.len(), 2);
    assert!(problems.iter().all(Problem::is_error));
    has(&problems[0].cure, "it has 10.0.0.5");
    assert!(problems[0].place.line_column().is_some());
    assert!(check_local(&good("[relay]\naddresses = [\"auto\"]"), &[]).is_empty());
    let settings =
        good("[nat_discovery]\naddresses = [\"192.0.2.1\", \"192.0.2.2\", \"::1\", \"2001:db8::1\"]");
    let problems = check_local(&settings, &local("192.0.2.1"));
    assert_eq!(problems.len(), 2);
    has(&problems[0].message, "192.0.2.2 of nat_discovery.addresses");
}
