//! A collector of traces for tests: OTLP over HTTP with protobuf, on a free port of this machine.
//!
//! It keeps what it is sent, can be waited for, and can be told to refuse, to be slow, to hang, or to die. Threads and
//! sockets of the standard library alone, so that it runs beside any runtime, or none.

mod decode;
mod http;

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub use decode::{Attributes, Link, Span, SpanEvent};
use http::Request;

/// What a receiver does with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Manner {
    /// Takes it.
    Take,
    /// Takes it after so long.
    Slow(Duration),
    /// Takes it, but for so many of its spans, which it says.
    InPart(i64),
    /// Answers with this status, and keeps nothing.
    Refuse(u16),
    /// Doesn't answer, for as long as it is told to.
    Hang,
}

/// What a request said of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Method and path: `POST /v1/traces`.
    pub target: String,
    /// Header lines, names in small letters.
    pub headers: Vec<(String, String)>,
}

impl Head {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

#[derive(Debug)]
struct State {
    manner: Manner,
    spans: Vec<Span>,
    heads: Vec<Head>,
    /// Requests that came, answered or not.
    requests: u64,
    problems: Vec<String>,
    connections: Vec<TcpStream>,
    dead: bool,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running receiver. Dies when dropped.
#[derive(Debug)]
pub struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

impl Receiver {
    /// Starts one on a free port.
    ///
    /// # Errors
    /// The system gives no port.
    pub fn start() -> io::Result<Self> {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    /// Starts one at an address, such as that of one that died.
    ///
    /// # Errors
    /// The address is taken.
    pub fn start_at(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let state = State {
            manner: Manner::Take,
            spans: Vec::new(),
            heads: Vec::new(),
            requests: 0,
            problems: Vec::new(),
            connections: Vec::new(),
            dead: false,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let accepting = {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new().name("otlp".to_owned()).spawn(move || accept(&listener, &shared))?
        };
        Ok(Self { address, shared, accepting: Some(accepting) })
    }

    /// Its base address, as `telemetry.otlp_endpoint` takes it.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it does with requests from here on; one that hangs goes on by the new manner.
    pub fn behave(&self, manner: Manner) {
        self.shared.lock().manner = manner;
        self.shared.changed.notify_all();
    }

    /// Everything that it was sent and took.
    pub fn spans(&self) -> Vec<Span> {
        self.shared.lock().spans.clone()
    }

    /// What the requests that it answered said of themselves.
    pub fn heads(&self) -> Vec<Head> {
        self.shared.lock().heads.clone()
    }

    /// What it could not read.
    pub fn problems(&self) -> Vec<String> {
        self.shared.lock().problems.clone()
    }

    /// The spans, once `wanted` holds for them.
    ///
    /// # Errors
    /// It didn't within `patience`: what has come by then.
    pub fn wait(&self, patience: Duration, wanted: impl Fn(&[Span]) -> bool) -> Result<Vec<Span>, Vec<Span>> {
        let found = self.wait_state(patience, |state| wanted(&state.spans));
        if found { Ok(self.spans()) } else { Err(self.spans()) }
    }

    /// Waits until so many requests have come, answered or not. Whether they have.
    pub fn wait_requests(&self, patience: Duration, count: u64) -> bool {
        self.wait_state(patience, |state| state.requests >= count)
    }

    fn wait_state(&self, patience: Duration, wanted: impl Fn(&State) -> bool) -> bool {
        let deadline = Instant::now() + patience;
        let mut state = self.shared.lock();
        while !wanted(&state) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            (state, _) = self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner);
        }
        true
    }

    /// Stops listening and breaks every connection.
    pub fn die(&mut self) {
        let Some(accepting) = self.accepting.take() else { return };
        {
            let mut state = self.shared.lock();
            state.dead = true;
            for connection in state.connections.drain(..) {
                // Gone already, where it fails.
                let _ = connection.shutdown(Shutdown::Both);
            }
        }
        self.shared.changed.notify_all();
        // Wakes the thread that accepts. Where that fails it has been woken by somebody else.
        let _ = TcpStream::connect(self.address);
        let _ = accepting.join();
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.die();
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        let mut state = shared.lock();
        if state.dead {
            return;
        }
        let Ok(stream) = stream else { continue };
        let Ok(copy) = stream.try_clone() else { continue };
        state.connections.push(copy);
        drop(state);
        let serving = Arc::clone(shared);
        if let Err(error) = std::thread::Builder::new().name("otlp".to_owned()).spawn(move || serve(stream, &serving)) {
            shared.lock().problems.push(format!("no thread: {error}"));
        }
    }
}

/// Answers the requests of one connection, until it ends.
fn serve(mut stream: TcpStream, shared: &Shared) {
    loop {
        match Request::read(&mut stream) {
            Ok(Some(request)) => {
                let Some((status, body)) = answer(&request, shared) else { return };
                if http::answer(&mut stream, status, &body).is_err() {
                    return;
                }
            }
            Ok(None) => return,
            Err(error) => {
                let mut state = shared.lock();
                if !state.dead {
                    state.problems.push(error.to_string());
                }
                return;
            }
        }
    }
}

/// Status and body; `None` where the receiver has died.
fn answer(request: &Request, shared: &Shared) -> Option<(u16, Vec<u8>)> {
    let mut state = shared.lock();
    state.requests += 1;
    shared.changed.notify_all();
    let came = Instant::now();
    loop {
        if state.dead {
            return None;
        }
        let wait = match state.manner {
            Manner::Hang => None,
            Manner::Slow(pause) => match pause.saturating_sub(came.elapsed()) {
                Duration::ZERO => break,
                left => Some(left),
            },
            _ => break,
        };
        state = match wait {
            None => shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            Some(left) => shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
        };
    }
    state.heads.push(request.head.clone());
    let rejected = match state.manner {
        Manner::Refuse(status) => return Some((status, b"told to refuse".to_vec())),
        Manner::InPart(rejected) => rejected,
        _ => 0,
    };
    let answer = match decode::spans(&request.body) {
        Ok(spans) if request.head.target == "POST /v1/traces" => {
            state.spans.extend(spans);
            (200, decode::answer(rejected))
        }
        Ok(_) => (404, Vec::new()),
        Err(error) => {
            state.problems.push(error);
            (400, Vec::new())
        }
    };
    shared.changed.notify_all();
    Some(answer)
}
