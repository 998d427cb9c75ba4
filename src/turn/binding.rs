//! Binding (RFC 8489 §3, §12): tells clients their server-reflexive address. No login, no state.

use super::request::UnknownAttributes;
use super::{ClientRoute, CountedMethod, Server, Verdict};
use crate::time::Now;
use crate::wire::{Class, Message, ReplyBuffer, attr};

impl Server {
    /// RFC 8489 §6.3.1: the smallest success response there is, 32 bytes over IPv4.
    pub(super) fn answer_binding(
        &mut self,
        now: &Now,
        from: ClientRoute,
        message: &Message<'_>,
        reply: &mut ReplyBuffer,
    ) -> Verdict {
        if let Some(verdict) = self.answer_discovery(now, from, message, reply) {
            return verdict;
        }
        if let Some(unknown) = UnknownAttributes::of(message) {
            return self.refuse_unknown(now, from, message, reply, &unknown, None);
        }
        self.answer_plainly(from, message, reply)
    }

    /// The free answer, whatever else the request has.
    pub(super) fn answer_plainly(
        &mut self,
        from: ClientRoute,
        message: &Message<'_>,
        reply: &mut ReplyBuffer,
    ) -> Verdict {
        self.counters.of(from.tuple.transport).successes[CountedMethod::Binding as usize] += 1;
        let mut writer = reply.begin(message.method(), Class::SuccessResponse, message.transaction());
        writer.xor_address(attr::XOR_MAPPED_ADDRESS, from.tuple.client.0);
        self.finish(from, message, writer, None)
    }
}
