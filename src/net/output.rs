//! What waits to be written to each stream of a worker.
//!
//! Whatever arrives for a client in one round of the worker is put together here, and its stream writes it at once. A
//! stream for which nothing waits holds no buffer: the worker keeps a few for whichever needs one next.

use std::rc::Rc;

use slab::Slab;
use tokio::sync::Notify;

use super::mail;
use crate::turn::{ClientRoute, FiveTuple};

/// Data that wait for a client; more are dropped, the newest first.
const MAX_QUEUE: usize = 64 * 1024;
/// Answers may exceed that by as much: a client that does not even read those is gone.
const MAX_QUEUE_WITH_ANSWERS: usize = MAX_QUEUE + 16 * 1024;
/// Buffers that the worker keeps.
const SPARE: usize = 64;
/// A buffer that is kept is no larger than this: a full TLS record, or eight datagrams and their headers.
const KEPT: usize = 16 * 1024;

/// See the head of this file.
#[derive(Default)]
pub(super) struct Streams {
    outputs: Slab<Output>,
    /// Empty buffers, [`SPARE`] of [`KEPT`] bytes at most.
    spare: Vec<Vec<u8>>,
}

struct Output {
    tuple: FiveTuple,
    queue: Vec<u8>,
    /// Bytes that the stream's task has taken out and not written yet.
    taken: usize,
    wake: Rc<Notify>,
    /// Its client is to go.
    hung_up: bool,
}

impl Streams {
    /// Makes place for what waits for a stream. `wake` tells its task that something does.
    pub(super) fn open(&mut self, tuple: FiveTuple, wake: Rc<Notify>) -> usize {
        self.outputs.insert(Output { tuple, queue: Vec::new(), taken: 0, wake, hung_up: false })
    }

    /// Drops what waits.
    pub(super) fn close(&mut self, index: usize) {
        if let Some(output) = self.outputs.try_remove(index) {
            self.keep(output.queue);
        }
    }

    /// Whether the stream of this route is still open, and no other one has its place.
    pub(super) fn is_open(&self, route: &ClientRoute) -> bool {
        let output = self.outputs.get(mail::index(route.link) as usize);
        output.is_some_and(|output| output.tuple == route.tuple)
    }

    /// Has the stream of this route closed by its task, after what waits for it.
    pub(super) fn hang_up(&mut self, route: &ClientRoute) {
        let output = self.outputs.get_mut(mail::index(route.link) as usize);
        if let Some(output) = output.filter(|output| output.tuple == route.tuple) {
            output.hung_up = true;
            output.wake.notify_one();
        }
    }

    /// Whether a stream is to be closed.
    pub(super) fn is_hung_up(&self, index: usize) -> bool {
        self.outputs.get(index).is_some_and(|output| output.hung_up)
    }

    /// Queues a frame. `false`: it is dropped, because the queue is full or the stream has closed and another one has
    /// its place.
    pub(super) fn push_to(&mut self, route: &ClientRoute, parts: &[&[u8]], answer: bool) -> bool {
        let max = if answer { MAX_QUEUE_WITH_ANSWERS } else { MAX_QUEUE };
        let output = self.outputs.get_mut(mail::index(route.link) as usize);
        let Some(output) = output.filter(|output| output.tuple == route.tuple) else { return false };
        // The largest datagram with its header is a little more than the queue is to hold.
        let waiting = output.queue.len() + output.taken;
        if waiting > 0 && waiting + parts.iter().map(|part| part.len()).sum::<usize>() > max {
            return false;
        }
        if output.queue.is_empty() {
            // The first of a batch: whoever has been told of it finds the others there too.
            output.wake.notify_one();
            if output.queue.capacity() == 0 {
                output.queue = self.spare.pop().unwrap_or_default();
            }
        }
        for part in parts {
            output.queue.extend_from_slice(part);
        }
        true
    }

    /// Puts into `written`, all of which has left, what has come to wait meanwhile.
    pub(super) fn take(&mut self, index: usize, written: &mut Vec<u8>) {
        self.keep(std::mem::take(written));
        if let Some(output) = self.outputs.get_mut(index) {
            *written = std::mem::take(&mut output.queue);
            output.taken = written.len();
        }
    }

