//! Why a NATS server does not do what it is asked: refused connections and refused subjects, in words, with what to do.

use std::cmp::Reverse;
use std::error::Error as _;
use std::fmt;
use std::io::{self, ErrorKind};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_nats::{ConnectError, ConnectErrorKind, Event, ServerError};
use marketprism_service::{LogLimit, error_text, tls_problem};
use tokio::task::JoinSet;

use crate::nats::Nats;

/// A refused subject is a problem for so long; who needs it asks again before.
const DENIED_FOR: Duration = Duration::from_secs(30);

/// State of one client's connection, kept by the events of the client, and logged.
pub struct NatsProblems {
    nats: Nats,
    name: String,
    /// First token of subjects to which a refused publish loses nothing.
    minor: Option<&'static str>,
    state: Mutex<ProblemState>,
}

#[derive(Default)]
struct ProblemState {
    refusal: Option<Refusal>,
    denied: Option<(String, Instant)>,
    minor: Option<(String, Instant)>,
    minor_denials: u64,
    refusal_lines: LogLimit,
    denied_lines: LogLimit,
}

#[derive(Clone)]
struct Refusal {
    text: String,
    is_final: bool,
}

impl fmt::Debug for NatsProblems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsProblems").field("current", &self.current()).finish_non_exhaustive()
    }
}

impl NatsProblems {
    /// Of the client with this name.
    pub fn new(nats: &Nats, name: &str) -> Self {
        Self { nats: nats.clone(), name: name.to_owned(), minor: None, state: Mutex::default() }
    }

    /// Refused publishes to subjects that begin with this token are no problem of [`Self::current`], but of [`Self::minor`].
    #[must_use]
    pub fn with_minor(self, token: &'static str) -> Self {
        Self { minor: Some(token), ..self }
    }

    /// Takes an event of the client.
    pub async fn note(&self, event: &Event) {
        match event {
            Event::Connected => self.lock().refusal = None,
            Event::ClientError(_) => self.not_connected().await,
            Event::ServerError(ServerError::Other(text))
                if text.to_lowercase().contains("permissions violation") =>
            {
                self.denied(text);
            }
            Event::ServerError(error) => tracing::error!(%error, "nats reports an error"),
            _ => {}
        }
    }

    /// The reason why nothing can be asked of the server now, or the newest subject that it refused.
    pub fn current(&self) -> Option<String> {
        let state = self.lock();
        let refusal = state.refusal.as_ref().map(|refusal| refusal.text.clone());
        refusal.or_else(|| recent(&state.denied))
    }

    /// The newest refused subject of the minor ones.
    pub fn minor(&self) -> Option<String> {
        recent(&self.lock().minor)
    }

    pub fn minor_denials(&self) -> u64 {
        self.lock().minor_denials
    }

    /// A reason that no waiting changes, such as a wrong password.
    pub fn is_refused_for_good(&self) -> bool {
        self.lock().refusal.as_ref().is_some_and(|refusal| refusal.is_final)
    }

    fn denied(&self, text: &str) {
        let is_minor = self.minor.is_some_and(|token| {
            text.to_lowercase().contains(&format!("violation for publish to \"{token}."))
        });
        let text = format!(
            "nats refuses {} a subject: {text}; give it the permissions that deploy/nats lists",
            self.nats.identity()
        );
        let mut state = self.lock();
        if let Some(held_back) = state.denied_lines.allow(Instant::now()) {
            tracing::error!(error = text, held_back, "a request or message is refused");
        }
        let newest = Some((text, Instant::now()));
        if is_minor {
            state.minor_denials += 1;
            state.minor = newest;
        } else {
            state.denied = newest;
        }
    }

