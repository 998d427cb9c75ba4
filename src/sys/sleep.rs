//! A timer of the runtime, for where the kernel has none that is a descriptor.

use std::cell::RefCell;
use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Sleep, sleep};

/// See the head of this file.
pub(crate) struct Sleeper {
    sleep: RefCell<Option<Pin<Box<Sleep>>>>,
}

impl Sleeper {
    /// A timer that is not armed.
    pub(crate) const fn new() -> Self {
        Self { sleep: RefCell::new(None) }
    }

    /// Lets it fire once, after this time. To be called in a runtime.
    pub(crate) fn arm(&self, after: Duration) {
        *self.sleep.borrow_mut() = Some(Box::pin(sleep(after)));
    }

    /// Waits until it has fired. Arming it anew makes it forget that. Whoever waits while nobody arms it waits for ever.
    pub(crate) async fn fired(&self) {
        poll_fn(|context| {
            self.sleep.borrow_mut().as_mut().map_or(Poll::Pending, |sleep| sleep.as_mut().poll(context))
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_fires_after_its_time_each_time_that_it_is_armed() {
        let (timer, begin) = (Sleeper::new(), tokio::time::Instant::now());
        for round in 1..=3_u32 {
            timer.arm(Duration::from_millis(2));
            timer.fired().await;
            assert!(begin.elapsed() >= Duration::from_millis(2) * round);
        }
    }
}
