//! The state machine of one client: one request at a time, the login that its challenges lead to, and the renewal of what
//! it has got.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::VecDeque;
use std::sync::Arc;

use super::account::{Account, Login};
use super::request::{Request, Timers, method_of};
use crate::time::Timestamp;
use crate::wire::{AddressFamily, ChannelNumber, Class, Message, TransactionId, attr, decode_address};

/// How often permissions and channels are renewed: permissions last for 5 minutes (RFC 8656 §9), channels for 10 (§12).
const RENEWAL: Duration = Duration::from_secs(240);

/// How many challenges one task may meet: the first, and nonces that grow stale.
const MOST_CHALLENGES: u8 = 3;

/// The most that waits: what the owner has asked for beyond that is refused.
const MOST_WAITING: usize = 256;

/// The most peers whose permissions or channels are kept alive.
const MOST_PEERS: usize = 128;

/// What ends an allocation.
const END: Task = Task::Refresh { lifetime: 0 };

/// Something that a client asks of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Its own address, as the server sees it (RFC 8489 §2).
    Bind,
    /// A relayed transport address of this family (RFC 8656 §7).
    Allocate {
        /// The family.
        family: AddressFamily,
    },
    /// So many seconds more for the allocation; none: its end (RFC 8656 §8).
    Refresh {
        /// LIFETIME in seconds.
        lifetime: u32,
    },
    /// That this peer's IP address may send (RFC 8656 §10).
    Permit {
        /// The peer; its port does not count.
        peer: SocketAddr,
    },
    /// A channel to this peer, and with it the permission (RFC 8656 §12).
    BindChannel {
        /// The number.
        channel: ChannelNumber,
        /// The peer.
        peer: SocketAddr,
    },
}

/// What has become of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The client's address as the server sees it.
    Bound {
        /// XOR-MAPPED-ADDRESS.
        mapped: SocketAddr,
    },
    /// There is an allocation.
    Allocated {
        /// XOR-RELAYED-ADDRESS.
        relayed: SocketAddr,
        /// LIFETIME in seconds.
        lifetime: u32,
    },
    /// The allocation lives on for so many seconds; none: it is gone.
    Refreshed {
        /// LIFETIME in seconds.
        lifetime: u32,
    },
    /// The permission is there.
    Permitted(SocketAddr),
    /// The channel is there.
    ChannelBound(ChannelNumber),
    /// It came to nothing.
    Failed(Task, Failure),
}

/// Why a task came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The server refused it with this code (RFC 8489 §14.8), and perhaps named another server (§14.15).
    Refused {
        /// ERROR-CODE.
        code: u16,
        /// ALTERNATE-SERVER, with 300.
        alternate: Option<SocketAddr>,
    },
    /// No answer came.
    Silence,
    /// Answers came, but none of them was signed with the password.
    Unsigned,
    /// An answer came that lacks what it has to say.
    Unusable,
}

/// A client of one server.
pub struct Client {
    account: Option<Arc<Account>>,
    timers: Timers,
    login: Option<Login>,
    current: Option<Request>,
    waiting: VecDeque<(Task, u8)>,
    events: VecDeque<Event>,
    /// Tasks that are done again from time to time.
    kept: Vec<Task>,
    lifetime: Option<Duration>,
    renewal: Option<Timestamp>,
    /// An Allocate was sent, and nothing has told that there is no allocation.
    may_be_allocated: bool,
    /// Nothing is asked any more but the end of the allocation.
    is_leaving: bool,
}

impl Client {
    /// A client that has asked for nothing yet. Without an account, requests that need a login are refused.
    pub fn new(account: Option<Arc<Account>>, timers: Timers) -> Self {
        Self {
            account,
            timers,
            login: None,
            current: None,
            waiting: VecDeque::new(),
            events: VecDeque::new(),
            kept: Vec::new(),
            lifetime: None,
            renewal: None,
            may_be_allocated: false,
            is_leaving: false,
        }
    }

    /// Asks for something; [`Self::poll_event`] tells what has become of it. Tasks are carried out one by one, in their
    /// order. `false` when too many wait.
    pub fn ask(&mut self, task: Task) -> bool {
        if self.waiting.len() >= MOST_WAITING {
            return false;
        }
        self.waiting.push_back((task, 0));
        true
    }