    /// The event has only the kind of the error: one more attempt gives the cause.
    async fn not_connected(&self) {
        let allowed = self.lock().refusal_lines.allow(Instant::now());
        let Some(held_back) = allowed else { return };
        let (nats, name) = (self.nats.clone(), self.name.clone());
        // The client wants a future that is `Sync`, which that of its own connect is not.
        let tried = tokio::spawn(async move { nats.refusal(&name).await });
        let Ok(Some(refusal)) = tried.await else { return };
        tracing::warn!(reason = refusal.text, held_back, "no connection to nats");
        self.lock().refusal = Some(refusal);
    }

    // Every change is a single assignment, so a panic of another holder does not matter.
    fn lock(&self) -> MutexGuard<'_, ProblemState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Nats {
    /// Asks every server at once, so that a silent one costs no more than its own time, and names the most specific refusal first.
    /// `None` if a connection succeeds.
    async fn refusal(&self, name: &str) -> Option<Refusal> {
        if let Err(error) = self.options_of_one_attempt(name) {
            return Some(Refusal { text: error_text(&error), is_final: true });
        }
        let mut attempts = JoinSet::new();
        for (index, url) in self.urls.iter().enumerate() {
            let (alone, name) = (Self { urls: vec![url.clone()], ..self.clone() }, name.to_owned());
            attempts.spawn(async move { (index, alone.server_refusal(&name).await) });
        }
        let mut told = Vec::new();
        while let Some(Ok((index, refusal))) = attempts.join_next().await {
            let (telling, refusal) = refusal?;
            told.push((Reverse(telling), index, refusal));
        }
        told.sort_by_key(|(telling, index, _)| (*telling, *index));
        let is_final = told.first().is_some_and(|(_, _, refusal)| refusal.is_final);
        let texts: Vec<String> = told.into_iter().map(|(_, _, refusal)| refusal.text).collect();
        Some(Refusal { text: format!("nats at {}", texts.join("; ")), is_final })
    }

    /// Rank and refusal of the only server. A cause is more specific than silence.
    async fn server_refusal(&self, name: &str) -> Option<(u8, Refusal)> {
        let options = self.options_of_one_attempt(name).ok()?;
        let error = options.connect(self.addresses()).await.err()?;
        let is_final = matches!(
            error.kind(),
            ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication
        );
        let telling = match error.kind() {
            _ if is_final => 3,
            ConnectErrorKind::TimedOut => 0,
            ConnectErrorKind::Tls => 2,
            _ if is_closed(&error) => 2,
            _ => 1,
        };
        let text = format!("{}: {}", self.shown_urls(), self.explained(&error));
        Some((telling, Refusal { text, is_final }))
    }

    fn explained(&self, error: &ConnectError) -> String {
        match error.kind() {
            ConnectErrorKind::AuthorizationViolation => {
                format!(
                    "the server refused {}; check name and secret, and the server's `authorization`",
                    self.identity()
                )
            }
            ConnectErrorKind::Authentication => {
                format!("the server's nonce cannot be signed by {}", self.identity())
            }
            ConnectErrorKind::TimedOut => {
                format!("no answer within {} ms{}", self.connect_timeout.as_millis(), self.tls_first_hint())
            }
            _ if has_said_nothing(error) => {
                format!("the server closed the connection without a word{}", self.tls_first_hint())
            }
            _ if is_closed(error) => {
                "the server closed the connection during the handshake; does it require a \
                                      client certificate?"
                    .to_owned()
            }
            _ => tls_problem(error).unwrap_or_else(|| with_remedy(error_text(error))),
        }
    }

    /// Such a server waits for TLS, and closes the connection after its time-out of two seconds.
    fn tls_first_hint(&self) -> &'static str {
        let is_tls = self.tls_required || self.addresses().iter().any(|url| url.starts_with("tls://"));
        if is_tls && !self.tls_first {
            "; one with `handshake_first` says nothing before TLS: set nats.tls_first"
        } else {
            ""
        }
    }

    /// Who logs in, without the secret.
    fn identity(&self) -> String {
        if let Some(user) = &self.user {
            return format!("user {user:?}");
        }
        if let Some(path) = &self.creds_file {
            return format!("the credentials of {}", path.display());
        }
        let kind = if self.token.is_some() { "the token" } else { "the nkey" };
        if self.token.is_some() || self.nkey.is_some() {
            return kind.to_owned();
        }
        "a connection without user".to_owned()
    }
}

