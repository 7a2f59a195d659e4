//! Dials the target of a URL for sockets and requests alike: name, addresses, proxy, TLS. Every step has a time limit, and the error
//! names the step.

mod addresses;
mod failing;
mod race;
mod refusal;
mod socks;
mod transport;
mod tunnel;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use marketprism_service::error_text;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use url::{Host, Url};

use self::addresses::{connect_to, resolve};
use self::failing::{Answering, FailingAddresses};
use self::race::race;
use self::refusal::ProxyRefusal;
use self::socks::SocksTarget;
pub(crate) use self::transport::{Dialed, Transport};
pub(crate) use self::tunnel::login_refused;
use crate::error::DialError;
use crate::limits::{ADDRESS_DELAY, PROXIED_ADDRESS_DELAY};
use crate::options::SocketOptions;
use crate::proxy::{Proxy, ProxyProtocol, ProxyRules, Route};

#[derive(Debug)]
pub(crate) struct Dialer {
    rules: ProxyRules,
    local_address: Option<IpAddr>,
    tls: Arc<ClientConfig>,
    connect_timeout: Duration,
    proxy_timeout: Duration,
    tls_timeout: Duration,
    user_agent: String,
    steps: Mutex<Steps>,
    failing: FailingAddresses,
}

/// The current step of every dial, as the error that it would be: for a caller whose own time ends first.
#[derive(Debug, Default)]
struct Steps {
    last: u64,
    current: BTreeMap<u64, (String, DialError)>,
}

/// One dial; its step is forgotten with it.
struct Dial<'d> {
    dialer: &'d Dialer,
    id: u64,
    target: Target,
}

struct Target {
    host: Host,
    port: u16,
    /// As in messages.
    shown: String,
}

impl Target {
    fn of(url: &Url) -> Result<Self, DialError> {
        let host = url.host_str().unwrap_or_default();
        let failed = |reason: &str| DialError::Tcp { target: host.to_owned(), reason: reason.to_owned() };
        let port = url.port_or_known_default().ok_or_else(|| failed("no port"))?;
        let found = url.host().ok_or_else(|| failed("no host"))?.to_owned();
        Ok(Self { host: found, port, shown: format!("{host}:{port}") })
    }
}

impl Dialer {
    pub(crate) fn new(options: &SocketOptions, tls: Arc<ClientConfig>) -> Self {
        Self {
            rules: options.proxy.clone(),
            local_address: options.local_address,
            tls,
            connect_timeout: options.connect_timeout,
            proxy_timeout: options.proxy_timeout,
            tls_timeout: options.tls_timeout,
            user_agent: options.user_agent.clone(),
            steps: Mutex::default(),
            failing: FailingAddresses::default(),
        }
    }

    /// The proxy to which a request is sent as it is: HTTP proxies forward plain requests themselves.
    pub(crate) fn forwarder(&self, url: &Url) -> Option<&Proxy> {
        match self.rules.route(url) {
            Route::Through(proxy) if url.scheme() == "http" && !proxy.is_socks() => Some(proxy),
            _ => None,
        }
    }

    /// A connection that carries a websocket: to the target itself, also behind a proxy.
    pub(crate) async fn dial(&self, url: &Url) -> Result<Box<dyn Transport>, DialError> {
        self.begin(url)?.to_target(url).await
    }

    /// A connection that carries requests: for plain ones, an HTTP proxy is their target.
    pub(crate) async fn dial_requests(&self, url: &Url) -> Result<Dialed, DialError> {
        let dial = self.begin(url)?;
        match self.forwarder(url) {
            Some(proxy) => Ok(Dialed::new(dial.to_proxy(proxy).await?, true)),
            None => Ok(Dialed::new(dial.to_target(url).await?, false)),
        }
    }

    /// The step at which a dial of this target is now, as an error.
    pub(crate) fn step(&self, url: &Url) -> Option<DialError> {
        let target = Target::of(url).ok()?.shown;
        let steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        steps.current.values().find(|(of, _)| *of == target).map(|(_, step)| step.clone())
    }

    fn begin(&self, url: &Url) -> Result<Dial<'_>, DialError> {
        let target = Target::of(url)?;
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        steps.last += 1;
        Ok(Dial { dialer: self, id: steps.last, target })
    }
}

impl Drop for Dial<'_> {
    fn drop(&mut self) {
        let mut steps = self.dialer.steps.lock().unwrap_or_else(PoisonError::into_inner);
        steps.current.remove(&self.id);
    }
}

pub(crate) fn late(limit: Duration) -> String {
    format!("not done within {} ms", limit.as_millis())
}

