//! What waits for one member, and what it weighs.

use super::Notice;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use tokio::sync::{mpsc, oneshot};

/// What waits for one reader, as part of what waits for all.
struct Weight {
    mine: AtomicUsize,
    all: Arc<AtomicUsize>,
}

impl Weight {
    fn add(&self, bytes: usize) -> (usize, usize) {
        (self.mine.fetch_add(bytes, Relaxed) + bytes, self.all.fetch_add(bytes, Relaxed) + bytes)
    }

    fn remove(&self, bytes: usize) {
        self.mine.fetch_sub(bytes, Relaxed);
        self.all.fetch_sub(bytes, Relaxed);
    }
}

impl Drop for Weight {
    fn drop(&mut self) {
        self.all.fetch_sub(*self.mine.get_mut(), Relaxed);
    }
}

/// The weight of a notice that has been taken out and is on its way; dropping it says that it is gone.
pub(in crate::http) struct Burden {
    weight: Arc<Weight>,
    bytes: usize,
}

impl Drop for Burden {
    fn drop(&mut self) {
        self.weight.remove(self.bytes);
    }
}

/// Where a member hears.
pub(in crate::http) struct Inbox {
    notices: mpsc::Receiver<Arc<Notice>>,
    weight: Arc<Weight>,
    overflow: oneshot::Receiver<()>,
}

/// Why a member hears nothing any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Silence {
    /// It listened too slowly, and is out of its room.
    TooSlow,
    /// There are no rooms any more.
    Closed,
}

impl Inbox {
    /// The next notice, and its weight until it has been written. Safe to cancel. After an error there is no more
    /// to ask for.
    pub(in crate::http) async fn next(&mut self) -> Result<(Arc<Notice>, Burden), Silence> {
        let notice = tokio::select! {
            biased;
            overflown = &mut self.overflow => {
                return Err(if overflown.is_ok() { Silence::TooSlow } else { Silence::Closed });
            }
            notice = self.notices.recv() => notice.ok_or(Silence::Closed)?,
        };
        let burden = Burden { weight: self.weight.clone(), bytes: notice.size() };
        Ok((notice, burden))
    }
}

/// The keeper's end of an inbox.
pub(super) struct Slot {
    notices: mpsc::Sender<Arc<Notice>>,
    weight: Arc<Weight>,
    overflow: oneshot::Sender<()>,
}

/// How much may wait.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    /// Notices for one reader.
    pub(super) messages: usize,
    /// Bytes for one reader.
    pub(super) bytes: usize,
    /// Bytes for all readers.
    pub(super) all: usize,
    /// Bytes that one reader may hold even when there are more than `all`.
    pub(super) share: usize,
}

/// An inbox, and the keeper's end of it.
pub(super) fn pair(bounds: Bounds, all: Arc<AtomicUsize>) -> (Slot, Inbox) {
    let (sender, notices) = mpsc::channel(bounds.messages);
    let (overflow, overflown) = oneshot::channel();
    let weight = Arc::new(Weight { mine: AtomicUsize::new(0), all });
    (
        Slot { notices: sender, weight: weight.clone(), overflow },
        Inbox { notices, weight, overflow: overflown },
    )
}

impl Slot {
    /// Queues a notice; false if there is no room for it.
    pub(super) fn put(&self, notice: Arc<Notice>, bounds: Bounds) -> bool {
        let size = notice.size();
        let (mine, all) = self.weight.add(size);
        // When all queues together are full, those pay who hold more than their share, not whoever is told
        // something next.
        let fits = mine <= bounds.bytes && (all <= bounds.all || mine - size <= bounds.share);
        fits && self.notices.try_send(notice).is_ok()
    }

    /// Tells the reader that it was too slow.
    pub(super) fn overflow(self) {
        let _ = self.overflow.send(());
    }
}
