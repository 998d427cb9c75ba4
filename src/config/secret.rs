//! A secret that does not show itself.

use std::fmt;

use zeroize::Zeroize;

/// Text that must not reach logs, dumps or panic messages: `Debug` hides it and dropping it clears the memory.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes over `text`.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The secret itself, for the place that computes with it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(<redacted>)")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::Secret;

    #[test]
    fn debug_hides_the_text() {
        let secret = Secret::new("vErYsEcReT".to_owned());
        assert!(!format!("{secret:?}").contains("vErY"));
        assert_eq!(secret.expose(), "vErYsEcReT");
    }
}