impl Dial<'_> {
    fn step(&self, step: DialError) {
        let mut steps = self.dialer.steps.lock().unwrap_or_else(PoisonError::into_inner);
        steps.current.insert(self.id, (self.target.shown.clone(), step));
    }

    async fn to_target(&self, url: &Url) -> Result<Box<dyn Transport>, DialError> {
        let mut address = None;
        let stream: Box<dyn Transport> = match self.dialer.rules.route(url) {
            Route::Direct | Route::Exempt => {
                let tcp = self.direct().await?;
                address = tcp.peer_addr().ok();
                Box::new(tcp)
            }
            Route::Through(proxy) => match proxy.protocol {
                ProxyProtocol::Http | ProxyProtocol::Https => self.tunnel(proxy).await?,
                ProxyProtocol::Socks5 | ProxyProtocol::Socks5h => self.socks(proxy).await?,
            },
        };
        match url.scheme() {
            "wss" | "https" => {
                let host = self.target.host.to_string();
                let step = DialError::Tls { host, reason: String::new() };
                self.step(step.clone());
                let secured = self.dialer.secure(stream, &self.target.host, address).await;
                secured.map_err(|reason| step.because(reason))
            }
            _ => Ok(Box::new(Answering::new(stream, self.dialer.failing.attempt(address)))),
        }
    }

    async fn direct(&self) -> Result<TcpStream, DialError> {
        let Target { host, port, shown } = &self.target;
        let step = DialError::Tcp { target: shown.clone(), reason: String::new() };
        self.step(step.clone());
        self.dialer.tcp(host, *port).await.map_err(|failure| match failure {
            TcpFailure::Name(reason) => DialError::Resolve { host: host.to_string(), reason },
            TcpFailure::Connect(reason) => step.because(reason),
        })
    }

    async fn to_proxy(&self, proxy: &Proxy) -> Result<Box<dyn Transport>, DialError> {
        self.step(self.failed(proxy, ProxyRefusal::passing("")));
        self.dialer.proxy_stream(proxy).await.map_err(|refusal| self.failed(proxy, refusal))
    }

    async fn tunnel(&self, proxy: &Proxy) -> Result<Box<dyn Transport>, DialError> {
        let mut stream = self.to_proxy(proxy).await?;
        let (limit, agent) = (self.dialer.proxy_timeout, self.dialer.user_agent.as_str());
        let asking = tunnel::open(&mut stream, &self.target.shown, proxy.login.as_ref(), agent);
        let answered = timeout(limit, asking).await;
        let answered = answered.unwrap_or_else(|_| Err(ProxyRefusal::no_answer(limit)));
        answered.map(|()| stream).map_err(|refusal| self.failed(proxy, refusal))
    }

    /// The proxy resolves the name, or each address found here is tried.
    async fn socks(&self, proxy: &Proxy) -> Result<Box<dyn Transport>, DialError> {
        self.step(self.failed(proxy, ProxyRefusal::passing("")));
        let dialer = self.dialer;
        let Target { host, port, .. } = &self.target;
        let targets = match host {
            Host::Ipv4(address) => vec![SocksTarget::Address((*address, *port).into())],
            Host::Ipv6(address) => vec![SocksTarget::Address((*address, *port).into())],
            Host::Domain(name) if proxy.protocol == ProxyProtocol::Socks5h => {
                vec![SocksTarget::Name(name.clone(), *port)]
            }
            Host::Domain(name) => {
                let deadline = Instant::now() + dialer.connect_timeout;
                let found = timeout_at(deadline, resolve(name, *port)).await;
                let found = found.unwrap_or_else(|_| Err(late(dialer.connect_timeout)));
                let found = found.map_err(|reason| DialError::Resolve { host: name.clone(), reason })?;
                found.into_iter().map(SocksTarget::Address).collect()
            }
        };
        let limit = dialer.connect_timeout + dialer.proxy_timeout;
        let attempt = |target: SocksTarget| dialer.socks_stream(proxy, target);
        let failures = match race(targets, limit, PROXIED_ADDRESS_DELAY, attempt).await {
            Ok(stream) => return Ok(stream),
            Err(failures) => failures,
        };
        let refusal = failures.into_iter().flatten().max_by_key(|one| one.lasting);
        Err(self.failed(proxy, refusal.unwrap_or_else(|| ProxyRefusal::no_answer(limit))))
    }

    fn failed(&self, proxy: &Proxy, refusal: ProxyRefusal) -> DialError {
        let ProxyRefusal { reason, lasting } = refusal;
        DialError::Proxy { target: self.target.shown.clone(), proxy: proxy.to_string(), reason, lasting }
    }
}