    /// Keeps a buffer for the next stream that needs one, unless there are enough.
    fn keep(&mut self, mut buffer: Vec<u8>) {
        if buffer.capacity() > 0 && self.spare.len() < SPARE {
            buffer.clear();
            buffer.shrink_to(KEPT);
            self.spare.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::frame::MAX_FRAME;
    use crate::turn::{ClientAddress, Transport};

    fn route(port: u16, link: u32) -> ClientRoute {
        let client = ClientAddress(([9, 9, 9, 9], port).into());
        let server = ([1, 1, 1, 1], 3478).into();
        ClientRoute { tuple: FiveTuple { client, server, transport: Transport::Tcp }, link }
    }

    /// Streams with one stream, and its route.
    fn one() -> (Streams, ClientRoute, usize) {
        let mut streams = Streams::default();
        let index = streams.open(route(1, 0).tuple, Rc::default());
        (streams, route(1, u32::try_from(index).unwrap()), index)
    }

    #[test]
    fn frames_are_written_together_in_their_order() {
        let (mut streams, route, index) = one();
        for frame in [b"one".as_slice(), b"two", b"three"] {
            assert!(streams.push_to(&route, &[frame], false));
        }
        let mut written = Vec::new();
        streams.take(index, &mut written);
        assert_eq!(written, b"onetwothree");
        streams.take(index, &mut written);
        assert_eq!(written, b"");
    }

    #[test]
    fn the_newest_data_are_dropped_and_answers_are_not() {
        let (mut streams, route, index) = one();
        let frames =
            (0..=u8::MAX).take_while(|frame| streams.push_to(&route, &[&[*frame; 1204]], false)).count();
        assert_eq!(frames, MAX_QUEUE / 1204);
        let mut taken = Vec::new();
        streams.take(index, &mut taken);
        assert!(
            taken.chunks(1204).zip(0u8..).all(|(frame, number)| frame == [number; 1204]),
            "the oldest are kept"
        );
        assert!(!streams.push_to(&route, &[&[0; 1204]], false), "what the stream is writing still waits");
        assert!(streams.push_to(&route, &[&[0; 1204]], true));
        while streams.push_to(&route, &[&[0; 1204]], true) {}
        assert!(taken.len() + streams.outputs[index].queue.len() <= MAX_QUEUE_WITH_ANSWERS);
        streams.take(index, &mut taken);
        streams.take(index, &mut taken);
        assert!(streams.push_to(&route, &[&[0; MAX_FRAME]], false), "the largest frame finds an empty queue");
    }

    #[test]
    fn a_stream_with_nothing_to_write_holds_no_buffer_and_few_are_kept() {
        let mut streams = Streams::default();
        let routes: Vec<_> = (0..200u16)
            .map(|port| {
                let index = streams.open(route(port, 0).tuple, Rc::default());
                route(port, u32::try_from(index).unwrap())
            })
            .collect();
        for route in &routes {
            assert!(streams.push_to(route, &[&[0; 40_000]], false));
        }
        for route in &routes {
            let mut written = Vec::new();
            streams.take(mail::index(route.link) as usize, &mut written);
            streams.take(mail::index(route.link) as usize, &mut written);
            assert_eq!(written.capacity(), 0);
        }
        assert!(streams.outputs.iter().all(|(_, output)| output.queue.capacity() == 0));
        assert_eq!(streams.spare.len(), SPARE);
        assert!(streams.spare.iter().all(|buffer| buffer.is_empty() && buffer.capacity() <= KEPT));
        assert!(streams.push_to(&routes[0], &[b"x"], false));
        assert_eq!(streams.spare.len(), SPARE - 1, "a kept one is used");
    }

    #[test]
    fn nothing_is_queued_for_whoever_has_a_place_now() {
        let (mut streams, old, index) = one();
        streams.close(index);
        assert!(!streams.is_open(&old) && !streams.push_to(&old, &[b"late"], true));
        let next = streams.open(route(2, 0).tuple, Rc::default());
        assert_eq!(next, index);
        assert!(!streams.is_open(&old) && !streams.push_to(&old, &[b"late"], true));
    }
}
