//! Where one message ends and the next begins in a stream (RFC 8489 §6.2.2, RFC 8656 §12.5).

use crate::wire::{HEADER_LEN, MAGIC_COOKIE, Protocol, padded};
use std::ops::RangeInclusive;

/// The longest frame of a client that has no allocation.
pub(super) const MAX_BEFORE_LOGIN: usize = 2048;
/// The first bytes of a frame: whatever they say, the others do not change it.
pub(super) const TELLING: usize = 8;
/// The longest frame that there can be: a STUN message with 65,532 bytes of attributes.
pub(super) const MAX_FRAME: usize = HEADER_LEN + 65_532;

/// The first bytes of channel numbers that nobody may have: 0x5000 to 0x7FFF.
const RESERVED: RangeInclusive<u8> = 0x50..=0x7F;

/// What the first bytes of a stream say about its next frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// Too few bytes to tell.
    Incomplete,
    /// It is this long, padding included.
    Length(usize),
    /// No frame begins like this: the stream is lost.
    Broken,
}

/// Looks at the beginning of a frame.
pub(super) fn next(bytes: &[u8]) -> Frame {
    let Some(first) = bytes.first() else { return Frame::Incomplete };
    match Protocol::of(*first) {
        Protocol::Stun => {
            let cookie = MAGIC_COOKIE.to_be_bytes();
            let seen = bytes.get(4..8.min(bytes.len())).unwrap_or_default();
            if !cookie.starts_with(seen) {
                return Frame::Broken;
            }
            match bytes {
                [_, _, l0, l1, ..] => {
                    let len = usize::from(u16::from_be_bytes([*l0, *l1]));
                    if len % 4 != 0 {
                        return Frame::Broken;
                    }
                    Frame::Length(HEADER_LEN + len)
                }
                _ => Frame::Incomplete,
            }
        }
        Protocol::ChannelData => channel_data(bytes),
        // Numbers that are reserved are discarded like numbers that are not bound (RFC 8656 §12.6); as far as they could be
        // another protocol's, no frame begins like this.
        Protocol::Unknown if RESERVED.contains(first) => channel_data(bytes),
        Protocol::Tls | Protocol::Unknown => Frame::Broken,
    }
}

fn channel_data(bytes: &[u8]) -> Frame {
    match bytes {
        [_, _, l0, l1, ..] => Frame::Length(padded(4 + usize::from(u16::from_be_bytes([*l0, *l1])))),
        _ => Frame::Incomplete,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc8656_12_5_channel_data_is_padded_on_streams() {
        assert_eq!(next(&[0x40, 0, 0, 0]), Frame::Length(4));
        assert_eq!(next(&[0x40, 0, 0, 1]), Frame::Length(8));
        assert_eq!(next(&[0x4F, 0xFF, 0xFF, 0xFF]), Frame::Length(65_540));
        assert_eq!(next(&[0x40, 0, 0]), Frame::Incomplete);
    }

    #[test]
    fn rfc8656_12_6_reserved_numbers_are_framed_so_that_they_can_be_discarded() {
        assert_eq!(next(&[0x50, 0, 0, 5]), Frame::Length(12));
        assert_eq!(next(&[0x7F, 0xFF, 0, 0]), Frame::Length(4));
        assert_eq!(next(&[0x80, 0, 0, 0]), Frame::Broken, "RTP's");
    }

    #[test]
    fn rfc8489_6_2_2_stun_frames_are_as_long_as_their_header_says() {
        assert_eq!(next(&[0, 1, 0, 0]), Frame::Length(20));
        assert_eq!(next(&[0, 1, 0, 8, 0x21, 0x12, 0xA4, 0x42]), Frame::Length(28));
        assert_eq!(next(&[0, 1, 0, 8, 0x21, 0x13]), Frame::Broken, "no cookie will come");
        assert_eq!(next(&[0, 1, 0, 7]), Frame::Broken);
        assert_eq!(next(&[0, 1, 0xFF, 0xFC]), Frame::Length(MAX_FRAME));
        assert_eq!(next(&[]), Frame::Incomplete);
    }

    #[test]
    fn what_no_frame_begins_with_is_broken_at_once() {
        for first in [4, 19, 20, 22, 63, 128, 255] {
            assert_eq!(next(&[first]), Frame::Broken, "{first}");
        }
        // HTTP and others begin like ChannelData, of a length that nobody may have before login.
        for text in ["GET / HTTP/1.1", "POST / HTTP/1.1", "PROXY TCP4", "SSH-2.0-x", "USER x", "zzzz"] {
            assert!(matches!(next(text.as_bytes()), Frame::Length(len) if len > MAX_BEFORE_LOGIN), "{text}");
        }
    }
}