enum TcpFailure {
    Name(String),
    Connect(String),
}

impl Dialer {
    /// Name and addresses share the limit.
    async fn tcp(&self, host: &Host, port: u16) -> Result<TcpStream, TcpFailure> {
        let deadline = Instant::now() + self.connect_timeout;
        let found: Vec<SocketAddr> = match host {
            Host::Ipv4(address) => vec![(*address, port).into()],
            Host::Ipv6(address) => vec![(*address, port).into()],
            Host::Domain(name) => {
                let found = timeout_at(deadline, resolve(name, port)).await;
                found.unwrap_or_else(|_| Err(late(self.connect_timeout))).map_err(TcpFailure::Name)?
            }
        };
        self.connect(found, deadline.saturating_duration_since(Instant::now())).await
    }

    async fn connect(&self, found: Vec<SocketAddr>, limit: Duration) -> Result<TcpStream, TcpFailure> {
        let mut usable = addresses::of_family(found, self.local_address).map_err(TcpFailure::Connect)?;
        self.failing.put_last(&mut usable);
        let attempt = |address| connect_to(address, self.local_address);
        let raced = race(usable.clone(), limit, ADDRESS_DELAY, attempt).await;
        let tcp = raced.map_err(|failures| {
            TcpFailure::Connect(addresses::failure_text(&usable, &failures, self.connect_timeout))
        })?;
        // Messages are small and must not wait for each other.
        tcp.set_nodelay(true).map_err(|error| TcpFailure::Connect(error.to_string()))?;
        Ok(tcp)
    }

    async fn proxy_stream(&self, proxy: &Proxy) -> Result<Box<dyn Transport>, ProxyRefusal> {
        let host = addresses::host(&proxy.host).map_err(ProxyRefusal::lasting)?;
        let tcp = self.tcp(&host, proxy.port).await.map_err(|failure| match failure {
            TcpFailure::Name(reason) => {
                ProxyRefusal::passing(format!("cannot resolve the name of the proxy: {reason}"))
            }
            TcpFailure::Connect(reason) => ProxyRefusal::passing(format!("cannot reach the proxy: {reason}")),
        })?;
        let address = tcp.peer_addr().ok();
        if proxy.protocol != ProxyProtocol::Https {
            return Ok(Box::new(Answering::new(Box::new(tcp), self.failing.attempt(address))));
        }
        let secured = self.secure(Box::new(tcp), &host, address).await;
        secured.map_err(|reason| ProxyRefusal::passing(format!("tls with the proxy failed: {reason}")))
    }

    async fn socks_stream(
        &self,
        proxy: &Proxy,
        target: SocksTarget,
    ) -> Result<Box<dyn Transport>, ProxyRefusal> {
        let mut stream = self.proxy_stream(proxy).await?;
        let asking = socks::connect(&mut stream, &target, proxy.login.as_ref());
        let answered = timeout(self.proxy_timeout, asking).await;
        answered.unwrap_or_else(|_| Err(ProxyRefusal::no_answer(self.proxy_timeout)))?;
        Ok(stream)
    }

    /// `address`: of the peer that speaks TLS, if this side chose it. It has failed without TLS, and without an answer behind it.
    async fn secure(
        &self,
        stream: Box<dyn Transport>,
        host: &Host,
        address: Option<SocketAddr>,
    ) -> Result<Box<dyn Transport>, String> {
        let attempt = self.failing.attempt(address);
        match self.handshake(stream, host).await {
            Ok(stream) => Ok(Box::new(Answering::new(stream, attempt))),
            Err(reason) => Err(match address {
                Some(address) => format!("{address}: {reason}"),
                None => reason,
            }),
        }
    }

    async fn handshake(&self, stream: Box<dyn Transport>, host: &Host) -> Result<Box<dyn Transport>, String> {
        let name = match host {
            Host::Ipv4(address) => ServerName::from(IpAddr::V4(*address)),
            Host::Ipv6(address) => ServerName::from(IpAddr::V6(*address)),
            Host::Domain(name) => ServerName::try_from(name.clone()).map_err(|error| error.to_string())?,
        };
        match timeout(self.tls_timeout, TlsConnector::from(Arc::clone(&self.tls)).connect(name, stream)).await
        {
            Ok(Ok(stream)) => Ok(Box::new(stream)),
            Ok(Err(error)) => Err(error_text(&error)),
            Err(_) => Err(late(self.tls_timeout)),
        }
    }
}
