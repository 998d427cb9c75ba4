//! Timers are the runtime's.

use std::io;
use std::time::Duration;

use crate::sys::sleep::Sleeper;

/// See the head of this file.
pub(crate) struct Timer(Sleeper);

/// Whether timers are descriptors here.
pub(crate) const fn has_timers() -> bool {
    false
}

impl Timer {
    /// A timer that is not armed. To be called in a runtime.
    pub(crate) const fn new() -> Self {
        Self(Sleeper::new())
    }

    /// Lets it fire once, after this time.
    pub(crate) fn arm(&self, after: Duration) -> io::Result<()> {
        self.0.arm(after);
        Ok(())
    }

    /// Waits until it has fired. Arming it anew makes it forget that.
    pub(crate) async fn fired(&self) -> io::Result<()> {
        self.0.fired().await;
        Ok(())
    }
}
