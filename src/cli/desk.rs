//! `relais sessions`, and what of `relais credentials` asks the running server: by the Unix socket of its admin API.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::options::ConfigArgs;
use super::{FAILED, USAGE, fail, print};
use crate::config::Overrides;

/// Where the unit file of the package has the socket.
const USUAL: &str = "/run/relais/admin.sock";
/// How long each step of the question may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest answer that is read: 100,000 sessions.
const LONGEST_ANSWER: u64 = 256 << 20;

/// Which server to ask.
#[derive(Args)]
pub(super) struct DeskArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Unix socket of the admin API; default: admin.socket, else /run/relais/admin.sock
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

#[derive(Args)]
pub(super) struct SessionsArgs {
    #[command(flatten)]
    desk: DeskArgs,
    /// Only this user, as quotas count it, or this whole user name
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// So many at most
    #[arg(long, value_name = "COUNT", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Show what was refused in the last ten minutes, and why, instead
    #[arg(long)]
    refusals: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What to revoke, or to lift.
#[derive(Args)]
#[group(required = true, multiple = false)]
struct What {
    /// One credential, by its whole user name
    #[arg(long, value_name = "NAME")]
    username: Option<String>,
    /// All credentials of a user that were issued until now
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// All credentials with a tag that were issued until now
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,
    /// All credentials that were issued for an API key until now
    #[arg(long, value_name = "NAME")]
    key: Option<String>,
}

#[derive(Args)]
pub(super) struct RevokeArgs {
    #[command(flatten)]
    desk: DeskArgs,
    #[command(flatten)]
    what: What,
    /// Take the revocation back
    #[arg(long)]
    lift: bool,
    /// The API key that it is limited to, as `revocations` shows it
    #[arg(long, value_name = "NAME", requires = "lift")]
    issuer: Option<String>,
}

#[derive(Args)]
pub(super) struct RevocationsArgs {
    #[command(flatten)]
    desk: DeskArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl DeskArgs {
    fn path(&self) -> Result<PathBuf, ExitCode> {
        if let Some(path) = &self.socket {
            return Ok(path.clone());
        }
        let (settings, _) = self.config.load(Overrides::default())?;
        Ok(settings.admin.socket.unwrap_or_else(|| PathBuf::from(USUAL)))
    }

    /// Asks, and returns what came with success.
    fn ask(&self, method: &str, target: &str, body: Option<&Value>) -> Result<Value, ExitCode> {
        let path = self.path()?;
        let shown = path.display();
        let (status, answer) = exchange(&path, method, target, body).map_err(|error| {
            let cure = match error.kind() {
                std::io::ErrorKind::PermissionDenied => "the socket is for the user that runs the server, and root: try sudo",
                _ => "is the server running, and has it `socket` in [admin]? Give `--socket PATH` or `--config FILE`",
            };
            fail(FAILED, &format!("no answer from {shown}: {error}"), cure)
        })?;
        let value: Value = serde_json::from_slice(&answer).unwrap_or_default();
        if status == 200 {
            return Ok(value);
        }
        let text = |field: &str| value["error"][field].as_str().unwrap_or("no reason given").to_owned();
        // What is not there is no matter of how it was asked for.
        let is_usage = (400..500).contains(&status) && status != 404;
        Err(fail(if is_usage { USAGE } else { FAILED }, &text("message"), &text("help")))
    }
}

/// One request of HTTP/1.1 over a Unix socket: the status and the body.
fn exchange(
    path: &std::path::Path,
    method: &str,
    target: &str,
    body: Option<&Value>,
) -> std::io::Result<(u16, Vec<u8>)> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let body = body.map(Value::to_string).unwrap_or_default();
    let len = body.len();
    // HTTP/1.0 ends the answer with the connection.
    let head = format!(
        "{method} {target} HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len}\r\n\r\n"
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(LONGEST_ANSWER).read_to_end(&mut answer)?;
    let broken = || std::io::Error::new(std::io::ErrorKind::InvalidData, "that is no HTTP");
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").ok_or_else(broken)?;
    let status = answer.get(9..12).and_then(|code| std::str::from_utf8(code).ok()?.parse().ok());
    Ok((status.ok_or_else(broken)?, answer.split_off(end + 4)))
}

/// A value of a query.
fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

pub(super) fn sessions(args: &SessionsArgs) -> ExitCode {
    let what = if args.refusals { "refusals" } else { "sessions" };
    let user = args.user.as_deref().map(|user| format!("&user={}", encoded(user))).unwrap_or_default();
    let target = format!("/v1/{what}?limit={}{user}", args.limit);
    let answer = match args.desk.ask("GET", &target, None) {
        Ok(answer) => answer,
        Err(code) => return code,
    };
    if args.json {
        print(&format!("{answer:#}\n"));
    } else if args.refusals {
        print(&refusals_table(&answer));
    } else {
        print(&sessions_table(&answer));
    }
    ExitCode::SUCCESS
}

/// A string from outside as it may stand on a terminal.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text
            .chars()
            .flat_map(|character| {
                let plain = !character.is_control() && (character.is_ascii() || character.is_alphanumeric());
                let escaped = (!plain).then(|| character.escape_default().collect::<String>());
                escaped.unwrap_or_else(|| character.to_string()).chars().collect::<Vec<_>>()
            })
            .collect(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

/// Bytes as people read them.
fn bytes(value: &Value) -> String {
    let count = value.as_f64().unwrap_or(0.0);
    let (mut scaled, mut unit) = (count, "B");
    for larger in ["kB", "MB", "GB", "TB"] {
        if scaled >= 999.5 {
            (scaled, unit) = (scaled / 1000.0, larger);
        }
    }
    if unit == "B" || scaled >= 99.5 { format!("{scaled:.0} {unit}") } else { format!("{scaled:.1} {unit}") }
}

/// Seconds as people read them.
fn age(seconds: f64) -> String {
    match seconds {
        0.0..60.0 => format!("{seconds:.0}s"),
        60.0..3600.0 => format!("{:.0}m{:02.0}s", (seconds / 60.0).floor(), seconds % 60.0),
        _ => format!("{:.0}h{:02.0}m", (seconds / 3600.0).floor(), (seconds % 3600.0 / 60.0).floor()),
    }
}

/// Bits a second over the whole life.
fn rate(bytes: f64, seconds: f64) -> String {
    let kilobits = bytes * 8.0 / seconds.max(1.0) / 1000.0;
    if kilobits >= 1000.0 {
        format!("{:.1} Mbit/s", kilobits / 1000.0)
    } else {
        format!("{kilobits:.0} kbit/s")
    }
}

/// Rows under a head, each column as wide as it has to be.
fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.max().unwrap_or(0).max(head[column].len())
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> = cells.zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        format!("{}\n", padded.join("  ").trim_end())
    };
    let mut text = line(&mut head.iter().copied());
    for row in rows {
        text.push_str(&line(&mut row.iter().map(String::as_str)));
    }
    text
}

fn sessions_table(answer: &Value) -> String {
    let empty = Vec::new();
    let sessions = answer["sessions"].as_array().unwrap_or(&empty);
    if sessions.is_empty() {
        return "no sessions\n".to_owned();
    }
    let rows: Vec<Vec<String>> = sessions
        .iter()
        .map(|session| {
            let seconds = session["age"].as_f64().unwrap_or(0.0);
            let (there, back) = (&session["to_peers"]["bytes"], &session["to_client"]["bytes"]);
            let all = there.as_f64().unwrap_or(0.0) + back.as_f64().unwrap_or(0.0);
            vec![
                shown(&session["user"]),
                shown(&session["client"]),
                shown(&session["transport"]),
                shown(&session["relayed"]),
                age(seconds),
                bytes(there),
                bytes(back),
                rate(all, seconds),
            ]
        })
        .collect();
    let head = ["USER", "CLIENT", "OVER", "RELAYED", "AGE", "TO PEERS", "TO CLIENT", "MEAN RATE"];
    table(&head, &rows)
}

fn refusals_table(answer: &Value) -> String {
    let empty = Vec::new();
    let refusals = answer["refusals"].as_array().unwrap_or(&empty);
    if refusals.is_empty() {
        return "nothing was refused in the last ten minutes\n".to_owned();
    }
    let rows: Vec<Vec<String>> = refusals
        .iter()
        .map(|refused| {
            vec![
                shown(&refused["at"]),
                shown(&refused["username"]),
                shown(&refused["client"]),
                shown(&refused["method"]),
                shown(&refused["code"]),
                shown(&refused["count"]),
                shown(&refused["message"]),
            ]
        })
        .collect();
    table(&["AT", "USER NAME", "CLIENT", "ASKED FOR", "CODE", "TIMES", "WHY"], &rows)
}

pub(super) fn revoke(args: &RevokeArgs) -> ExitCode {
    let What { username, user, tag, key } = &args.what;
    let mut body = json!({});
    for (kind, value) in
        [("username", username), ("user", user), ("tag", tag), ("key", key), ("issuer", &args.issuer)]
    {
        if let Some(value) = value {
            body[kind] = json!(value);
        }
    }
    let method = if args.lift { "DELETE" } else { "POST" };
    let answer = match args.desk.ask(method, "/v1/revocations", Some(&body)) {
        Ok(answer) => answer,
        Err(code) => return code,
    };
    print(&if args.lift {
        "lifted\n".to_owned()
    } else {
        let until = answer["until"].as_str().map_or_else(|| "it is lifted".to_owned(), str::to_owned);
        // The server knows whether it has one; whoever types this may not.
        format!(
            "revoked until {until} (a restart forgets it where no state.directory is); allocations ended: {}\n",
            answer["allocations_ended"]
        )
    });
    ExitCode::SUCCESS
}

pub(super) fn revocations(args: &RevocationsArgs) -> ExitCode {
    let answer = match args.desk.ask("GET", "/v1/revocations", None) {
        Ok(answer) => answer,
        Err(code) => return code,
    };
    if args.json {
        return print(&format!("{answer:#}\n"));
    }
    let empty = Vec::new();
    let entries = answer["revocations"].as_array().unwrap_or(&empty);
    if entries.is_empty() {
        return print("nothing is revoked\n");
    }
    let fields = ["kind", "value", "issuer", "at", "until"];
    let cell = |entry: &Value, field: &str| match &entry[field] {
        Value::Null if field == "until" => "until lifted".to_owned(),
        value => shown(value),
    };
    let rows: Vec<Vec<String>> =
        entries.iter().map(|entry| fields.map(|field| cell(entry, field)).to_vec()).collect();
    print(&table(&["KIND", "WHICH", "ONLY OF KEY", "SINCE", "UNTIL"], &rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_readable_and_foreign_text_is_escaped() {
        assert_eq!(
            [0.0, 999.0, 1500.0, 123_456.0, 5e9].map(|n| bytes(&json!(n))),
            ["0 B", "999 B", "1.5 kB", "123 kB", "5.0 GB"]
        );
        assert_eq!([5.2, 61.0, 3720.0].map(age), ["5s", "1m01s", "1h02m"]);
        assert_eq!(rate(125_000.0, 1.0), "1.0 Mbit/s");
        assert_eq!(shown(&json!("a\u{1b}[31m\n\u{202e}é")), "a\\u{1b}[31m\\n\\u{202e}é");
        assert_eq!(encoded("a b&ü"), "a%20b%26%C3%BC");
    }

    #[test]
    fn a_table_lines_up() {
        let rows = vec![vec!["alice".into(), "1".into()], vec!["b".into(), "22".into()]];
        assert_eq!(table(&["USER", "N"], &rows), "USER   N\nalice  1\nb      22\n");
        assert_eq!(sessions_table(&json!({"sessions": []})), "no sessions\n");
    }
}