    /// Ends the allocation, if there is or may be one, and gives up everything else: what waits, and the request that is under
    /// way. Only an Allocate under way is awaited, because its answer tells whether there is something to end, unless `at_once`.
    /// [`Self::next_timeout`] gives `None` when it is done.
    pub fn leave(&mut self, at_once: bool) {
        self.is_leaving = true;
        self.waiting.clear();
        self.forget();
        let is_awaited = |task| match task {
            Task::Allocate { .. } => !at_once,
            Task::Refresh { lifetime } => lifetime == 0,
            _ => false,
        };
        if self.current.as_ref().is_some_and(|request| is_awaited(request.task)) {
            return;
        }
        self.current = None;
        if self.may_be_allocated {
            self.waiting.push_back((END, 0));
        }
    }

    /// When [`Self::poll_transmit`] is due; `None`: when something is asked for or arrives.
    pub fn next_timeout(&self) -> Option<Timestamp> {
        match &self.current {
            Some(request) => Some(request.due),
            None if !self.waiting.is_empty() => Some(Timestamp::START),
            None => self.renewal,
        }
    }

    /// What is to be sent now, until it gives `None`. `id` is called when a new request begins, and gives an id that nobody
    /// can guess (RFC 8489 §5).
    pub fn poll_transmit(&mut self, now: Timestamp, id: impl FnOnce() -> TransactionId) -> Option<&[u8]> {
        if self.current.as_ref().is_some_and(|request| request.due > now) {
            return None;
        }
        // A request that is due is sent again or given up; then it is the next one's turn.
        if let Some(mut request) = self.current.take() {
            if request.send(now, &self.timers) {
                return Some(&self.current.insert(request).bytes);
            }
            let failure = if request.has_forgery { Failure::Unsigned } else { Failure::Silence };
            self.events.push_back(Event::Failed(request.task, failure));
        }
        self.renew(now);
        let (task, challenges) = self.waiting.pop_front()?;
        let login = self.account.as_deref().zip(self.login.as_ref()).filter(|_| task != Task::Bind);
        match Request::new(task, challenges, id(), login, now) {
            Some(mut request) => {
                self.may_be_allocated |= matches!(task, Task::Allocate { .. });
                request.send(now, &self.timers);
                Some(&self.current.insert(request).bytes)
            }
            None => {
                self.events.push_back(Event::Failed(task, Failure::Unusable));
                None
            }
        }
    }

    /// Takes an answer. `false`: it belongs to no request of this client.
    pub fn handle(&mut self, answer: &Message<'_>, now: Timestamp) -> bool {
        let is_error = match answer.class() {
            Class::SuccessResponse => false,
            Class::ErrorResponse => true,
            Class::Request | Class::Indication => return false,
        };
        let Some(request) = self.current.as_mut().filter(|request| {
            request.id == answer.transaction()
                && method_of(request.task) == answer.method()
                && answer.fingerprint_holds()
        }) else {
            return false;
        };
        // Errors may be unsigned, as long as nobody else has signed them: many servers sign no challenge, some no error.
        let must_be_signed = request.is_signed && (!is_error || answer.integrity().is_some());
        let is_genuine = self.login.as_ref().is_none_or(|login| !must_be_signed || login.holds(answer));
        let code = if is_error { error_code(answer) } else { None };
        if !is_genuine && !matches!(code, Some(401 | 438)) {
            request.has_forgery = true;
            return true;
        }
        if let Some(request) = self.current.take() {
            if is_error {
                self.handle_error(&request, answer, code);
            } else {
                self.handle_success(request.task, answer, now);
            }
        }
        true
    }

