//! Users of the broker and what each may publish and subscribe, as text for nats-server's configuration.
//!
//! An edge may publish events of its exchanges, its own synthetic trades, the mirrors of both, its own audits, corrections of its exchanges, the lease of its name and its heartbeat, and nothing else: the stranger who may publish an event can forge one, and the
//! one who may publish under the message id of a coming event erases it. Of the API of JetStream an edge reaches the state of the event
//! streams, the confirmed sequences and the adapters that it is to run only, to read; central may neither delete nor purge a stream, but for the bucket of adapters.

use crate::{
    ADAPTER_OBJECTS_BUCKET, ADAPTERS_WANTED_SUBJECT, Carries, DataType, EDGE_STATUS_SUBJECT, SELFTEST_RATES,
    STREAMS, adapter_chunk_request_subject, audit_subject, confirmed_request_subject, core_mirror_subject,
    correction_subject, domain_subject, edge_heartbeat_subject, edge_lease_request_subject,
    edge_lease_subject, repair_subject, selftest_stream, stream_info_subject, wanted_adapter_request_subject,
};

/// User of central.
pub const CENTRAL_USER: &str = "central";
/// Name of central's connections.
pub const CENTRAL_CONNECTION: &str = "marketprism-central";

/// Name of an edge's connections.
pub fn edge_connection(edge: &str) -> String {
    format!("marketprism-edge-{edge}")
}

/// Inboxes of a connection: each user reads its own answers only.
fn inboxes(connection: &str) -> String {
    format!("_INBOX.{connection}.>")
}

/// A user of the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerUser {
    /// Login.
    pub name: String,
    /// Value of `password` in the configuration: a quoted text, a bcrypt hash or a `$VARIABLE`.
    pub password: String,
    pub(crate) publish: Vec<String>,
    subscribe: Vec<String>,
    /// May answer requests on the subjects that it subscribes.
    answers: bool,
}

impl BrokerUser {
    /// Central: streams, consumers, its buckets, requests to edges.
    pub fn central(password: &str) -> Self {
        let publish = [
            "$JS.API.INFO",
            "$JS.API.STREAM.NAMES",
            "$JS.API.STREAM.LIST",
            "$JS.API.STREAM.INFO.*",
            "$JS.API.STREAM.CREATE.*",
            "$JS.API.STREAM.UPDATE.*",
            "$JS.API.STREAM.MSG.GET.*",
            "$JS.API.CONSUMER.>",
            "$JS.API.DIRECT.GET.>",
            "$JS.ACK.>",
            "$JS.FC.>",
            "$KV.MARKETPRISM_CONFIRMED.>",
            "$KV.MARKETPRISM_LEASES.>",
            "$KV.MARKETPRISM_ADAPTERS.>",
            "$O.adapters.>",
            // To delete versions of adapters, and what broken-off pushes left.
            "$JS.API.STREAM.PURGE.OBJ_adapters",
        ];
        // To forget an edge.
        let requests = [repair_subject("*"), EDGE_STATUS_SUBJECT.to_owned(), edge_heartbeat_subject("*")];
        let notices = [ADAPTERS_WANTED_SUBJECT.to_owned()];
        let publish = publish.map(str::to_owned).into_iter().chain(requests).chain(notices).collect();
        let subscribe = vec![inboxes(CENTRAL_CONNECTION), core_mirror_subject(">")];
        Self {
            name: CENTRAL_USER.to_owned(),
            password: password.to_owned(),
            publish,
            subscribe,
            answers: false,
        }
    }

    /// An edge that collects these exchanges. It also reads the state of the event streams, of what central has confirmed, and adapters.
    pub fn edge(edge: &str, exchanges: &[&str], password: &str) -> Self {
        let data =
            exchanges.iter().flat_map(|exchange| DataType::ALL.iter().map(move |kind| (kind, exchange)));
        let data: Vec<String> = data.map(|(kind, exchange)| format!("{kind}.{exchange}.*.*")).collect();
        let streams = STREAMS.iter().filter(|stream| stream.carries == Carries::Events);
        let reads = streams
            .flat_map(|stream| [stream_info_subject(stream.name), confirmed_request_subject(stream.name)]);
        let selftest = SELFTEST_RATES.map(|rate| selftest_stream(edge, rate).to_string());
        let events: Vec<String> = data.into_iter().chain(selftest).collect();
        let mirrored: Vec<String> = events.iter().map(|subject| core_mirror_subject(subject)).collect();
        let objects = adapter_chunk_request_subject();
        let infos = format!("{objects}.$O.{ADAPTER_OBJECTS_BUCKET}.M.*");
        let adapters = [wanted_adapter_request_subject("*"), infos, objects];
        let own = [
            audit_subject(edge),
            edge_lease_subject(edge),
            edge_lease_request_subject(edge),
            edge_heartbeat_subject(edge),
        ];
        let corrections = exchanges.iter().map(|exchange| correction_subject(edge, exchange));
        Self {
            name: edge.to_owned(),
            password: password.to_owned(),
            publish: events
                .into_iter()
                .chain(mirrored)
                .chain(own)
                .chain(corrections)
                .chain(reads)
                .chain(adapters)
                .collect(),
            subscribe: vec![
                inboxes(&edge_connection(edge)),
                repair_subject(edge),
                EDGE_STATUS_SUBJECT.to_owned(),
                ADAPTERS_WANTED_SUBJECT.to_owned(),
            ],
            answers: true,
        }
    }

    /// A reader of events as they come, who may publish nothing.
    pub fn reader(name: &str, password: &str) -> Self {
        Self {
            name: name.to_owned(),
            password: password.to_owned(),
            publish: Vec::new(),
            subscribe: DataType::ALL
                .iter()
                .map(|kind| format!("{kind}.>"))
                .chain([core_mirror_subject(">")])
                .collect(),
            answers: false,
        }
    }

    /// This user behind a leaf node, for requests and writes to buckets that name the domain of the centre.
    pub(crate) fn in_domain(mut self, domain: &str) -> Self {
        for subject in &mut self.publish {
            *subject = domain_subject(domain, subject);
        }
        self
    }

    pub(crate) fn write(&self, out: &mut String) {
        let Self { name, password, publish, subscribe, answers } = self;
        let subjects = |subjects: &[String]| {
            let quoted: Vec<String> = subjects.iter().map(|subject| format!("\"{subject}\"")).collect();
            quoted.join(", ")
        };
        // An empty list of allowed subjects would allow all.
        let publish = if publish.is_empty() {
            "deny: [\">\"]".to_owned()
        } else {
            format!("allow: [{}]", subjects(publish))
        };
        let answers = if *answers { "\n      allow_responses: { max: 1, expires: \"10s\" }" } else { "" };
        out.push_str(&format!(
            "    {{ user: \"{name}\", password: {password}, permissions: {{\n      publish: {{ {publish} }}\n      \
             subscribe: {{ allow: [{}] }}{answers}\n    }} }}\n",
            subjects(subscribe)
        ));
    }
}

/// The `authorization` block with these users. Whoever is no user is refused.
pub fn broker_authorization(users: &[BrokerUser]) -> String {
    let mut text = "authorization {\n  users: [\n".to_owned();
    for user in users {
        user.write(&mut text);
    }
    text.push_str("  ]\n}\n");
    text
}