/// One file among the system's authorities that this user cannot read, or that is none, fails the whole list.
fn with_remedy(text: String) -> String {
    if text.contains("could not load platform certs") {
        return format!(
            "{text}; name the broker's authority in nats.ca_file, or a readable list in the variable SSL_CERT_FILE"
        );
    }
    text
}

fn recent(denied: &Option<(String, Instant)>) -> Option<String> {
    denied.as_ref().filter(|(_, at)| at.elapsed() < DENIED_FOR).map(|(text, _)| text.clone())
}

/// The server closed the connection before its greeting.
fn has_said_nothing(error: &ConnectError) -> bool {
    error_text(error).ends_with("expected INFO, got nothing")
}

/// The server closed the connection during the handshake.
fn is_closed(error: &ConnectError) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
        if matches!(
            kind,
            Some(
                ErrorKind::UnexpectedEof
                    | ErrorKind::ConnectionReset
                    | ErrorKind::BrokenPipe
                    | ErrorKind::ConnectionAborted
            )
        ) {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    const INFO: &[u8] =
        b"INFO {\"server_id\":\"x\",\"version\":\"2.11.0\",\"proto\":1,\"host\":\"h\",\"port\":1,\"max_payload\":9999}\r\n";

    #[tokio::test]
    async fn refused_subjects_of_the_minor_ones_are_told_apart() {
        let problems = NatsProblems::new(&Nats::default(), "test").with_minor("core");
        let refuse = async |what: &str| {
            let text = format!("Permissions Violation for {what}");
            problems.note(&Event::ServerError(ServerError::Other(text))).await;
        };
        refuse("Publish to \"core.trade.x.spot.A-B\"").await;
        assert_eq!((problems.current(), problems.minor_denials()), (None, 1));
        assert!(problems.minor().unwrap().contains("core.trade.x.spot.A-B"));
        refuse("Publish to \"trade.core.spot.A-B\"").await;
        assert!(problems.current().unwrap().contains("trade.core.spot.A-B"));
        refuse("Subscription to \"core.>\"").await;
        assert!(problems.current().unwrap().contains("Subscription"));
        assert_eq!(problems.minor_denials(), 1);
    }

    #[tokio::test]
    async fn the_server_that_refuses_is_told_before_the_absent_and_the_silent() {
        let bound = async || TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (silent, absent, refusing) = (bound().await, bound().await, bound().await);
        let address = |listener: &TcpListener| format!("nats://{}", listener.local_addr().unwrap());
        let [silent_at, absent_at, refusing_at] = [&silent, &absent, &refusing].map(address);
        drop(absent);
        let serving = tokio::spawn(async move {
            let (mut stream, _) = refusing.accept().await.unwrap();
            stream.write_all(INFO).await.unwrap();
            let _ = stream.read(&mut [0; 512]).await;
            stream.write_all(b"-ERR 'Authorization Violation'\r\n").await.unwrap();
            stream
        });
        let urls = [&silent_at, &absent_at, &refusing_at].map(|url| url.as_str().into()).to_vec();
        let nats = Nats { urls, connect_timeout: Duration::from_secs(2), ..Nats::default() };
        let Refusal { text, is_final } = nats.refusal("test").await.unwrap();
        drop(serving.await);
        let first = format!("nats at {refusing_at}: the server refused a connection without user");
        let last = format!("; {silent_at}: no answer within 2000 ms");
        assert!(is_final && text.starts_with(&first) && text.ends_with(&last), "{text}");
        assert!(text.contains(&format!("; {absent_at}: IO error: Connection refused")), "{text}");
    }
}