    /// What has become of the tasks, one by one.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn handle_error(&mut self, request: &Request, answer: &Message<'_>, code: Option<u16>) {
        let task = request.task;
        let Some(code) = code else {
            return self.events.push_back(Event::Failed(task, Failure::Unusable));
        };
        if matches!(task, Task::Allocate { .. }) && code != 437 || task == END && code == 437 {
            // 437 to an Allocate tells of one of an earlier client.
            self.may_be_allocated = false;
        }
        // 401 to a request that was signed means that the password is wrong; to one that was not, it is a challenge.
        let is_challenge = code == 438 || code == 401 && !request.is_signed;
        let is_wanted = !self.is_leaving || task == END;
        if is_challenge && is_wanted && request.challenges < MOST_CHALLENGES {
            let login = self.account.as_ref().and_then(|account| Login::new(account, answer));
            if login.is_some() {
                self.login = login;
                return self.waiting.push_front((task, request.challenges + 1));
            }
        }
        let alternate = answer.get(attr::ALTERNATE_SERVER).filter(|_| code == 300).and_then(decode_address);
        if code == 437 && task != END {
            self.forget();
        }
        self.events.push_back(Event::Failed(task, Failure::Refused { code, alternate }));
    }

    fn handle_success(&mut self, task: Task, answer: &Message<'_>, now: Timestamp) {
        let address = |kind| answer.get(kind).and_then(|value| answer.xor_address(value));
        self.may_be_allocated &= task != END;
        let lifetime = || {
            let value = answer.get(attr::LIFETIME)?;
            Some(u32::from_be_bytes(value.try_into().ok()?))
        };
        let event = match task {
            Task::Bind => address(attr::XOR_MAPPED_ADDRESS).map(|mapped| Event::Bound { mapped }),
            Task::Allocate { .. } => {
                address(attr::XOR_RELAYED_ADDRESS).zip(lifetime()).map(|(relayed, lifetime)| {
                    self.keep(Some(lifetime), now);
                    Event::Allocated { relayed, lifetime }
                })
            }
            Task::Refresh { .. } => lifetime().map(|lifetime| {
                self.keep(Some(lifetime), now);
                Event::Refreshed { lifetime }
            }),
            Task::Permit { peer } => {
                self.remember(task, now);
                Some(Event::Permitted(peer))
            }
            Task::BindChannel { channel, .. } => {
                self.remember(task, now);
                Some(Event::ChannelBound(channel))
            }
        };
        self.events.push_back(event.unwrap_or(Event::Failed(task, Failure::Unusable)));
        if self.is_leaving && matches!(task, Task::Allocate { .. }) {
            self.leave(true);
        }
    }

    /// The task is done again from time to time, for as long as there is an allocation.
    fn remember(&mut self, task: Task, now: Timestamp) {
        if !self.kept.contains(&task) && self.kept.len() < MOST_PEERS {
            self.kept.push(task);
        }
        self.keep(None, now);
    }

    /// Sets when all is renewed: in good time before the allocation or a permission ends.
    fn keep(&mut self, lifetime: Option<u32>, now: Timestamp) {
        match lifetime {
            Some(0) => return self.forget(),
            Some(seconds) => self.lifetime = Some(Duration::from_secs(seconds.into())),
            None => {}
        }
        if self.renewal.is_none_or(|due| due <= now) {
            self.renewal = self.lifetime.map(|lifetime| now + (lifetime / 2).min(RENEWAL));
        }
    }

    /// There is no allocation any more, and nothing to renew.
    fn forget(&mut self) {
        (self.lifetime, self.renewal) = (None, None);
        self.kept.clear();
    }

    /// Asks for all again, when it is time.
    fn renew(&mut self, now: Timestamp) {
        if self.renewal.is_none_or(|due| due > now) {
            return;
        }
        self.renewal = None;
        let lifetime =
            self.lifetime.map_or(0, |lifetime| u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX));
        self.waiting.push_back((Task::Refresh { lifetime }, 0));
        self.waiting.extend(self.kept.iter().map(|task| (*task, 0)));
    }
}

/// The code in ERROR-CODE (RFC 8489 §14.8): hundreds in the low three bits of the third byte, the rest in the fourth.
fn error_code(answer: &Message<'_>) -> Option<u16> {
    match answer.get(attr::ERROR_CODE)? {
        [_, _, class, number, ..] if (3..=6).contains(&(class & 7)) && *number < 100 => {
            Some(u16::from(class & 7) * 100 + u16::from(*number))
        }
        _ => None,
    }
}
