//! What happened, as one number, and as lines for whoever wants to read it.

use std::fmt::{Arguments, Write as _};

use super::Micros;

/// FNV-1a over everything that happens.
pub struct Trace {
    hash: u64,
    pub lines: u64,
    print: bool,
}

struct Fnv(u64);

impl Fnv {
    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

impl std::fmt::Write for Fnv {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.add(text.as_bytes());
        Ok(())
    }
}

impl Trace {
    pub fn new(print: bool) -> Self {
        Self { hash: 0xcbf2_9ce4_8422_2325, lines: 0, print }
    }

    /// Notes what happened, and the bytes it happened with.
    pub fn note(&mut self, now: Micros, what: Arguments<'_>, bytes: &[u8]) {
        let mut fnv = Fnv(self.hash);
        let _ = write!(fnv, "{now} {what}");
        fnv.add(bytes);
        self.hash = fnv.0;
        self.lines += 1;
        if self.print {
            println!("{:>14.6} {what} {}", now as f64 / 1e6, summary(bytes));
        }
    }

    pub fn hash(&self) -> u64 {
        self.hash
    }
}

/// Length and head of a message, and the code of an error.
fn summary(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return String::new();
    }
    let head: String = bytes.iter().take(2).map(|byte| format!("{byte:02x}")).collect();
    let code = match bytes {
        [1, t, ..] if t & 0xF0 == 0x10 && bytes.len() >= 28 && bytes[20..22] == [0, 9] => {
            format!(" error {}", u16::from(bytes[26]) * 100 + u16::from(bytes[27]))
        }
        _ => String::new(),
    };
    format!("[{head}.. {} bytes{code}]", bytes.len())
}
